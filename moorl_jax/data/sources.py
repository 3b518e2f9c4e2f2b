"""One door to every dataset: which source serves a task here, and its rows, checked and fingerprinted."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moorl_jax.data import d4rl, filming, frames, hdf5, minari_source, plans, publishing, recipe, vd4rl
from moorl_jax.data.folders import kept_in
from moorl_jax.data.frames import Frames
from moorl_jax.data.rows import Rows, check, to_transitions, trajectory_returns
from moorl_jax.errors import DatasetError, NotAvailableError, UnknownNameError
from moorl_jax.footage import Footage
from moorl_jax.tasks import Task
from moorl_jax.types import NStep, Progress, Transitions

FILE = "file"  #: someone's own file: given by its path, or found in D4RL's place though it is not D4RL's
SOURCES = ("d4rl", "recipe", "embedded", "minari", "vd4rl", FILE)
_OR_MADE = "or make it from trained policies: --policies DIR"


@dataclass(frozen=True)
class Dataset:
    """A task's data from one source, ready to train on."""

    task: Task
    source: str
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


def directory() -> Path:
    """Return where datasets made here are kept: MOORL_DATA_DIR, or a cache in the home directory."""
    return kept_in("MOORL_DATA_DIR", ".cache", "moorl_jax")


def file_of(task: Task, source: str) -> Path:
    """Return where the task's HDF5 file of that source lies or would lie; for images, the folder of their files."""
    if source in ("d4rl", FILE):
        return d4rl.file_of(task)
    if task.pixels:
        return vd4rl.folder_of(task) if source == "vd4rl" else directory() / source / task.name
    return directory() / source / f"{task.name}.hdf5"


def at_hand(task: Task, source: str) -> bool:
    """Tell whether the task's data of that source is on this machine, ready to read."""
    if source == "minari":
        return minari_source.at_hand(task.datasets[source])
    return bool(vd4rl.files(file_of(task, source))) if task.pixels else file_of(task, source).is_file()


def location(task: Task, source: str) -> str:
    """Say where the task's data of that source lies: a file, or a dataset's name in Minari."""
    return f"minari {task.datasets[source]}" if source == "minari" else str(file_of(task, source))


def published(task: Task) -> str:
    """Return where the task's own dataset was published: `d4rl`, `minari` or `vd4rl`.

    Raises NotAvailableError for a task without datasets.
    """
    for source in ("minari", "vd4rl", "d4rl"):
        if source in task.datasets:
            return source
    raise NotAvailableError(f"{task.name} has no dataset: it is for agents that learn online alone, such as sac")


def choose(task: Task, source: str = "auto", policies: Path | None = None) -> str:
    """Return the source to use: the one named, or for `auto` the first that can serve.

    That is the data as it was published, if it is on this machine or D4RL's server answers; else `embedded`, which is
    made of policies that the package carries; else `recipe`, if it is made already or its `policies` are at hand; else
    the published data, whose absence is then told. Minari's tasks have Minari alone. A file in D4RL's place that is
    not D4RL's is `file`. Raises UnknownNameError or NotAvailableError.
    """
    own = published(task)
    foreign = own == "d4rl" and at_hand(task, own) and not d4rl.is_theirs(task)
    if source == "auto":
        if own == "minari" or at_hand(task, own):
            return FILE if foreign else own
        if own == "d4rl" and d4rl.answers():
            return own
        if "embedded" in task.datasets:
            return "embedded"
        return "recipe" if "recipe" in task.datasets and (at_hand(task, "recipe") or policies) else own
    if source not in SOURCES:
        raise UnknownNameError("source", source, ["auto", *SOURCES])
    if source == "d4rl" and foreign:
        raise NotAvailableError(
            f"{d4rl.file_of(task)}: its size is not that of D4RL's own; train on it by --source {FILE}, or move it away"
        )
    if source == FILE and foreign:
        return source
    if source not in task.datasets:
        why = f" ({task.no_recipe})" if source == "recipe" and task.no_recipe else ""
        raise NotAvailableError(f"{task.name} has no source '{source}'{why}; it has {', '.join(task.datasets)}")
    return source


