"""Transitions between images, each frame stored once: stacks and n-step returns are built when a batch is sampled."""

import jax.numpy as jnp
from flax import struct

from moorl_jax.types import Array, NStep, Transitions

STACK = 3  #: frames of an observation, stacked in its channels, oldest first


class Footage(struct.PyTreeNode):
    """Episodes frame by frame: an episode's first row is its reset, each later row the outcome of an env step.

    A transition begins at row t: s is the stack up to t, padded with the episode's first frame, a the action of
    row t + 1, r the discounted sum of the rewards of the `span.steps` rows after t, s' the stack up to the
    last of those rows, d whether the episode really ended there. Transitions never cross an episode's boundary.
    Source: conglu1997/v-d4rl `drqbc/numpy_replay_buffer.py`.
    """

    frames: Array  #: (N, height, width, 3) uint8
    actions: Array  #: (N, action size), each led to its row's frame
    rewards: Array  #: (N,), likewise
    terminals: Array  #: (N,), 1.0 where the episode really ended
    begins: Array  #: (N,) int32, the row at which this row's episode begins
    starts: Array  #: (M,) int32, the rows at which transitions begin
    span: NStep = struct.field(pytree_node=False, default=NStep())

    def __len__(self) -> int:
        return int(self.starts.shape[0])

    def take(self, rows: Array) -> Transitions:
        """Return the transitions of these numbers, (batch,); images are (batch, height, width, 3 STACK) uint8."""
        start = self.starts.at[rows].get(mode="clip")
        ahead = start[:, None] + 1 + jnp.arange(self.span.steps)
        end = start + self.span.steps
        discounts = self.span.discount ** jnp.arange(self.span.steps)
        return Transitions(
            observations=self._stack(start),
            actions=self.actions[start + 1],
            rewards=(self.rewards[ahead] * discounts).sum(axis=1),
            next_observations=self._stack(end),
            terminals=self.terminals[end],
        )

    def _stack(self, rows: Array) -> Array:
        back = jnp.arange(STACK) - (STACK - 1)
        frames = self.frames[jnp.maximum(rows[:, None] + back, self.begins[rows][:, None])]
        batch, _, height, width, channels = frames.shape
        return frames.transpose(0, 2, 3, 1, 4).reshape(batch, height, width, STACK * channels)
