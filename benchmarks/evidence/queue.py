"""The queue: the cells of `queue.toml` in their order, what of them is finished, and what fits the time there is."""

import dataclasses
import heapq
import threading
import time
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from moorl_jax.engine import results
from moorl_jax.engine.curves import CURVES
from moorl_jax.errors import BusyError, MoorlError
from moorl_jax.locks import held
from moorl_jax.progress import Display
from moorl_jax.reports.forecast import Forecast, forecast
from moorl_jax.studies.catalogue import STUDIES
from moorl_jax.sweeps.budgets import find_budget
from moorl_jax.sweeps.cells import Cell, plan
from moorl_jax.sweeps.launchers import InProcesses
from moorl_jax.sweeps.runner import collect, sweep
from moorl_jax.tasks import expand

FILE = Path(__file__).with_name("queue.toml")
BEGINNING = 2 / 60  #: hours that a cell compiles and reads its data for, before it learns
UNMEASURED = 0.1  #: hours that must be left for a cell whose agent was never measured on this device
TIME_IS_UP = "the time is up: the next call resumes it"


@dataclass(frozen=True)
class Line:
    """One line of the queue: cells that belong together, and why they are trained."""

    why: str
    tasks: str  #: tasks and suites, separated by commas
    seeds: int
    agents: str = ""  #: separated by commas
    study: str = ""  #: in place of agents: a study, all of its variants
    protocol: str = "offline"  #: of the agents
    budget: str = "paper"
    updates: int | None = None  #: in place of the budget's, as the following ones
    env_steps: int | None = None
    evaluations: int | None = None
    source: str = "auto"

    def cells(self, policies: Path | None) -> list[Cell]:
        """Return the line's cells, task by task. Raises MoorlError if one of them cannot be trained."""
        found = []
        for task in expand(self.tasks):
            for agent in self.agents.split(",") if not self.study else [""]:
                spend = find_budget(self.budget, self.updates, self.env_steps, task.pixels, agent)
                spend = dataclasses.replace(spend, evaluations=self.evaluations or spend.evaluations)
                if self.study:
                    found += STUDIES[self.study].cells((task,), spend, self.seeds, self.source, policies)
                else:
                    found += plan((task,), [agent], self.source, policies, self.seeds, spend, self.protocol)
        return found


def read(file: Path = FILE) -> dict[str, Line]:
    """Return the lines by name, in order. Raises MoorlError for a line of other fields."""
    lines = tomllib.loads(file.read_text(encoding="utf-8"))
    try:
        return {name: Line(**fields) for name, fields in lines.items()}
    except TypeError as error:
        raise MoorlError(f"{file}: {error}") from None


def named(cells: Iterable[Cell]) -> dict[str, Cell]:
    """Return the cells by name, in order: a name takes a while to make."""
    return {cell.name: cell for cell in cells}


def finished(cells: dict[str, Cell], directory: Path) -> set[str]:
    """Return the names of the cells whose results are here, wherever they were trained.

    A result counts without its checkpoint: curves are all that tables and verdicts need, and what travels.
    """
    here = {name: cell for name, cell in cells.items() if results.exists(directory / name)}
    try:
        return {
            name for name, outcome in zip(here, collect([*here.values()], directory), strict=True) if outcome.result
        }
    except MoorlError:  # none of them
        return set()


def done(name: str, cell: Cell, directory: Path) -> float:
    """Return which share of an unfinished cell was trained, by the evaluations so far."""
    try:
        curves = pd.read_csv(results.running(directory / name) / CURVES)
    except (OSError, pd.errors.EmptyDataError):
        return 0.0
    phases = sum(count > 0 for count in cell.spend)
    return min(1.0, len(curves) / (len(cell.seeds) * phases * cell.budget.evaluations))


def is_running(name: str, directory: Path) -> bool:
    """Tell whether some process trains the cell at this moment."""
    try:
        with held(directory / name):
            return False
    except BusyError:
        return True


def fitting(forecasts: Iterable[Forecast], shares: Iterable[float], parallel: int, hours: float) -> list[Cell]:
    """Return the cells to begin within `hours`, `parallel` at a time, in their order; the rest must wait.

    A cell is begun where it reaches its first checkpoint. One without an estimate needs `UNMEASURED`, and whatever
    comes after it in its place waits until it has shown what it takes. `shares` say what of each is trained already.
    """
    free, chosen = [0.0] * parallel, []  # when each place has room for another cell, in hours from now
    for each, share in zip(forecasts, shares, strict=True):
        begins = free[0]
        if np.isnan(each.hours):
            needed, lasts = UNMEASURED, np.inf
        else:
            needed = BEGINNING + each.hours / each.cell.budget.evaluations
            lasts = BEGINNING + each.hours * (1.0 - share)
        if begins + needed <= hours:
            chosen.append(each.cell)
            heapq.heapreplace(free, begins + lasts)
    return chosen


def work(
    cells: dict[str, Cell],
    directory: Path,
    policies: Path | None,
    kind: str,
    devices: int,
    parallel: int,
    hours: float,
    console: Console,
) -> dict[str, str]:
    """Train what fits the hours, and return what went wrong, by the cell's name.

    When the time is up the cells under way are stopped; they resume from their last checkpoints.
    """
    ends, faults = time.monotonic() + 3600 * hours, dict[str, str]()
    while True:
        over = finished(cells, directory) | set(faults)
        left = {name: cell for name, cell in cells.items() if name not in over}
        shares = [done(name, cell, directory) for name, cell in left.items()]
        still = (ends - time.monotonic()) / 3600
        costs = forecast([*left.values()], directory, policies, kind, devices)
        chosen = fitting(costs, shares, parallel, still)
        if not chosen:
            return faults
        with Display(console) as display, InProcesses(parallel, display) as where:
            clock = threading.Timer(min(3600 * still, threading.TIMEOUT_MAX), where.stop, [TIME_IS_UP])
            clock.daemon = True
            clock.start()
            outcomes = sweep(chosen, directory, policies, display, where)
            clock.cancel()
        faults |= {outcome.cell.name: outcome.fault for outcome in outcomes if outcome.fault}


def show(
    lines: dict[str, dict[str, Cell]],
    directory: Path,
    policies: Path | None,
    kind: str,
    devices: int,
    parallel: int,
    console: Console,
) -> None:
    """Print what of each line is finished, running, begun and left, and how long the rest takes on this machine."""
    every = {name: cell for cells in lines.values() for name, cell in cells.items()}
    here = finished(every, directory)
    left = {name: cell for name, cell in every.items() if name not in here}
    shares = {name: done(name, cell, directory) for name, cell in left.items()}
    costs = forecast([*left.values()], directory, policies, kind, devices)
    hours = {name: cost.hours * (1.0 - shares[name]) / parallel for name, cost in zip(left, costs, strict=True)}
    table = Table("line", "cells", "finished", "running", "begun", "left", "hours left")
    for line, cells in lines.items():
        still = [name for name in cells if name not in here]
        begun = sum(shares[name] > 0 for name in still)
        running = sum(is_running(name, directory) for name in still)
        known = [hours[name] for name in still if not np.isnan(hours[name])]
        cost = f"{sum(known):.1f}" + (f" + {len(still) - len(known)} unmeasured" if len(known) < len(still) else "")
        table.add_row(line, *map(str, (len(cells), len(cells) - len(still), running, begun, len(still))), cost)
    console.print(table)
    console.print(
        f"{len(here)} of {len(every)} cells are finished, {len(left)} are left; hours of {parallel} at a time, {kind}.",
        highlight=False,
    )
