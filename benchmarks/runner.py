"""Sweeps: which cells there are, which are finished, and running the rest one after another."""

import dataclasses
import functools
import hashlib
import json
import shlex
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.budgets import Budget
from moorl_jax.agents.overrides import override
from moorl_jax.data import Dataset, choose, load
from moorl_jax.data.preparation import Preparation
from moorl_jax.data.sources import at_hand
from moorl_jax.engine import provenance, results
from moorl_jax.engine.results import Result
from moorl_jax.engine.trainer import needs_data
from moorl_jax.engine.training import train
from moorl_jax.errors import DatasetError, MoorlError, OtherTrainingError
from moorl_jax.phases import Phase
from moorl_jax.progress import Display
from moorl_jax.settings import Settings, settings
from moorl_jax.tasks import Task, find


@dataclass(frozen=True)
class Cell:
    """One task, one agent, one source, all seeds: the unit of running, resuming and results."""

    task: Task
    agent: str
    source: str
    seeds: tuple[int, ...]
    budget: Budget
    protocol: str
    overrides: tuple[str, ...] = ()  #: NAME=VALUE changes of the agent's settings
    variant: str = ""  #: what those changes are called in tables and pictures

    @property
    def label(self) -> str:
        """The cell's name in tables and pictures."""
        return self.variant or self.agent

    @property
    def spend(self) -> tuple[int, int]:
        """Offline updates and env steps, per seed."""
        return self.budget.spend(self.protocol)

    @property
    def intervals(self) -> tuple[int, int]:
        """Offline updates and env steps between evaluations."""
        updates, env_steps = self.spend
        return max(1, updates // self.budget.evaluations), max(1, env_steps // self.budget.evaluations)

    @property
    def episodes(self) -> int:
        """Episodes of an evaluation, per seed."""
        return min(self.task.evaluation_episodes, self.budget.episodes)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the agent goes through."""
        return self.settings.agent.phases(*self.spend)

    @functools.cached_property
    def settings(self) -> Settings:
        """The agent's config and its data's preparation."""
        chosen = settings(self.agent, self.task, *self.spend)
        return dataclasses.replace(chosen, agent=override(chosen.agent, self.overrides))

    @property
    def written(self) -> dict[str, Any]:
        """The settings as a result holds them."""
        return _written(self.settings)

    @functools.cached_property
    def name(self) -> str:
        """Where the result lies below the cells' directory: readable, and unique to all that decides the result.

        Settings count where they are not the defaults, so that a new setting with a default renames no cell; whether a
        cell's defaults are still today's is seen when it is found (`_finished`).
        """
        file, own, _ = self.agent.rpartition(":")
        identity = {
            "agent": self.agent,
            "code": hashlib.sha256(Path(file).read_bytes()).hexdigest() if own else None,  # a user's, still changing
            **_chosen(self.written, _written(Settings(type(self.settings.agent)(), Preparation()))),
            "seeds": self.seeds,
            "spend": self.spend,
            "intervals": self.intervals,
            "episodes": self.episodes,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        agent = self.agent.rpartition("/")[2].replace(":", "-")
        how = self.budget.name if self.protocol == "offline" else f"{self.protocol}-{self.budget.name}"
        return f"{self.task.name}/{agent}-{self.source}-{how}-{len(self.seeds)}seeds-{digest}"

    @property
    def command(self) -> str:
        """The command that runs this cell again."""
        seeds = ",".join(map(str, self.seeds)) + "," * (len(self.seeds) == 1)
        (updates, env_steps), (every, every_steps) = self.spend, self.intervals
        source = "" if self.source == results.NO_SOURCE else f" --source {self.source}"
        offline = f" --updates {updates}" + (f" --evaluate-every {every}" if updates else "")
        online = f" --env-steps {env_steps} --evaluate-every-steps {every_steps}" if env_steps else ""
        changes = "".join(f" --set {shlex.quote(change)}" for change in self.overrides)
        fewer = f" --episodes {self.episodes}" if self.episodes < self.task.evaluation_episodes else ""
        return (
            f"moorl-jax train --agent {self.agent} --task {self.task.name}{source} --seeds {seeds}{offline}{online}"
            f"{fewer}{changes}"
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: a result, or what went wrong."""

    cell: Cell
    result: Result | None
    fault: str = ""
    no_data: bool = False  #: the fault is that the task's data cannot be had


def plan(
    tasks: tuple[Task, ...],
    agents: list[str],
    source: str,
    policies: Path | None,
    seeds: int,
    budget: Budget,
    protocol: str,
) -> list[Cell]:
    """Return the sweep's cells, task by task; raise MoorlError before anything runs if one cannot be."""
    cells = [
        Cell(task, agent, results.NO_SOURCE, tuple(range(seeds)), budget, protocol)
        for task in tasks
        for agent in agents
    ]
    return [sourced(cell, source, policies) for cell in cells]


def sourced(cell: Cell, source: str, policies: Path | None) -> Cell:
    """Return the cell with the source of its data, where it needs any; raise MoorlError if it cannot be run."""
    if needs_data(cell.phases):
        cell = dataclasses.replace(cell, source=choose(cell.task, source, policies))
    _ = cell.name  # an agent that is unknown or cannot be saved is named now, not after hours of others
    return cell


def sweep(cells: list[Cell], directory: Path, policies: Path | None, display: Display) -> list[Outcome]:
    """Run every cell that is not finished yet and return what became of each, in order.

    A cell that fails is named and the sweep goes on; a killed sweep loses at most the cell it was in. Data that cannot
    be had is asked for once, and named once for all agents of its task.
    """

    @functools.lru_cache(maxsize=1)  # cells of a task follow one another
    def data(task_name: str, source: str) -> Dataset:
        try:
            return load(find(task_name), source, policies, display.data(f"{task_name} {source}"))
        except DatasetError as error:
            without[task_name, source] = str(error)
            raise

    without: dict[tuple[str, str], str] = {}
    outcomes: list[Outcome] = []
    for number, cell in enumerate(cells, start=1):
        label = f"[{number}/{len(cells)}] {cell.task.name} {cell.label}"
        needed = (cell.task.name, cell.source)
        if needed in without:
            outcomes.append(Outcome(cell, None, without[needed], no_data=True))
            continue
        result, fault = None, ""
        try:
            result = _finished(cell, directory / cell.name, data, display)
            if result:
                display.console.print(f"{label}: finished before, kept", highlight=False)
            else:
                dataset = data(*needed) if cell.source != results.NO_SOURCE else None
                result = run(cell, directory / cell.name, dataset, display, label)
        except MoorlError as error:
            fault = str(error)
        except Exception:
            fault = traceback.format_exc()
        display.clear()
        if fault:
            display.console.print(f"{label}: failed: {fault}", highlight=False, markup=False, soft_wrap=True)
        outcomes.append(Outcome(cell, result, fault, no_data=needed in without))
    return outcomes


def run(cell: Cell, directory: Path, dataset: Dataset | None, display: Display, label: str) -> Result:
    """Train one cell and write its result.

    It goes on from its last checkpoint, but where that was written by other code, with other packages or on another
    kind of device.
    """
    (updates, env_steps), (every, every_steps) = cell.spend, cell.intervals
    start = functools.partial(
        train,
        cell.settings.agent,
        cell.task,
        seeds=cell.seeds,
        updates=updates,
        env_steps=env_steps,
        evaluate_every=every,
        evaluate_every_steps=every_steps,
        episodes=cell.episodes,
        dataset=dataset,
        preparation=cell.settings.preparation,
        checkpoints=results.running(directory),
        report=display.training(label),
        warn=display.warn,
    )
    try:
        training = start()
    except OtherTrainingError as error:
        display.warn(f"{label}: begun anew, its checkpoints differ in {error.different}")
        shutil.rmtree(results.running(directory))
        training = start()
    results.save(training, directory, cell.command)
    return results.read(directory)


def _written(settings: Settings) -> dict[str, Any]:
    """Return settings as a result's config.json holds them."""
    fields = {
        "agent_config": provenance.agent_fields(settings.agent),
        "preparation": dataclasses.asdict(settings.preparation),
    }
    return json.loads(json.dumps(fields))


def _chosen(written: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return of each part what differs from the defaults."""
    return {
        part: {name: value for name, value in fields.items() if value != defaults[part][name]}
        for part, fields in written.items()
    }


def _finished(cell: Cell, directory: Path, data: Callable[[str, str], Dataset], display: Display) -> Result | None:
    """Return the cell's result if it is whole and of the data at hand; otherwise say why it is run again."""
    if not (directory / results.CHECKPOINT).exists():
        return None  # never run here: a clone carries curves, not states
    try:
        result = results.read(directory)
        for part, now in cell.written.items():
            then = result.config[part]
            changed = [name for name in then if name in now and then[name] != now[name]]
            if changed:
                raise MoorlError(f"{changed[0]} was {then[changed[0]]}, it is {now[changed[0]]} now")
        if cell.source != results.NO_SOURCE and at_hand(cell.task, cell.source):
            made_from, now = result.provenance["dataset_sha256"], data(cell.task.name, cell.source).fingerprint
            if made_from != now:
                raise MoorlError(f"its data was {made_from[:8]}…, the data here is {now[:8]}…")
    except MoorlError as error:
        display.console.print(f"{cell.task.name} {cell.label}: running again, {error}", highlight=False, soft_wrap=True)
        return None
    shutil.rmtree(results.running(directory), ignore_errors=True)  # of a run that was killed as it ended
    return result
