"""One seed's online transitions, a ring on the device, and all the experience a batch may be drawn from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from moorl_jax.errors import MoorlError
from moorl_jax.footage import Footage
from moorl_jax.replay.chunks import Chunks
from moorl_jax.types import Array, Transitions

ENDED, CUT = 1, 2  #: how an episode ended: in a terminal state or at the horizon; by a pause


class Buffer(struct.PyTreeNode):
    """A ring of transitions. The newest overwrites the oldest once it is full.

    A transition can be sampled once it is finished: immediately, or at the end of its episode if it needs a
    return-to-go.
    """

    rows: Transitions  #: (capacity, ...)
    written: Array  #: (), transitions ever stored
    finished: Array  #: (), how many of them may be drawn

    @classmethod
    def create(cls, capacity: int, example: Transitions) -> "Buffer":
        """Return an empty ring for transitions like the example's."""
        rows = jax.tree.map(lambda leaf: jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype), example)
        return cls(rows, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    @property
    def capacity(self) -> int:
        """How many transitions fit."""
        return len(self.rows)

    @property
    def oldest(self) -> Array:
        """The number of the oldest transition that is still there, counted from 0."""
        return jnp.maximum(self.written - self.capacity, 0)

    @property
    def size(self) -> Array:
        """How many transitions may be drawn."""
        return jnp.maximum(self.finished - self.oldest, 0)

    def store(
        self,
        transition: Transitions,
        *,
        taken: Array | bool = True,
        begins: Array | bool = False,
        finished: bool = True,
    ) -> "Buffer":
        """Write one transition, fields without a leading axis; `begins` matters only to `FrameBuffer`.

        If not `taken`, it does not count and the next one overwrites it, though a full ring still loses its oldest.
        """
        slot = self.written % self.capacity
        rows = jax.tree.map(
            lambda ring, new: jax.lax.dynamic_update_index_in_dim(ring, new, slot, axis=0), self.rows, transition
        )
        written = self.written + taken
        return Buffer(rows, written, written if finished else self.finished)

    def finish(self, returns: Array, length: Array) -> "Buffer":
        """Set the returns-to-go of the last `length` transitions, one episode, and allow them to be sampled.

        `returns` is (horizon,), of which the first `length` count; length 0 changes nothing.
        """
        number = jnp.arange(len(returns))
        slots = jnp.where(number < length, (self.written - length + number) % self.capacity, self.capacity)
        ring: Any = self.rows.mc_returns
        rows = self.rows.replace(mc_returns=ring.at[slots].set(returns, mode="drop"))
        return Buffer(rows, self.written, jnp.where(length > 0, self.written, self.finished))

    def slots(self, key: Array, count: int) -> Array:
        """Draw `count` slots uniformly, with replacement; slot 0 from an empty ring."""
        return (self.oldest + jax.random.randint(key, (count,), 0, jnp.maximum(self.size, 1))) % self.capacity


class Experience(struct.PyTreeNode):
    """What batches are drawn from: the dataset, which all seeds share, and one seed's own buffer."""

    dataset: Transitions | Footage | Chunks | None
    buffer: Buffer | None
    #: Set only between phases:
    ends: np.ndarray | None = None  #: (transitions stored,), ENDED or CUT at each episode's last
    diverged: np.ndarray | bool = False  #: whether the seed has diverged, so that it skipped its latest env step

    @property
    def offline(self) -> Transitions | Footage | Chunks:
        """The dataset, where there is one."""
        if self.dataset is None:
            raise MoorlError("this sampling rule needs a dataset, but there is none")
        return self.dataset

    @property
    def online(self) -> Buffer:
        """The buffer, where there is one."""
        if self.buffer is None:
            raise MoorlError("this sampling rule needs a buffer: a phase with env steps must come first")
        return self.buffer

    def take(self, rows: Array) -> Transitions:
        """Return the transitions at `rows`: those of the dataset come first, then the buffer's slots."""
        count = len(self.offline)
        return choose(rows < count, self.offline.take(rows), self.online.rows.take(rows - count))


def choose(mask: Array, first: Transitions, second: Transitions) -> Transitions:
    """Return the first's transitions where the mask, (batch,), is true, and the second's elsewhere."""

    def one(a: Array, b: Array) -> Array:
        return jnp.where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(one, first, second)
