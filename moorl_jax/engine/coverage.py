"""How much of a task's state space the env steps of a training have visited, counted in cells.

An ant in a maze is in a square of one unit. A robot of the plane is in a pose, all its positions but how far it has
come, in cells of half a unit, which is metres and radians. Which states are one is ours: papers have no rule for it.
"""

from typing import NamedTuple

import numpy as np

from moorl_jax.data import Prepared
from moorl_jax.footage import Footage
from moorl_jax.tasks import Task

_MAZE = 1.0, 2  #: the width of a cell, and of how many of an observation's first numbers it is
_POSES = {"hopper": (0.5, 5), "walker2d": (0.5, 8), "halfcheetah": (0.5, 8)}
_NUMBERS = 8  #: of a cell, a byte each


class Visits(NamedTuple):
    """The cells of some states."""

    cells: np.ndarray  #: sorted, each a whole number of its own
    shares: np.ndarray  #: of the states, in each


class Coverage:
    """Measures it for one task."""

    def __init__(self, width: float, size: int, prepared: Prepared):
        self._width, self._size, self._normalizer = width, size, prepared.normalizer
        data = prepared.transitions
        assert not isinstance(data, Footage)
        self._data = None if data is None else self._visits(np.asarray(data.observations))

    @classmethod
    def of(cls, task: Task, prepared: Prepared) -> "Coverage | None":
        """Return what measures it, or None for a task without cells."""
        found = _MAZE if task.family == "antmaze" else _POSES.get(task.subject) if not task.pixels else None
        return cls(*found, prepared) if found else None

    def measure(self, observations: np.ndarray) -> dict[str, float]:
        """Return what normalized observations, (N, size), have seen.

        `visited` is how many cells; beside a dataset `visited_new` how many of them it lacks, and `data_distance` the
        total variation distance between the two distributions over cells, in [0, 1].
        """
        cells, shares = self._visits(observations)
        found = {"visited": float(len(cells))}
        if self._data:
            common, here, there = np.intersect1d(cells, self._data.cells, assume_unique=True, return_indices=True)
            found["visited_new"] = float(len(cells) - len(common))
            found["data_distance"] = 1.0 - float(np.minimum(shares[here], self._data.shares[there]).sum())
        return found

    def _visits(self, observations: np.ndarray) -> Visits:
        first = np.s_[: self._size]
        raw = observations[:, first] * self._normalizer.std[first] + self._normalizer.mean[first]
        numbers = np.zeros((len(raw), _NUMBERS), np.int8)
        numbers[:, first] = np.clip(np.floor(raw / self._width), -128, 127)
        cells, counts = np.unique(numbers.view(np.int64)[:, 0], return_counts=True)
        return Visits(cells, counts / len(raw))
