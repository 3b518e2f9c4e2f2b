"""The rules by which an update's batch is drawn from a dataset and a buffer."""

from abc import abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.config import Bounded, Count, Share, static
from moorl_jax.replay.buffer import Experience, choose
from moorl_jax.types import Array, Transitions


class Sampling(Bounded, struct.PyTreeNode):
    """A sampling rule. Numeric fields are leaves, so `vmap` can sweep them; what persists between draws is its state.

    While the buffer is empty, rules that mix draw all of a batch from the dataset.
    """

    needs_dataset: ClassVar[bool] = True
    begins_with_experience: ClassVar[bool] = False  #: whether `init` reads it, which costs a buffer copy

    def init(self, key: Array, experience: Experience, size: int) -> Any:
        """Return the rule's state before its first draw of `size` transitions, plain arrays; None by default."""
        return None

    def stored(self, state: Any, experience: Experience) -> Any:
        """Return the state updated for the transition that was just written to the buffer."""
        return state

    @abstractmethod
    def sample(self, state: Any, key: Array, experience: Experience, size: int) -> tuple[Any, Any]:
        """Return the new state and a batch of `size` transitions."""


class FromDataset(Sampling):
    """Uniform over the dataset."""

    def sample(self, state: Any, key: Array, experience: Experience, size: int) -> tuple[Any, Transitions]:
        """Return a batch of the dataset."""
        data = experience.offline
        return state, data.take(jax.random.randint(key, (size,), 0, len(data)))


class FromBuffer(Sampling):
    """Uniform over the buffer: online experience only."""

    needs_dataset: ClassVar[bool] = False

    def sample(self, state: Any, key: Array, experience: Experience, size: int) -> tuple[Any, Transitions]:
        """Return a batch of the buffer."""
        return state, experience.online.rows.take(experience.online.slots(key, size))


class Union(Sampling):
    """Uniform over dataset and buffer together, as one replay memory that starts out holding the dataset."""

    def sample(self, state: Any, key: Array, experience: Experience, size: int) -> tuple[Any, Transitions]:
        """Return a batch of both, each transition as likely as any other."""
        data, buffer = experience.offline, experience.online
        row = jax.random.randint(key, (size,), 0, len(data) + buffer.size)
        slots = (buffer.oldest + row - len(data)) % buffer.capacity
        return state, choose(row < len(data), data.take(row), buffer.rows.take(slots))


class Mixed(Sampling):
    """A fixed share of each batch from the dataset, the rest from the buffer; 0.5 is symmetric sampling (RLPD).

    If share times size is not an integer, it is rounded up or down at random, so that the share is exact in
    expectation.
    """

    offline: Share = 0.5  #: share of the dataset

    def sample(self, state: Any, key: Array, experience: Experience, size: int) -> tuple[Any, Transitions]:
        """Return a batch of both in the fixed proportion."""
        offline_key, online_key, rounding_key = jax.random.split(key, 3)
        data, buffer = experience.offline, experience.online
        count = jnp.floor(self.offline * size + jax.random.uniform(rounding_key))
        from_data = (jnp.arange(size) < count) | (buffer.size == 0)
        rows = jax.random.randint(offline_key, (size,), 0, len(data))
        return state, choose(from_data, data.take(rows), buffer.rows.take(buffer.slots(online_key, size)))


class OneSource(Sampling):
    """Batches all from the dataset or all from the buffer, chosen at random every `draws` batches (MOORL)."""

    offline: Share = 0.5  #: probability of the dataset
    draws: Count = static(1)  #: batches in a row from the same source
    repeated: bool = static(False)  #: whether those batches are identical

    def init(self, key: Array, experience: Experience, size: int) -> tuple[Array, Array]:
        """Return the key data that chose the current source, and the number of draws so far."""
        return jax.random.key_data(key), jnp.zeros((), jnp.int32)

    def sample(
        self, state: tuple[Array, Array], key: Array, experience: Experience, size: int
    ) -> tuple[tuple[Array, Array], Transitions]:
        """Return a batch of one source."""
        bits, count = state
        bits = jnp.where(count % self.draws == 0, jax.random.key_data(key), bits)
        source_key, rows_key = jax.random.split(jax.random.wrap_key_data(bits))
        if not self.repeated:
            rows_key = jax.random.fold_in(rows_key, count)
        data, buffer = experience.offline, experience.online
        from_data = jax.random.bernoulli(source_key, self.offline) | (buffer.size == 0)
        rows = jax.random.randint(rows_key, (size,), 0, len(data))
        batch = choose(jnp.full(size, from_data), data.take(rows), buffer.rows.take(buffer.slots(rows_key, size)))
        return (bits, count + 1), batch


class Both(Sampling):
    """A pair of full batches, (the dataset's, the buffer's), for updates that treat them apart."""

    def sample(
        self, state: Any, key: Array, experience: Experience, size: int
    ) -> tuple[Any, tuple[Transitions, Transitions]]:
        """Return the two batches."""
        offline_key, online_key = jax.random.split(key)
        _, offline = FromDataset().sample(None, offline_key, experience, size)
        _, online = FromBuffer().sample(None, online_key, experience, size)
        return state, (offline, online)
