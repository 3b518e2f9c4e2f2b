"""A dataset: the data of a task, read and checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moorl_jax.data.frames import Frames
from moorl_jax.data.rows import Rows, to_transitions
from moorl_jax.data.trajectories import suspicions, trajectory_returns
from moorl_jax.errors import DatasetError
from moorl_jax.footage import Footage
from moorl_jax.tasks import TASKS, ActionRange, Task, action_limits, find, named
from moorl_jax.types import NStep, Transitions


@dataclass(frozen=True)
class Dataset:
    """A task's data from one source, ready to train on; `from_arrays`, `from_hdf5` and `from_minari` take your own.

    Where those are given a task, a name of the catalogue or `Task.of` yours, the data must fit it. Without one the task
    has no environment: nothing is evaluated. `action_range`, (low, high), numbers or vectors, is that of the data's
    actions; by default the task's, and without a task Minari's, or [-1, 1], in which agents act. They raise
    DatasetError for what cannot be trained on.
    """

    task: Task
    source: str  #: the source's name
    rows: Rows | Frames
    fingerprint: str  #: sha256 over the rows' arrays

    @classmethod
    def from_arrays(
        cls,
        observations: Any,
        actions: Any,
        rewards: Any,
        *,
        terminals: Any = None,
        timeouts: Any = None,
        next_observations: Any = None,
        task: str | Task | None = None,
        action_range: ActionRange | None = None,
    ) -> "Dataset":
        """Return the data of arrays with a row for each step.

        Args:
            observations: (N, observation size).
            actions: (N, action size).
            rewards: (N,).
            terminals: (N,), 0 or 1, whether the episode really ended; nowhere by default.
            timeouts: (N,), 0 or 1, whether the clock or the recorder cut it; by default the task's horizon does.
            next_observations: (N, observation size), used as they are, so rows may come in any order; by default those
                of the rows that follow, within episodes, as D4RL pairs them.
            task: what the data is of.
            action_range: lowest and highest action.
        """
        arrays = {"observations": observations, "actions": actions, "rewards": rewards, "terminals": terminals}
        arrays |= {"timeouts": timeouts, "next_observations": next_observations}
        rows = Rows.of_arrays("arrays", **arrays)
        task = cls._task(rows, "arrays", task, action_range).with_data("arrays", "")
        return cls.checked(task, "arrays", rows, "arrays", action_range)

    @classmethod
    def from_hdf5(
        cls, path: str | Path, *, task: str | Task | None = None, action_range: ActionRange | None = None
    ) -> "Dataset":
        """Return the data of a file with the keys that `from_arrays` has arguments for; `terminals` must be there.

        A file that is D4RL's, byte for byte, is paired as D4RL pairs it, and called so.
        """
        from moorl_jax.data.sources import file  # sources make datasets

        source, rows = file.read(Path(path))
        task = cls._task(rows, Path(path).stem, task, action_range).with_data("file", str(Path(path).absolute()))
        return cls.checked(task, source, rows, str(path), action_range)

    @classmethod
    def from_minari(
        cls, name: str, *, task: str | Task | None = None, action_range: ActionRange | None = None
    ) -> "Dataset":
        """Return a dataset of Minari's local directory, one that a DataCollector made, too; else it is downloaded.

        Dictionaries of observations are flattened.
        """
        from moorl_jax.data.sources import minari  # sources make datasets

        if not minari.folder_of(name).exists():
            minari.download(name)
        rows = minari.read(name)
        action_range = action_range or (None if task else minari.action_range(name))
        task = cls._task(rows, name, task, action_range).with_data("minari", name)
        return cls.checked(task, "minari", rows, f"minari {name}", action_range)

    @classmethod
    def checked(
        cls, task: Task, source: str, rows: Rows | Frames, where: str, action_range: ActionRange | None = None
    ) -> "Dataset":
        """Return a task's data with actions in [-1, 1]; raise DatasetError, which names `where`, for faulty data."""
        limits = action_limits(action_range, task.action_size) if action_range else task.action_range
        if limits and isinstance(rows, Rows):
            rows = rows.rescaled(limits)
        rows.check(task, where)
        return cls(task, source, rows, rows.fingerprint())

    @staticmethod
    def _task(rows: Rows, name: str, task: str | Task | None, action_range: ActionRange | None) -> Task:
        """Return the task that was given, or one without an environment, made for the rows."""
        if task:
            return find(task) if isinstance(task, str) else task
        if rows.observations.ndim != 2 or rows.actions.ndim != 2:
            raise DatasetError(
                f"{name}: observations have shape {rows.observations.shape}, actions {rows.actions.shape}, where agents"
                " see and act with vectors, (rows, size); images and discrete actions cannot be trained on"
            )
        sizes = {"observation_size": rows.observations.shape[1], "action_size": rows.actions.shape[1]}
        called = named(name) + "-data" * (named(name) in TASKS)
        return Task.of(name=called, **sizes, action_range=action_range)

    @property
    def transitions(self) -> Transitions | Footage:
        """All transitions: of each row with its own successor, or as D4RL's `qlearning_dataset`, or V-D4RL's buffer."""
        if isinstance(self.rows, Frames):
            return self.rows.footage(NStep())
        return to_transitions(self.rows, self.task.horizon)

    def trajectory_returns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (returns, lengths) of the data's trajectories, returns as the task's environment would pay them."""
        if isinstance(self.rows, Frames):
            return self.rows.episode_returns()
        return trajectory_returns(self.rows, self.task)

    def noticed(self) -> list[str]:
        """Return what is odd about the data but does not forbid training, a sentence each."""
        return suspicions(self.rows, self.task) if isinstance(self.rows, Rows) else list(self.rows.notes)
