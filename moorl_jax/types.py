"""The words that data, agents and engine share."""

from typing import Any

import jax
from flax import struct

Array = jax.Array
Metrics = dict[str, Array]
"""Named scalars of one update, written out by hand by each agent."""

Params = Any
"""A pytree of arrays."""


class Transitions(struct.PyTreeNode):
    """Transitions (s, a, r, s', d): a whole dataset, or a batch drawn from one.

    Every field has the same leading axis N; rewards are per environment step.
    """

    observations: Array  #: (N, observation size)
    actions: Array  #: (N, action size), inside [-1, 1]
    rewards: Array  #: (N,)
    next_observations: Array  #: (N, observation size)
    terminals: Array  #: (N,), 1.0 where the episode really ended; a time-out is 0.0 and bootstraps

    def __len__(self) -> int:
        return int(self.rewards.shape[0])
