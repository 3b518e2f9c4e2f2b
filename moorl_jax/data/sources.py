"""One door to every dataset: which source serves a task here, and its rows, checked and fingerprinted."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moorl_jax.data import d4rl, hdf5, minari_source, recipe
from moorl_jax.data.rows import Rows, check, to_transitions
from moorl_jax.errors import NotAvailableError, UnknownNameError
from moorl_jax.tasks import Task
from moorl_jax.types import Transitions

SOURCES = ("d4rl", "recipe", "embedded", "minari")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Dataset:
    """A task's data from one source, ready to train on."""

    task: Task
    source: str
    rows: Rows
    fingerprint: str  #: sha256 over the rows' arrays

    @property
    def transitions(self) -> Transitions:
        """The transitions D4RL's `qlearning_dataset` would give."""
        return to_transitions(self.rows, self.task.horizon)


def directory() -> Path:
    """Return where datasets made here are kept: MOORL_DATA_DIR, or a cache in the home directory."""
    return Path(os.environ.get("MOORL_DATA_DIR") or Path.home() / ".cache" / "moorl_jax")


def policies() -> Path | None:
    """Return the directory of behaviour policies that MOORL_POLICIES names, if any."""
    named = os.environ.get("MOORL_POLICIES")
    return Path(named) if named else None


def file_of(task: Task, source: str) -> Path:
    """Return where the task's HDF5 file of that source lies or would lie."""
    if source == "d4rl":
        return d4rl.file_of(task)
    return directory() / source / f"{task.name}.hdf5"


def at_hand(task: Task, source: str) -> bool:
    """Tell whether the task's data of that source is on this machine, ready to read."""
    if source == "minari":
        return minari_source.at_hand(task.datasets[source])
    return file_of(task, source).is_file()


def choose(task: Task, source: str = "auto") -> str:
    """Return the source to use: the one named, or for `auto` the first that can serve.

    That is a file of D4RL, a recipe's file, a recipe whose policies are at hand, a Minari dataset; else `d4rl`, which
    will be downloaded. `embedded` is never chosen silently. Raises UnknownNameError or NotAvailableError.
    """
    task.require()
    if source == "auto":
        if at_hand(task, "d4rl"):
            return "d4rl"
        if "recipe" in task.datasets and (at_hand(task, "recipe") or policies()):
            return "recipe"
        return "minari" if "minari" in task.datasets and at_hand(task, "minari") else "d4rl"
    if source not in SOURCES:
        raise UnknownNameError("source", source, ["auto", *SOURCES])
    if source not in task.datasets:
        raise NotAvailableError(f"{task.name} has no source '{source}'; it has {', '.join(task.datasets)}")
    return source


def obtain(task: Task, source: str, progress: Progress | None = None) -> None:
    """Download the task's data, or make it by its recipe, unless it is at hand."""
    if at_hand(task, source):
        return
    if source == "minari":
        minari_source.download(task.datasets[source])
    elif source == "d4rl":
        d4rl.download(task, progress)
    else:
        make(task, source, progress=progress)


def make(task: Task, source: str = "recipe", seed: int = 0, progress: Progress | None = None) -> Path:
    """Make the task's dataset by its recipe, whether or not it is there already, and return its file."""
    path = file_of(task, source)
    recipe.generate(task, recipe.plan(task, policies(), source), path, seed, progress)
    return path


def load(task: Task, source: str, progress: Progress | None = None) -> Dataset:
    """Return the task's data, obtained first where it is not at hand; raise DatasetError where it is faulty."""
    obtain(task, source, progress)
    if source == "minari":
        where, rows = f"minari {task.datasets[source]}", minari_source.read(task.datasets[source])
    else:
        path = file_of(task, source)
        where, rows = str(path), hdf5.read(path)
    check(rows, task, where)
    return Dataset(task, source, rows, rows.fingerprint())
