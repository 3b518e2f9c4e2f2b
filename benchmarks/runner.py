"""Sweeps: which cells there are, which are finished, and running the rest one after another."""

import dataclasses
import hashlib
import json
import traceback
from dataclasses import dataclass
from pathlib import Path

from benchmarks.budgets import Budget
from moorl_jax.data import Dataset, choose, load
from moorl_jax.data.recipe import VERSION
from moorl_jax.engine import results
from moorl_jax.engine.results import Result
from moorl_jax.engine.training import train
from moorl_jax.errors import MoorlError
from moorl_jax.progress import Display
from moorl_jax.settings import Settings, settings
from moorl_jax.tasks import Task


@dataclass(frozen=True)
class Cell:
    """One task, one agent, one source, all seeds: the unit of running, resuming and results."""

    task: Task
    agent: str
    source: str
    seeds: tuple[int, ...]
    budget: Budget

    @property
    def settings(self) -> Settings:
        """The agent's config and its data's preparation."""
        return settings(self.agent, self.task, self.budget.updates)

    @property
    def name(self) -> str:
        """Where the result lies below the cells' directory: readable, and unique to all that decides the result."""
        identity = {
            "config": dataclasses.asdict(self.settings.agent),
            "preparation": dataclasses.asdict(self.settings.preparation),
            "seeds": self.seeds,
            "budget": dataclasses.asdict(self.budget),
            "episodes": self.task.evaluation_episodes,
            "recipe": VERSION if self.source in ("recipe", "embedded") else None,
        }
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
        agent = self.agent.rpartition("/")[2].replace(":", "-")
        return f"{self.task.name}/{agent}-{self.source}-{self.budget.name}-{len(self.seeds)}seeds-{digest}"

    @property
    def command(self) -> str:
        """The command that runs this cell again."""
        seeds = ",".join(map(str, self.seeds))
        every = self.budget.updates // self.budget.evaluations
        return (
            f"moorl-jax train --agent {self.agent} --task {self.task.name} --source {self.source} --seeds {seeds} "
            f"--updates {self.budget.updates} --evaluate-every {every}"
        )


@dataclass(frozen=True)
class Outcome:
    """What became of a cell: a result, or what went wrong."""

    cell: Cell
    result: Result | None
    fault: str = ""


def plan(
    tasks: tuple[Task, ...], agents: list[str], source: str, policies: Path | None, seeds: int, budget: Budget
) -> list[Cell]:
    """Return the sweep's cells, task by task; raise MoorlError before anything runs if one cannot be."""
    cells = [
        Cell(task, agent, choose(task, source, policies), tuple(range(seeds)), budget)
        for task in tasks
        for agent in agents
    ]
    for cell in cells:
        _ = cell.settings  # an unknown agent is named now, not after hours of others
    return cells


def sweep(cells: list[Cell], directory: Path, policies: Path | None, display: Display) -> list[Outcome]:
    """Run every cell that is not finished yet and return what became of each, in order.

    A cell that fails is named and the sweep goes on; a killed sweep loses at most the cell it was in.
    """
    outcomes: list[Outcome] = []
    dataset: Dataset | None = None
    for number, cell in enumerate(cells, start=1):
        label = f"[{number}/{len(cells)}] {cell.task.name} {cell.agent}"
        result, fault = _finished(cell, directory / cell.name, display)
        if result:
            display.console.print(f"{label}: finished before, kept", highlight=False)
        else:
            try:
                if dataset is None or (dataset.task, dataset.source) != (cell.task, cell.source):
                    dataset = load(cell.task, cell.source, policies, display.data(label))
                result = run(cell, directory / cell.name, dataset, display, label)
            except MoorlError as error:
                fault = str(error)
            except Exception:
                fault = traceback.format_exc()
            if fault:
                display.console.print(f"{label}: failed: {fault}", highlight=False, markup=False)
        outcomes.append(Outcome(cell, result, fault))
    return outcomes


def run(cell: Cell, directory: Path, dataset: Dataset, display: Display, label: str) -> Result:
    """Train one cell and write its result."""
    training = train(
        cell.settings.agent,
        cell.task,
        seeds=cell.seeds,
        updates=cell.budget.updates,
        evaluate_every=cell.budget.updates // cell.budget.evaluations,
        dataset=dataset,
        preparation=cell.settings.preparation,
        report=display.training(label, cell.budget.updates),
    )
    results.save(training, directory, cell.command)
    return results.read(directory)


def _finished(cell: Cell, directory: Path, display: Display) -> tuple[Result | None, str]:
    """Return the cell's result if it is whole; a damaged one is named and will be run again."""
    if not (directory / results.CHECKPOINT).exists():
        return None, ""  # never run here: a clone carries curves, not states
    try:
        return results.read(directory), ""
    except MoorlError as error:
        display.console.print(f"{cell.task.name} {cell.agent}: running again, {error}", highlight=False)
        return None, ""
