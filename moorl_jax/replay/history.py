"""What an online learner has seen, as the dataset of an offline phase."""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.config import Count, Share, static
from moorl_jax.errors import MoorlError
from moorl_jax.footage import Footage
from moorl_jax.replay.buffer import Experience
from moorl_jax.replay.sampling import Sampling
from moorl_jax.types import Array, Transitions

Selected = Literal["all", "last", "best"]  #: datasets of history


class History(Sampling):
    """A share of each batch from transitions selected when the phase began, the rest from those stored since.

    `dataset` says what is selected: "all"; the "last" transitions, a share of the buffer or a `count`; the "best"
    episodes by return, up to that many transitions. Until new transitions are stored, the whole batch comes from the
    selection.
    """

    needs_dataset: ClassVar[bool] = False
    begins_with_experience: ClassVar[bool] = True

    offline: Share | None = 1.0  #: share of the selection; None: uniform over the selection and newer transitions
    dataset: Selected = static("all")
    share: Share = static(0.5)  #: of the buffer; ""all" ignores it
    count: Count | None = static(None)  #: transitions, in place of a share

    def init(self, key: Array, experience: Experience, size: int) -> tuple[Array, Array]:
        """Return the selected slots, slot 0 of an empty buffer, and how many transitions had been stored by then."""
        buffer = experience.online
        if isinstance(buffer.rows, Footage):
            raise MoorlError("history is not selected from images yet: subroutines learn from states")
        rewards = np.asarray(buffer.rows.rewards)[: int(buffer.finished)]
        assert experience.ends is not None
        count = self.count or max(1, round(self.share * len(rewards)))
        slots = selected(self.dataset, count, rewards, experience.ends[: len(rewards)])
        return jnp.asarray(slots if len(slots) else [0], jnp.int32), buffer.finished

    def sample(
        self, state: tuple[Array, Array], key: Array, experience: Experience, size: int
    ) -> tuple[tuple[Array, Array], Transitions]:
        """Return a batch of both."""
        old_key, new_key, count_key = jax.random.split(key, 3)
        slots, mark = state
        came = experience.online.finished - mark
        if self.offline is None:
            is_old = jax.random.uniform(count_key, (size,)) * (len(slots) + came) < len(slots)
        else:
            is_old = jnp.arange(size) < jnp.floor(self.offline * size + jax.random.uniform(count_key))
        old = slots[jax.random.randint(old_key, (size,), 0, len(slots))]
        new = mark + jax.random.randint(new_key, (size,), 0, jnp.maximum(came, 1))
        return state, experience.online.rows.take(jnp.where(is_old | (came == 0), old, new))


def selected(dataset: Selected, count: int, rewards: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the slots of the (up to) `count` transitions to select, out of N in the order they were stored.

    `ends` is not 0 at the last transition of each episode, both (N,).
    """
    if dataset == "all":
        return np.arange(len(rewards))
    if dataset == "last":
        return np.arange(max(0, len(rewards) - count), len(rewards))
    number = episode_numbers(ends)
    returns = np.bincount(number, rewards)
    return np.argsort(-returns[number], kind="stable")[:count]


def episode_numbers(ends: np.ndarray) -> np.ndarray:
    """Return which episode each transition belongs to, counted from 0; `ends` is not 0 at the last one of each."""
    over = ends != 0
    return np.cumsum(over) - over
