"""All data sources, and how to choose one for a task and load its data."""

from collections.abc import Callable, Iterable
from pathlib import Path

from moorl_jax.data.dataset import Dataset
from moorl_jax.data.sources import d4rl
from moorl_jax.data.sources.d4rl import D4RL
from moorl_jax.data.sources.file import File
from moorl_jax.data.sources.made import OR_MADE, Embedded, Made, Recipe
from moorl_jax.data.sources.minari import Minari
from moorl_jax.data.sources.ogbench import OGBench, Scripted
from moorl_jax.data.sources.source import Source
from moorl_jax.data.sources.vd4rl import VD4RL
from moorl_jax.errors import NotAvailableError, UnknownNameError
from moorl_jax.tasks import Task
from moorl_jax.types import Progress

__all__ = [
    "D4RL",
    "MADE_HERE",
    "SOURCES",
    "VD4RL",
    "Embedded",
    "File",
    "Made",
    "Minari",
    "OGBench",
    "Recipe",
    "Scripted",
    "Source",
    "choose",
    "find",
    "load",
    "notice",
    "of",
    "published",
]

SOURCES = tuple(kind.name for kind in (D4RL, Minari, VD4RL, OGBench, Recipe, Embedded, File))
MADE_HERE = (Recipe.name, Embedded.name)  #: sources whose data is not the original


def _all(task: Task, policies: Path | None = None, seed: int = 0) -> list[Source]:
    """Instantiate every source for the task, in the order of SOURCES."""
    recipe = Scripted(task, seed) if task.family == "ogbench" else Recipe(task, seed, policies)
    return [D4RL(task), Minari(task), VD4RL(task), OGBench(task), recipe, Embedded(task, seed), File(task)]


def of(task: Task, policies: Path | None = None) -> dict[str, Source]:
    """Return the sources that have data of the task, by name."""
    return {source.name: source for source in _all(task, policies) if not source.unavailable}


def find(task: Task, name: str, policies: Path | None = None, seed: int = 0) -> Source:
    """Return the source of that name. `recipe` rolls out `policies`; `seed` seeds the data that is generated locally.

    Raises UnknownNameError, or NotAvailableError where the source has no data of the task.
    """
    for source in _all(task, policies, seed):
        if source.name == name:
            if source.unavailable:
                raise NotAvailableError(source.unavailable)
            return source
    raise UnknownNameError("source", name, ["auto", *SOURCES])


def published(task: Task) -> str:
    """Return the source in which the task's own dataset was published; raise NotAvailableError where it has none."""
    for name in task.datasets:
        if name not in MADE_HERE:
            return name
    raise NotAvailableError(f"{task.name} has no dataset: it is for agents that learn online alone, such as sac")


def choose(task: Task, source: str = "auto", policies: Path | None = None) -> str:
    """Return the source to use: the one named, or for `auto` the first that can serve.

    In order: the user's own file at D4RL's path; the published data, if it is on disk or D4RL's server is up;
    `embedded`; `recipe`, if already generated or if `policies` are given. If none of them works, it is the published
    source, and loading it reports what is missing. Raises UnknownNameError or NotAvailableError.
    """
    own = published(task)
    if source != "auto":
        return find(task, source, policies).name
    offered = of(task, policies)
    order = (File.name, own, Embedded.name, Recipe.name)
    return next((name for name in order if name in offered and offered[name].serves()), own)


def notice(chosen: Iterable[tuple[Task, str]]) -> str:
    """Return a message about the sources that `auto` chose for tasks; empty if all are the published ones.

    If D4RL's server is down: which data is generated locally, which is missing, and what to do about it.
    """
    of_d4rl = [(task, source) for task, source in chosen if D4RL.name in task.datasets]
    made = dict.fromkeys(task.name for task, source in of_d4rl if source == Embedded.name)
    absent = [task.name for task, source in of_d4rl if source == D4RL.name and not D4RL(task).serves()]
    lines = []
    if made:
        lines.append(f"D4RL's server is unreachable; generating data with bundled policies: {', '.join(made)}")
    if absent:
        missing = ", ".join(dict.fromkeys(absent))
        lines.append(f"Missing data: {missing}; put D4RL's files into {d4rl.directory()}, {OR_MADE}")
    return "\n".join(lines)


def load(
    task: Task,
    source: str,
    policies: Path | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] = print,
) -> Dataset:
    """Return the task's dataset from the named source, downloading or generating it if necessary.

    Raises what `find` and `Source.load` raise.
    """
    return find(task, source, policies).load(progress, tell)
