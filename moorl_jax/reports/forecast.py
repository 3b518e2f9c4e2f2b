"""Estimate what a sweep costs: time from the speed of finished cells, memory and disk from the size of its data."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from moorl_jax.cores import usable_cores
from moorl_jax.data.sources import Made, find
from moorl_jax.divergence import DASH
from moorl_jax.engine import results
from moorl_jax.engine.checkpoints import KEPT
from moorl_jax.engine.results import NO_SOURCE, Result
from moorl_jax.errors import MoorlError
from moorl_jax.reports.collection import find_results
from moorl_jax.sweeps.cells import Cell

NUMBERS_BESIDE = 2  #: a transition's reward and terminal


@dataclass(frozen=True)
class Speed:
    """The cost of one seed on one device of this kind, in seconds. NaN where unknown."""

    update: float  #: an offline update
    env_step: float  #: an env step, updates included
    episode: float  #: an episode of an evaluation
    compile: float  #: a cell's compilation, whatever its length


@dataclass(frozen=True)
class Forecast:
    """The estimated cost of a cell. NaN where nothing was measured."""

    cell: Cell
    finished: bool
    device_hours: float  #: of all seeds together
    hours: float  #: wall-clock, with seeds spread over the devices
    memory: float  #: bytes of data on all devices of the process, the online buffer included
    data: float  #: bytes of the dataset file, shared by all cells of the task
    checkpoints: float  #: bytes of the online buffer in its checkpoints; networks take a few megabytes more


def forecast(
    cells: list[Cell],
    directory: Path,
    policies: Path | None,
    kind: str,
    devices: int,
    transitions: Mapping[tuple[str, str], int] = MappingProxyType({}),
    beside: Sequence[Path] = (),
) -> list[Forecast]:
    """Return each cell's cost on `devices` devices of a kind (such as `cpu cpu`), by results measured on that kind.

    `transitions` are those of data that is here, by the names of its task and its source. `beside` are directories of
    further results to measure by.
    """
    before = find_results([place for place in (directory, *beside) if place.is_dir()])
    # Settings changed by hand may make a run far slower or faster.
    plain = [result for result in before if not result.config["overrides"]]
    measured = [result for result in plain if kind in result.provenance["devices"]]
    known = {(r.config["task"], r.config["source"]): r.provenance.get("transitions") for r in before}
    known |= transitions
    forecasts = []
    for cell in cells:
        updates, env_steps = cell.spend
        speed = _speed(cell, measured)
        episodes = cell.budget.evaluations * cell.episodes * sum(count > 0 for count in cell.spend)
        spent = (updates, speed.update), (env_steps, speed.env_step), (episodes, speed.episode)
        seconds = sum(count * cost for count, cost in spent if count)
        rows = _rows(cell, known.get((cell.task.name, cell.source)), policies)
        row, seeds = _row_bytes(cell), len(cell.seeds)
        # Seeds on one device share one copy of the data. Seeds of image tasks all share one CPU device.
        used = 1 if cell.task.pixels and kind.startswith("cpu") else min(seeds, devices)
        forecasts.append(
            Forecast(
                cell,
                results.exists(directory / cell.name, results.CHECKPOINT),
                device_hours=(seeds * seconds + used * speed.compile) / 3600,
                hours=(seeds * seconds / used + speed.compile) / 3600,
                memory=(used * rows + seeds * env_steps) * row,
                data=rows * row,
                checkpoints=KEPT * seeds * env_steps * row,
            )
        )
    return forecasts


def show(
    cells: list[Cell],
    directory: Path,
    policies: Path | None,
    parallel: int,
    console: Console,
    transitions: Mapping[tuple[str, str], int] = MappingProxyType({}),
    beside: Sequence[Path] = (),
) -> None:
    """Print which cells would be trained, and what that costs on this machine; the last two as in `forecast`."""
    device = jax.local_devices()[0]
    devices = usable_cores() if device.platform == "cpu" else jax.local_device_count()
    kind, each_has = f"{device.platform} {device.device_kind}", max(1, devices // parallel)
    forecasts = forecast(cells, directory, policies, kind, each_has, transitions, beside)
    table = Table("task", "agent", "source", "seeds", "", "device hours", "data in memory", "disk")
    for each in forecasts:
        cell = each.cell
        state = "finished" if each.finished else "to run"
        words = (cell.task.name, cell.label, cell.source, str(len(cell.seeds)), state)
        disk = each.data + each.checkpoints
        table.add_row(*words, _number(each.device_hours, "{:.2f}"), _size(each.memory), _size(disk))
    console.print(table)
    waiting = [each for each in forecasts if not each.finished]
    unknown = sorted({each.cell.agent for each in waiting if np.isnan(each.device_hours)})
    known = [each for each in waiting if not np.isnan(each.device_hours)]
    unsized = sorted({each.cell.task.name for each in waiting if np.isnan(each.memory)})
    time = "no time known"
    if known:
        # The last cell to end may be the longest.
        hours = max(sum(each.hours for each in known) / parallel, max(each.hours for each in known))
        device_hours = sum(each.device_hours for each in known)
        time = f"about {device_hours:.1f} device hours, or {hours:.1f} hours with {parallel} at a time"
    files = {(each.cell.task.name, each.cell.source): each.data for each in waiting}
    memory, checkpoints = (
        sum(sorted((size for size in sizes if size >= 0), reverse=True)[:parallel])
        for sizes in ([each.memory for each in waiting], [each.checkpoints for each in waiting])
    )
    console.print(
        f"{len(forecasts)} cells, {len(waiting)} to run: {time}, on {devices} devices here ({device.device_kind}), "
        f"{_size(memory)} of memory for data, {_size(np.nansum(list(files.values())) + checkpoints)} of disk.",
        highlight=False,
    )
    if unknown:
        places = " or ".join(map(str, [directory, *beside]))
        console.print(
            f"Without an estimate: {', '.join(unknown)}, for no finished result below {places} has their speed.",
            highlight=False,
        )
    if unsized:
        console.print(f"Size unknown, not counted: {', '.join(unsized)}.", highlight=False)


def _speed(cell: Cell, measured: list[Result]) -> Speed:
    """Return the median speed of the agent's finished cells, in the same family if there are any."""
    same = [result for result in measured if result.config["agent"] == cell.agent]
    family = [result for result in same if result.task.family == cell.task.family]
    speeds = [_measured(result) for result in family or same]
    costs = np.array([dataclasses.astuple(speed) for speed in speeds]).reshape(-1, len(dataclasses.fields(Speed)))
    return Speed(*(float(np.nanmedian(cost)) if np.isfinite(cost).any() else np.nan for cost in costs.T))


