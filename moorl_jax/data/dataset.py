"""A dataset: the data of a task, read and checked."""

from dataclasses import dataclass

import numpy as np

from moorl_jax.data.frames import Frames
from moorl_jax.data.rows import Rows, to_transitions, trajectory_returns
from moorl_jax.footage import Footage
from moorl_jax.tasks import Task
from moorl_jax.types import NStep, Transitions


@dataclass(frozen=True)
class Dataset:
    """A task's data from one source, ready to train on."""

    task: Task
    source: str  #: the source's name
    rows: Rows | Frames
    fingerprint: str  #: sha256 over the rows' arrays

    @property
    def transitions(self) -> Transitions | Footage:
        """The transitions D4RL's `qlearning_dataset` would give, or those of V-D4RL's buffer."""
        if isinstance(self.rows, Frames):
            return self.rows.footage(NStep())
        return to_transitions(self.rows, self.task.horizon)

    def trajectory_returns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (returns, lengths) of the data's trajectories, returns as the task's environment would pay them."""
        if isinstance(self.rows, Frames):
            return self.rows.episode_returns()
        return trajectory_returns(self.rows, self.task)
