"""Transitions seen as chunks of consecutive ones (Li, Zhou and Levine 2025, arXiv 2507.07969)."""

import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.types import Array, Transitions


class Chunks(struct.PyTreeNode):
    """A dataset's or a ring's transitions, of which each begins a chunk; after the last one comes the first.

    A batch of chunks has all actions, (batch, steps, action size), and `valid`, (batch, steps): 1.0 up to the step at
    which the episode ends. Its rewards are the discounted sums over all steps, s' is where the last step leads, d
    whether any step is terminal: where the last step is not valid, they mean nothing.
    Source: ColinQiyangLi/qc `utils/datasets.py`, sample_sequence.
    """

    transitions: Transitions  #: with `ends`
    steps: int = struct.field(pytree_node=False)
    discount: Array | float  #: of the second reward and later ones

    def __len__(self) -> int:
        return len(self.transitions)

    def take(self, rows: Array) -> Transitions:
        """Return the chunks that begin at these rows, (batch,)."""
        data, numbers = self.transitions, jnp.arange(self.steps)
        steps = (rows[:, None] + numbers) % len(self)
        over = jax.lax.cummax(jnp.asarray(data.ends)[steps], axis=1)
        valid = jnp.concatenate([jnp.ones_like(over[:, :1]), 1.0 - over[:, :-1]], axis=1)
        return Transitions(
            observations=data.observations[steps[:, 0]],
            actions=data.actions[steps],
            rewards=(data.rewards[steps] * self.discount**numbers).sum(axis=1),
            next_observations=data.next_observations[steps[:, -1]],
            terminals=data.terminals[steps].max(axis=1),
            valid=valid,
        )