def _measured(result: Result) -> Speed:
    """Return how long what one seed does took on one device, from a result."""
    curves, plan, spent = result.curves, result.plan, result.provenance["seconds"]
    seeds, devices = len(result.config["seeds"]), len(result.provenance["devices"])
    offline = curves.loc[curves["env_steps"] == 0, "seconds"]
    before = float(offline.max()) if len(offline) else 0.0  # agents without an offline phase skip its updates
    # Of trainings side by side each has an equal share of the seconds.
    each = min(seeds * result.provenance.get("together", 1), devices) / seeds
    compiling, evaluating = spent.get("compile", 0.0), spent.get("evaluate", 0.0)
    # Which phase compiled or was evaluated for how long is not kept: take both in proportion.
    learning = max(0.0, 1.0 - (compiling + evaluating) / (spent["total"] or 1.0)) * each
    return Speed(
        before / plan.updates * learning if plan.updates else np.nan,
        (curves["seconds"].max() - before) / plan.env_steps * learning if plan.env_steps else np.nan,
        evaluating / (len(curves) / seeds * plan.episodes) * each,
        compiling,
    )


def _rows(cell: Cell, known: int | None, policies: Path | None) -> float:
    """Return how many transitions the cell's dataset has: from a finished cell, or from its recipe."""
    if cell.source == NO_SOURCE:
        return 0
    if known:
        return known
    try:
        source = find(cell.task, cell.source, policies)
        return sum(steps for _, steps in source.plan()) or np.nan if isinstance(source, Made) else np.nan
    except MoorlError:
        return np.nan


def _row_bytes(cell: Cell) -> int:
    """Return the bytes of one transition; for images, of the one frame it adds."""
    if cell.task.pixels:
        size = cell.task.observation_shape[0]
        return 3 * size * size
    return 4 * (2 * cell.task.observation_shape[0] + cell.task.action_size + NUMBERS_BESIDE)


def _number(value: float, form: str) -> str:
    return DASH if np.isnan(value) else form.format(value)


def _size(count: float) -> str:
    return _number(count / 1e6, "{:,.0f} MB")
