"""Cells: the units of a sweep, and what makes two of them the same."""

import dataclasses
import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorl_jax.agents import AGENTS, Agent, Subroutine
from moorl_jax.config import require_bounds
from moorl_jax.data import choose
from moorl_jax.data.preparation import Preparation
from moorl_jax.engine import provenance, results
from moorl_jax.engine.recipes import alike, needs_data
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.request import which_seeds
from moorl_jax.engine.training_loop import Plan
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Phase
from moorl_jax.replay import Sampling
from moorl_jax.settings import Settings, settings, suits
from moorl_jax.sweeps.budgets import Budget
from moorl_jax.tasks import Task

MOST_TOGETHER = 100  #: seeds of the cells trained together, each with its networks and its buffer


@dataclass(frozen=True)
class Cell:
    """One task, one agent, one data source, all seeds: what is trained, resumed and saved as one result."""

    task: Task
    agent: str
    source: str
    seeds: tuple[int, ...]
    budget: Budget
    protocol: str
    overrides: tuple[str, ...] = ()  #: changes of the agent's settings and of the preparation, each NAME=VALUE
    variant: str = ""  #: the name of those changes in tables and pictures

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
        """The agent's phases."""
        return recipe(self.settings.agent, *self.spend)

    @property
    def settings(self) -> Settings:
        """The agent's config and how its data is prepared."""
        return settings(self.agent, self.task, *self.spend).overridden(self.overrides)

    @property
    def written(self) -> dict[str, Any]:
        """The settings, as they are written into a result."""
        fields = {
            "agent_config": provenance.agent_fields(self.settings.agent),
            "preparation": dataclasses.asdict(self.settings.preparation),
            **provenance.own_task(self.task),
        }
        return json.loads(json.dumps(fields))

    @property
    def name(self) -> str:
        """The result's path below the cells' directory: readable, and unique for everything that determines the result.

        Only settings that differ from the defaults are part of it, so a new setting with a default renames no cell.
        Whether the defaults have changed since is checked when the result is read (`_finished`).
        """
        written = self.written
        file, own, _ = self.agent.rpartition(":")
        identity = {
            "agent": self.agent,
            "code": hashlib.sha256(Path(file).read_bytes()).hexdigest() if own else None,  # may still change
            "agent_config": _chosen(self.settings.agent, written["agent_config"]),
            "preparation": _chosen(self.settings.preparation, written["preparation"]),
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
    def _named(self) -> list[str]:
        """The options that name the task and its data."""
        task, place = self.task, self.task.datasets.get(self.source)
        if not task.own:
            return ["--task", task.name] + (["--source", self.source] if self.source != results.NO_SOURCE else [])
        words = ["--env", task.environment, "--horizon", str(task.horizon)] if task.evaluated else []
        words += ["--env-package", task.package] if task.package else []
        words += [f"--score={task.low!r},{task.high!r}"] if task.scaled else []
        return words + (["--data", f"minari:{place}" if self.source == "minari" else place] if place else [])

    @property
    def command(self) -> str:
        """The command that trains this cell again."""
        (updates, env_steps), (every, every_steps) = self.spend, self.intervals
        seeds = ",".join(map(str, self.seeds)) + "," * (len(self.seeds) == 1)
        words = ["moorl-jax", "train", "--agent", self.agent, *self._named]
        words += ["--seeds", seeds, "--updates", str(updates)]
        words += ["--evaluate-every", str(every)] if updates else []
        words += ["--env-steps", str(env_steps), "--evaluate-every-steps", str(every_steps)] if env_steps else []
        words += ["--episodes", str(self.episodes)] if self.episodes < self.task.evaluation_episodes else []
        for change in self.overrides:
            words += ["--set", change]
        return shlex.join(words)


def plan(
    tasks: tuple[Task, ...],
    agents: list[str],
    source: str,
    policies: Path | None,
    seeds: int,
    budget: Budget,
    protocol: str,
    overrides: tuple[str, ...] = (),
) -> list[Cell]:
    """Return the sweep's cells, task by task. Raises MoorlError if one of them cannot be trained."""
    cells = [
        Cell(task, agent, results.NO_SOURCE, which_seeds(seeds), budget, protocol, overrides)
        for task in tasks
        for agent in agents
    ]
    return [sourced(cell, source, policies) for cell in cells]


def able(task: Task, budget: Budget, protocol: str) -> list[str]:
    """Return all agents that can follow the protocol on the task.

    Without a protocol: all agents that can follow their own default protocol.
    """
    found = []
    for agent, kind in AGENTS.items():
        if suits(agent, task) and (protocol == "subroutine" or not issubclass(kind, Subroutine)):
            how = protocol or by_default(task, agent, budget)
            if _follows(Cell(task, agent, results.NO_SOURCE, (0,), budget, how)):
                found.append(agent)
    return found


def by_default(task: Task, agent: str, budget: Budget) -> str:
    """Return an agent's default protocol: offline, or offline-to-online if it cannot learn offline, or another agent
    would learn there in its place, as OPT's backbone.
    """
    cells = {how: Cell(task, agent, results.NO_SOURCE, (0,), budget, how) for how in ("offline", "offline-to-online")}
    return next((how for how, cell in cells.items() if _follows(cell) and _learns(cell)), "offline")


def _follows(cell: Cell) -> bool:
    """Return whether the agent can follow the protocol on the task."""
    try:
        _ = cell.phases
    except MoorlError:
        return False
    return True


def _learns(cell: Cell) -> bool:
    """Return whether it is the cell's agent that learns, and not only another one."""
    return any(isinstance(phase.agent, type(cell.settings.agent)) for phase in cell.phases if phase.learns)


def sourced(cell: Cell, source: str, policies: Path | None) -> Cell:
    """Return the cell with its data source filled in. Raises MoorlError if the cell cannot be trained."""
    require_bounds(Plan(*cell.spend, *cell.intervals, cell.episodes))
    if needs_data(cell.phases):
        cell = dataclasses.replace(cell, source=choose(cell.task, source, policies))
    _ = cell.name  # fail now for an unknown agent or one that cannot be saved, not after hours of training others
    return cell


def together(cells: Sequence[Cell], numbers: Sequence[int], jobs: int) -> list[list[int]]:
    """Return the numbers in batches of cells to train together, in `jobs` batches at least where there are as many.

    Cells are trained together where they differ in numbers of their agents alone; those of images, of which each seed
    is a program's only one, are not.
    """
    batches: list[list[int]] = []
    for number in numbers:
        same = (batch for batch in batches if _trained_as(cells[batch[0]], cells[number]))
        if batch := next(same, None):
            batch.append(number)
        else:
            batches.append([number])
    divided = []
    for batch in batches:
        size = max(1, min(-(-len(batch) // jobs), MOST_TOGETHER // len(cells[batch[0]].seeds)))
        divided += [batch[first : first + size] for first in range(0, len(batch), size)]
    return divided


def _trained_as(one: Cell, other: Cell) -> bool:
    """Return whether one program can train both cells."""

    def shared(cell: Cell) -> tuple[Any, ...]:
        return cell.task, cell.source, cell.seeds, cell.spend, cell.intervals, cell.episodes, cell.settings.preparation

    return not one.task.pixels and shared(one) == shared(other) and alike(one.phases, other.phases)


def _chosen(part: Agent | Sampling | Preparation, written: dict[str, Any]) -> dict[str, Any]:
    """Return those of the settings, as in `written`, that differ from the class defaults, nested parts included."""
    chosen = dict(written)
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value == field.default:
            del chosen[field.name]
        elif isinstance(value, Agent | Sampling):
            chosen[field.name] = _chosen(value, written[field.name])
    return chosen
