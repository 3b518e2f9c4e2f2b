"""Types shared by data, agents and engine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import struct

Array = jax.Array
Metrics = dict[str, Array]
"""Named scalars of one update, written out by hand by each agent."""

Draws = dict[str, Array]
"""All randomness of one update, by name."""

Params = Any
"""A pytree of arrays."""

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all, both in steps or bytes, as long work goes on."""


class Transitions(struct.PyTreeNode):
    """Transitions (s, a, r, s', d): a whole dataset, or a batch drawn from one.

    Every field has the same leading axis N; rewards are per environment step.
    """

    observations: Array  #: (N, observation size)
    actions: Array  #: (N, action size), inside [-1, 1]
    rewards: Array  #: (N,)
    next_observations: Array  #: (N, observation size)
    terminals: Array  #: (N,), 1.0 where the episode really ended; a time-out is 0.0 and bootstraps
    mc_returns: Array | None = None  #: (N,), discounted return to go, for agents that need it
    next_actions: Array | None = None  #: (N, action size), the data's action at s', for agents that need it
    density_ratio: Array | None = None  #: (N,), d_online / d_offline of (s, a), in batches of balanced replay
    ends: Array | None = None  #: (N,), 1.0 at an episode's last transition, for agents that learn from chunks
    valid: Array | None = None  #: (N, steps), in batches of chunks: 1.0 up to the step at which the episode ends

    def __len__(self) -> int:
        return int(self.rewards.shape[0])

    def take(self, rows: Array) -> "Transitions":
        """Return the transitions at `rows`; indices out of range are clamped."""
        return jax.tree.map(lambda leaf: leaf.at[rows].get(mode="clip"), self)


@dataclass(frozen=True)
class ReturnsToGo:
    """How the Monte-Carlo returns of an episode are computed (Cal-QL).

    `failure_reward` is the reward of a step without success, for sparse rewards: an episode that has no other reward
    gets the return of an infinite one, failure_reward / (1 - discount). With `endless` the last reward repeats
    forever unless the episode really ended: a finished sub-task stays finished.
    """

    discount: float
    failure_reward: float | None = None
    endless: bool = False


@dataclass(frozen=True)
class NStep:
    """How many steps a transition or a chunk spans: its reward is their discounted sum, s' is that many steps ahead."""

    steps: int = 1
    discount: float | Array = 1.0  #: of the second reward and later ones; unused for one step
