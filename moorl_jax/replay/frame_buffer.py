"""One seed's online transitions between images, their frames kept once."""

import jax
import jax.numpy as jnp

from moorl_jax.footage import STACK, Footage
from moorl_jax.replay.buffer import Buffer
from moorl_jax.types import Array, NStep, Transitions


class FrameBuffer(Buffer):
    """A buffer of footage. An n-step transition can be sampled once its last env step is stored.

    It is sized for the whole run: nothing is ever overwritten.
    """

    # Footage in place of transitions, of which draws ask the same; what only transitions have is not asked of images.
    rows: Footage  # type: ignore[assignment]
    placed: Array  #: (), frames so far

    @classmethod
    def create_for(cls, env_steps: int, episodes: int, example: Transitions, span: NStep) -> "FrameBuffer":
        """Return an empty buffer for `env_steps` steps in at most `episodes` episodes, of images like the example's."""
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

    def store(
        self,
        transition: Transitions,
        *,
        taken: Array | bool = True,
        begins: Array | bool = False,
        finished: bool = True,
    ) -> "FrameBuffer":
        """Write one env step, fields without a leading axis; where it begins an episode, the frame before it too.

        If not `taken`, which is never an episode's first, it does not count and the next one overwrites it.
        Returns-to-go are not supported: `finished` must be true.
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
        # Within an episode both are written to the same row, and the second one stays.
        columns = {
            name: _put(_put(getattr(footage, name), self.placed, first[name]), at, led_to[name]) for name in first
        }
        start = at - footage.span.steps
        starts = _put(footage.starts, self.written, start)
        written = self.written + (taken & (start >= begin))
        return FrameBuffer(footage.replace(**columns, starts=starts), written, written, at + taken)


def _put(column: Array, row: Array, value: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(column, jnp.asarray(value, column.dtype), row, axis=0)
