"""Logged episodes of images, frame by frame as V-D4RL has them, and the transitions between their stacks."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from moorl_jax.data.rows import ACTION_TOLERANCE, Logged, require_memory
from moorl_jax.errors import DatasetError
from moorl_jax.footage import Footage
from moorl_jax.tasks import Task
from moorl_jax.types import NStep

ALIGNMENT = 64  #: bytes, of arrays that XLA uses in place


@dataclass(frozen=True)
class Frames(Logged):
    """Episodes one after another. The first row of each is what it began with, a later row what an env step led to."""

    frames: np.ndarray  #: (N, height, width, 3) uint8
    actions: np.ndarray  #: (N, action size) float32, each led to its row's frame; zeros in an episode's first row
    rewards: np.ndarray  #: (N,) float32, likewise
    discounts: np.ndarray  #: (N,) float32, 0 where the episode really ended
    firsts: np.ndarray  #: (N,) bool, an episode begins here
    notes: tuple[str, ...] = ()  #: what was odd about the files but does not forbid training, a sentence each

    def check(self, task: Task, where: str) -> None:
        """Raise DatasetError unless the frames can be trained on for the task.

        The message names the file (`where`), what is wrong and what to do.
        """

        def refuse(wrong: str, remedy: str) -> None:
            raise DatasetError(f"{where}: {wrong}; {remedy}")

        count = len(self.rewards)
        height, width, _ = task.observation_shape
        if not count:
            refuse("there are no frames", "is this another task's data?")
        sizes = {"frames": (height, width, 3), "actions": (task.action_size,)}
        for name, value in self.arrays().items():
            if value.shape != (count, *sizes.get(name, ())):
                wanted = f"{task.name} needs {(count, *sizes.get(name, ()))}"
                refuse(f"'{name}' has shape {value.shape} where {wanted}", "is this another task's data?")
            if name != "frames" and not np.isfinite(value).all():
                refuse(f"'{name}' holds NaN or infinite numbers", "leave such episodes out")
        beyond = float(np.abs(self.actions).max())
        if beyond > 1.0 + ACTION_TOLERANCE:
            refuse(f"actions reach {beyond:.4g}, outside [-1, 1]", "scale or clip them before saving")
        if not self.firsts[0]:
            refuse("the first row does not begin an episode", "begin with a reset's frame")
        if self.firsts[-1] or (self.firsts[1:] & self.firsts[:-1]).any():
            refuse("an episode has no env steps", "leave it out")

    def begins(self) -> np.ndarray:
        """Return the row at which each row's episode begins, (N,)."""
        rows = np.arange(len(self.firsts), dtype=np.int32)
        return np.maximum.accumulate(np.where(self.firsts, rows, 0))

    def episode_returns(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (returns, lengths) of the episodes, the lengths in env steps."""
        first = np.flatnonzero(self.firsts)
        returns = np.add.reduceat(self.rewards.astype(np.float64), first)
        return returns, np.diff(first, append=len(self.firsts)) - 1

    def footage(self, span: NStep) -> Footage:
        """Return all transitions over so many steps; the frames are these very arrays.

        Where an episode has fewer steps left no transition begins.
        """
        begins = self.begins()
        first = np.flatnonzero(self.firsts)
        ends = np.append(first[1:], len(self.firsts))[np.cumsum(self.firsts) - 1]
        starts = np.flatnonzero(np.arange(len(begins)) + span.steps < ends).astype(np.int32)
        columns: dict[str, Any] = {
            "frames": self.frames,
            "actions": self.actions,
            "rewards": self.rewards,
            "terminals": (1.0 - self.discounts).astype(np.float32),
            "begins": begins,
            "starts": starts,
        }
        return Footage(**columns, span=span)


def allocate(shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of bytes, not yet filled, at an address where a CPU's device takes it over without a copy.

    Raises DatasetError where so much memory is not free.
    """
    size = math.prod(shape)
    remedy = "frames of 64 pixels take three fifths of those of 84, and fewer files make a smaller dataset"
    require_memory(size, f"{shape[0]:,} frames take", remedy)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + size].reshape(shape)
