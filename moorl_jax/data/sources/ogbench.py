"""OGBench's datasets: its authors' files, and those made here of its package's scripted policies.

A file serves all five tasks of its environment: rewards and masks are the package's own for the task.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moorl_jax.data import publishing, scripted
from moorl_jax.data.folders import kept_in
from moorl_jax.data.rows import Rows, as_float32, require_memory
from moorl_jax.data.sources.d4rl import answers, received
from moorl_jax.data.sources.source import Getter, Source
from moorl_jax.errors import DatasetError, one_line
from moorl_jax.tasks import Task
from moorl_jax.tasks.environments import optional
from moorl_jax.tasks.ogbench_sets import OGBENCH, UNSOLVED, OGBenchSet
from moorl_jax.types import Progress

SERVER = "https://rail.eecs.berkeley.edu/datasets/ogbench"
LIMIT = 8_000_000_000  #: maximum bytes of a download; OGBench does not publish its files' sizes
OR_SCRIPTED = "or make it by OGBench's own scripts: --source recipe"


class Npz(Source):
    """A file of OGBench's layout."""

    @property
    def of(self) -> OGBenchSet:
        """The set that the file holds."""
        return next(of for of in OGBENCH if (of.subject, of.level) == (self.task.subject, self.task.level))

    def is_here(self) -> bool:
        """Tell whether the file lies there."""
        return self.place.is_file()

    def read(self, progress: Progress | None) -> Rows:
        """Read the file and relabel its rows for the task."""
        return read(self.place, self.task)


class OGBench(Npz):
    """Its authors' file, below OGBENCH_DATASET_DIR."""

    name = "ogbench"
    made_of = "OGBench's own"

    @property
    def place(self) -> Path:
        """The file, where OGBench's package would put it, too."""
        return kept_in("OGBENCH_DATASET_DIR", ".ogbench", "data") / f"{self.task.datasets[self.name]}.npz"

    def serves(self) -> bool:
        """Tell whether the file is here or its server, which is D4RL's, answers."""
        return self.is_here() or answers()

    def getter(self) -> Getter:
        """Return the download function; it is atomic: a complete, checked file or none.

        The download raises DatasetError where the server cannot be reached, within seconds, or sends anything but this
        file; StorageError where the file cannot be written.
        """
        return self._download

    def _download(self, progress: Progress | None) -> None:
        optional("ogbench")  # by which the file is checked
        url, path, done, total = f"{SERVER}/{self.place.name}", self.place, 0, 0
        instead = OR_SCRIPTED if self.of.scripted else self.of.no_recipe
        by_hand = f"download it elsewhere and put it at {path}; {instead}"
        with publishing.published(path) as partial:
            with publishing.storing(path), partial.open("wb") as file:
                for chunk, total in received(url, by_hand):
                    done += file.write(chunk)
                    if max(done, total) > LIMIT:
                        raise DatasetError(f"{url}: the server sends more than {LIMIT:,} bytes; {by_hand}")
                    if progress:
                        progress(done, total)
            if total and done != total:
                raise DatasetError(f"{url}: the connection ended after {done} of {total} bytes; try again, {by_hand}")
            try:
                read(partial, self.task).check(self.task, str(partial))
            except DatasetError as error:
                wrong = str(error).removeprefix(f"{partial}: ")
                raise DatasetError(f"{url}: what the server sent cannot be used ({wrong}); {by_hand}") from error


@dataclass(frozen=True)
class Scripted(Npz):
    """Made here, by the procedure of OGBench's scripts, below MOORL_DATA_DIR; of the five tasks one file."""

    name = "recipe"
    made_of = "OGBench's scripted policies, as its own was"
    seed: int = 0  #: data generated with the same seed is the same
    episodes: int | None = None  #: of training; by default as many as OGBench's

    @property
    def place(self) -> Path:
        """The file, named as OGBench's."""
        folder = kept_in("MOORL_DATA_DIR", ".cache", "moorl_jax") / self.name / "ogbench"
        return folder / f"{self.task.datasets[self.name]}.npz"

    @property
    def unavailable(self) -> str:
        """Also give the reason for having no recipe, if there is one."""
        return "; ".join(filter(None, (super().unavailable, self.task.no_recipe)))

    def is_current(self) -> bool:
        """Tell whether the data is here and was made by today's version of its recipe, of however many episodes."""
        return self.is_here() and scripted.noted(self.place)[0] == scripted.VERSION

    def authenticity(self) -> str:
        """Say how much was made, and from which seed."""
        _, seed, episodes = scripted.noted(self.place)
        return f"{episodes:,} of OGBench's {self.of.episodes:,} episodes, made here from seed {seed}"

    def getter(self) -> Getter:
        """Return what makes it."""
        optional("ogbench")
        episodes = self.of.episodes if self.episodes is None else self.episodes
        return functools.partial(scripted.generate, self.of, self.place, self.seed, episodes)


def read(path: Path, task: Task) -> Rows:
    """Read a file of OGBench's layout, rewarded for a task.

    A row is a state and the action taken there; an episode's last row, which OGBench calls terminal, is a time-out
    here: its action leads nowhere. Terminal here is a row whose mask is 0, at the goal, though its episode goes on.
    Raises DatasetError where it cannot be read, NotAvailableError without the package.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            require_memory(3 * path.stat().st_size, f"{path}: it takes", "make a smaller file of it")
            names = ("observations", "actions", "terminals", "qpos", "button_states")
            columns = {name: file[name] for name in names if name in file.files}
    except DatasetError:
        raise
    except Exception as error:  # NumPy and zipfile raise errors of many kinds over bad bytes
        raise DatasetError(
            f"{path}: not an npz file of plain arrays, or a damaged one ({one_line(error)}); move it away, then fetch "
            "or make it again"
        ) from error
    buttons = ("button_states",) if task.subject.startswith(("scene", "puzzle")) else ()
    for name in ("observations", "actions", "terminals", "qpos", *buttons):
        if name not in columns:
            there = one_line(", ".join(sorted(columns)) or "nothing")
            raise DatasetError(
                f"{path}: the key '{name}' is missing (found: {there}); this is not a file of OGBench's layout"
            )
    for name, values in columns.items():
        if values.dtype.kind not in "fiub" or values.ndim == 0 or len(values) != len(columns["terminals"]):
            raise DatasetError(f"{path}: '{name}' is not an array of numbers, one row a step; fetch or make it again")
    known = {name: columns[name] for name in ("qpos", *buttons)}
    try:
        rewards, masks = optional("ogbench").relabel(task.environment, known, sparse=task.rewards == UNSOLVED)
    except (IndexError, ValueError) as error:  # of arrays of other sizes
        raise DatasetError(
            f"{path}: its states are not of {task.environment} ({one_line(error)}); is this the file of another task?"
        ) from error
    return Rows(
        observations=as_float32(columns["observations"], f"{path}: 'observations'"),
        actions=as_float32(columns["actions"], f"{path}: 'actions'"),
        rewards=rewards,
        terminals=masks == 0.0,
        timeouts=columns["terminals"].astype(bool),
    )
