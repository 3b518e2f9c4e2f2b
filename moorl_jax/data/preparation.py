"""What is done to a dataset before an agent sees it, and to an observation before its policy does."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from moorl_jax.config import Bounded, Positive, PositiveShare
from moorl_jax.data.dataset import Dataset
from moorl_jax.data.frames import Frames
from moorl_jax.data.returns import transitions_with_returns
from moorl_jax.data.rows import to_transitions, transition_ends
from moorl_jax.data.trajectories import best_trajectories
from moorl_jax.errors import DatasetError, MoorlError
from moorl_jax.footage import Footage
from moorl_jax.tasks import Task
from moorl_jax.types import NStep, ReturnsToGo, Transitions


@dataclass(frozen=True)
class Preparation(Bounded):
    """The preprocessing an agent's authors used with a family of tasks."""

    normalize_observations: bool = False  #: subtract the dataset's mean, divide by its std + 1e-3 (TD3+BC)
    normalize_returns: bool = False  #: scale rewards so that episode returns span 1000 (IQL)
    reward_scale: Positive = 1.0  #: factor of all rewards
    reward_shift: float = 0.0  #: added to all rewards once they are scaled
    action_limit: PositiveShare = 1.0  #: clip actions to within +- this

    def apply(
        self,
        dataset: Dataset,
        returns: ReturnsToGo | None = None,
        span: NStep = NStep(),
        *,
        next_actions: bool = False,
        chunks: bool = False,
        best_episodes: float = 1.0,
    ) -> "Prepared":
        """Return the prepared data (float32 NumPy); with `returns` each transition gets its return to go.

        With `next_actions` each gets the data's action at s', too; with `chunks`, which goes with neither, whether it
        is its episode's last. Of the episodes a share is kept, `best_episodes`, those of the highest returns. Images
        stay as they are; transitions between them are over `span`.
        """
        rows = dataset.rows
        if isinstance(rows, Frames):
            if next_actions or chunks or best_episodes < 1.0:
                raise MoorlError("images have no next actions and no chunks, and no best episodes are selected of them")
            return self._of_images(rows, dataset.task, returns, span)
        if best_episodes < 1.0:
            rows = best_trajectories(rows, dataset.task, best_episodes)
        horizon = dataset.task.horizon
        data = to_transitions(rows, horizon, next_actions)
        normalizer = Normalizer.identity(data.observations.shape[1:])
        if self.normalize_observations:
            normalizer = Normalizer.fit(np.asarray(data.observations))
        scale = np.float32(self.reward_scale * (return_scale(data) if self.normalize_returns else 1.0))
        shift = np.float32(self.reward_shift)
        if returns:
            rows = dataclasses.replace(rows, rewards=rows.rewards * scale + shift)
            data = transitions_with_returns(rows, horizon, returns, next_actions)
        else:
            data = data.replace(rewards=data.rewards * scale + shift)
        if chunks:
            data = data.replace(ends=transition_ends(rows, dataset.task))
        data = data.replace(
            observations=normalizer(np.asarray(data.observations)),
            next_observations=normalizer(np.asarray(data.next_observations)),
            actions=np.clip(data.actions, -self.action_limit, self.action_limit),
        )
        if next_actions:
            within = np.clip(np.asarray(data.next_actions), -self.action_limit, self.action_limit)
            data = data.replace(next_actions=within)
        return Prepared(data, normalizer, float(scale), self.reward_shift)

    def _of_images(self, rows: Frames, task: Task, returns: ReturnsToGo | None, span: NStep) -> "Prepared":
        if self.normalize_observations or self.normalize_returns or returns:
            raise MoorlError("images are not normalized, and their transitions have no returns to go")
        rewards = np.where(rows.firsts, 0.0, rows.rewards * self.reward_scale + self.reward_shift)
        actions = np.clip(rows.actions, -self.action_limit, self.action_limit)
        footage = dataclasses.replace(rows, rewards=rewards.astype(np.float32), actions=actions).footage(span)
        return Prepared(footage, Normalizer.identity(task.observation_shape), self.reward_scale, self.reward_shift)


@dataclass(frozen=True)
class Prepared:
    """Data as an agent sees it, and what online observations and rewards pass through to be like it."""

    transitions: Transitions | Footage | None  #: None where an agent learns from its own experience alone
    normalizer: "Normalizer"
    reward_scale: float = 1.0
    reward_shift: float = 0.0


@dataclass(frozen=True)
class Normalizer:
    """An affine map of observations."""

    mean: np.ndarray  #: (size,)
    std: np.ndarray  #: (size,)

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> "Normalizer":
        """Return the map that changes nothing."""
        return cls(np.zeros(shape, np.float32), np.ones(shape, np.float32))

    @classmethod
    def fit(cls, observations: np.ndarray) -> "Normalizer":
        """Take mean and population std + 1e-3 of (N, size) observations, next ones not counted (TD3+BC).

        Both are of float64: of float32 the mean of a million equal numbers is another number.
        """
        mean, std = observations.mean(axis=0, dtype=np.float64), observations.std(axis=0, dtype=np.float64)
        return cls(mean.astype(np.float32), (std + 1e-3).astype(np.float32))

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """Map (..., size) observations, float32 out; images, which are bytes, stay as they are."""
        if observations.dtype == np.uint8:
            return observations
        return ((observations - self.mean) / self.std).astype(np.float32)


def return_scale(data: Transitions) -> float:
    """Return 1000 / (largest - smallest return) over the dataset's trajectories.

    IQL's rule: a trajectory ends at a terminal or where the next observation is not the following row's; the rows
    left at the end count as one. Raises DatasetError where all returns are equal.
    Source: ikostrikov/implicit_q_learning `dataset_utils.py`, `train_offline.py`.
    """
    apart = np.subtract(data.observations[1:], data.next_observations[:-1], dtype=np.float64)
    jump = np.linalg.norm(apart, axis=1) > 1e-6
    ended = np.append(jump | (data.terminals[:-1] > 0), True)
    last = np.flatnonzero(ended)
    totals = np.cumsum(data.rewards, dtype=np.float64)[last]
    returns = np.diff(totals, prepend=0.0)
    span = float(np.ptp(returns))
    if span == 0.0:
        raise DatasetError(
            "all trajectories have the same return: rewards cannot be scaled to their span; "
            "prepare them otherwise, preparation.normalize_returns=False"
        )
    return 1000.0 / span