def said_of(chosen: Iterable[tuple[Task, str]]) -> str:
    """Return what to say of tasks and the sources that `auto` chose for them, nothing where all are the published.

    Where D4RL's server does not answer: which data is made here, and which cannot be had, with what to do.
    """
    of_d4rl = [(task, source) for task, source in chosen if "d4rl" in task.datasets]
    made = dict.fromkeys(task.name for task, source in of_d4rl if source == "embedded")
    absent = (task for task, source in of_d4rl if source == "d4rl" and not at_hand(task, source))
    lacking = dict.fromkeys(task.name for task in absent if not d4rl.answers())
    lines = []
    if made:
        lines.append(f"D4RL's server does not answer; data is made here by policies of our own: {', '.join(made)}")
    if lacking:
        lines.append(f"No data here: {', '.join(lacking)}; put D4RL's files into {d4rl.directory()}, {_OR_MADE}")
    return "\n".join(lines)


def make(
    task: Task,
    source: str,
    policies: Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    tell: Callable[[str], None] = print,
) -> Path:
    """Make the task's dataset by its recipe, whether or not it is there already, and return its file.

    `policies` is the directory of the behaviour policies to roll out; `embedded` needs none. `tell` is told when
    another process makes it, too, which is waited for. Raises StorageError where it cannot be written.
    """
    parts = plans.plan(task, policies, source)
    with publishing.alone(file_of(task, source), tell):
        return _make(task, source, parts, seed, progress)


def load(
    task: Task,
    source: str,
    policies: Path | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] = print,
) -> Dataset:
    """Return the task's data of that source, downloaded or made first where it is not at hand.

    Its source is `file` where what lies in D4RL's place is not D4RL's. `tell` is told when another process gets it
    just now, which is waited for. Raises DatasetError where it cannot be had or is faulty, StorageError where it
    cannot be written.
    """
    if source != FILE and not _ready(task, source):
        if source == "vd4rl":
            raise DatasetError(
                f"{task.name}: there are no files in {vd4rl.folder_of(task)}; get vd4rl/{task.datasets[source]} from "
                f"{vd4rl.MIRROR} and put its files there, or name V-D4RL's directory in VD4RL_DATASET_DIR, {_OR_MADE}"
            )
        parts = plans.plan(task, policies, source) if source in plans.MADE_HERE else []
        with publishing.alone(_place(task, source), tell):
            if not _ready(task, source):
                if source == "minari":
                    minari_source.download(task.datasets[source])
                elif source == "d4rl":
                    _download(task, progress)
                else:
                    _make(task, source, parts, 0, progress)
    if source == "d4rl" and not d4rl.is_theirs(task):
        source = FILE
    if source != "minari":
        return read(file_of(task, source), task, source, progress)
    rows = minari_source.read(task.datasets[source])
    check(rows, task, location(task, source))
    return Dataset(task, source, rows, rows.fingerprint())


def read(path: Path, task: Task, source: str, progress: Progress | None = None) -> Dataset:
    """Return what a file of D4RL's layout holds, or for images a folder of V-D4RL's, once it has been checked.

    Raises DatasetError where it is faulty.
    """
    rows: Rows | Frames
    if task.pixels:
        rows = vd4rl.read(path, progress)
        frames.check(rows, task, str(path))
    else:
        rows = hdf5.read(path)
        check(rows, task, str(path))
    return Dataset(task, source, rows, rows.fingerprint())


def _download(task: Task, progress: Progress | None) -> None:
    """Fetch D4RL's file; where it cannot be had, say whether the dataset could be made instead."""
    try:
        d4rl.download(task, progress)
    except DatasetError as error:
        hint = _OR_MADE if "recipe" in task.datasets else task.no_recipe
        raise DatasetError("; ".join(filter(None, (str(error), hint)))) from error


def _make(task: Task, source: str, parts: list[plans.Part], seed: int, progress: Progress | None) -> Path:
    """Make what is planned; whoever calls holds the lock of its place."""
    path = file_of(task, source)
    generate = filming.generate if task.pixels else recipe.generate
    generate(task, parts, path, seed, progress)
    return path


def _place(task: Task, source: str) -> Path:
    """Return whose lock to hold while the data is made or fetched."""
    if source == "minari":
        return minari_source.folder_of(task.datasets[source])
    return file_of(task, source)


def _ready(task: Task, source: str) -> bool:
    """Tell whether the data is on this machine, and made by the recipe as it is now where it was made here."""
    return at_hand(task, source) and not _outdated(task, source)


def _outdated(task: Task, source: str) -> bool:
    """Tell whether the file was made by an earlier version of its recipe; raise DatasetError if it does not say."""
    path = file_of(task, source)
    if source not in plans.MADE_HERE:
        return False
    if task.pixels:
        return filming.outdated(path)
    version = hdf5.note(path, "version")
    if version is None:
        raise DatasetError(f"{path}: it lacks a recipe's 'metadata/version'; move it away to make the dataset anew")
    return version != str(recipe.VERSIONS[task.family])
