"""One seed's online transitions between images, their frames kept once."""

import jax
import jax.numpy as jnp

from moorl_jax.footage import STACK, Footage
from moorl_jax.replay.buffer import Buffer
from moorl_jax.types import Array, NStep, Transitions


class FrameBuffer(Buffer):
    """A buffer that fills with footage. A transition may be drawn once the env step is stored that it spans to.

    It has room for all there will be: nothing is overwritten.
    """

    # Footage in place of transitions, of which draws ask the same; what only transitions have is not asked of images.
    rows: Footage  # type: ignore[assignment]
    placed: Array  #: (), frames so far

    @classmethod
    def create_for(cls, env_steps: int, episodes: int, example: Transitions, span: NStep) -> "FrameBuffer":
        """Return an empty buffer for so many env steps in at most so many episodes, of images like the example's."""
        count, zero = env_steps + episodes, jnp.zeros((), jnp.int32)
        height, width, channels = example.observations.shape[1:]
        footage = Footage(
            frames=jnp.zeros((count, height, width, channels // STACK), example.observations.dtype),
            actions=jnp.zeros((count, *example.actions.shape[1:]), example.actions.dtype),
            rewards=jnp.zeros(count, example.rewards.dtype),
            terminals=jnp.zeros(count, example.terminals.dtype),
            begins=jnp.zeros(count, jnp.int32),
            starts=jnp.zeros(env_steps, jnp.int32),
            span=span,
        )
        return cls(footage, zero, zero, zero)

    @property
    def capacity(self) -> int:
        """How many transitions fit."""
        return len(self.rows)

    def store(
        self,
        transition: Transitions,
        *,
        taken: Array | bool = True,
        begins: Array | bool = False,
        finished: bool = True,
    ) -> "FrameBuffer":
        """Write one env step, fields without a leading axis; where it begins an episode, the frame before it too.

        One that was not `taken`, which begins none, does not count: the next is written over it. Returns to go are not
        kept: `finished` must be true.
        """
        assert finished
        footage, channels = self.rows, self.rows.frames.shape[-1]
        at = self.placed + begins
        begin = jnp.where(begins, self.placed, footage.begins[jnp.maximum(self.placed - 1, 0)])
        first = {
            "frames": transition.observations[..., -channels:],
            "actions": jnp.zeros_like(transition.actions),
            "rewards": jnp.zeros_like(transition.rewards),
            "terminals": jnp.zeros_like(transition.terminals),
            "begins": begin,
        }
        led_to = {
            "frames": transition.next_observations[..., -channels:],
            "actions": transition.actions,
            "rewards": transition.rewards,
            "terminals": transition.terminals,
            "begins": begin,
        }
        # Where the episode goes on, both go to the same row and the second stays.
        columns = {
            name: _put(_put(getattr(footage, name), self.placed, first[name]), at, led_to[name]) for name in first
        }
        start = at - footage.span.steps
        starts = _put(footage.starts, self.written, start)
        written = self.written + (taken & (start >= begin))
        return FrameBuffer(footage.replace(**columns, starts=starts), written, written, at + taken)


def _put(column: Array, row: Array, value: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(column, jnp.asarray(value, column.dtype), row, axis=0)
