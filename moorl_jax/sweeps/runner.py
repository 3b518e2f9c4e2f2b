"""Sweeps: find which cells are finished, and train the rest, here or through a launcher."""

import functools
import itertools
import shutil
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moorl_jax.agents import own_fault
from moorl_jax.data import Dataset, load, sources
from moorl_jax.engine import provenance, results
from moorl_jax.engine.devices import prepare_jax
from moorl_jax.engine.request import require_environment
from moorl_jax.engine.results import Result
from moorl_jax.engine.run import Run
from moorl_jax.engine.together import Shared, Training, train_together
from moorl_jax.engine.training_loop import Plan
from moorl_jax.errors import BusyError, CheckpointsError, MoorlError, UnreadableError, of_the_machine
from moorl_jax.locks import held
from moorl_jax.progress import Display, Report
from moorl_jax.sweeps.cells import Cell, together


@dataclass(frozen=True)
class Outcome:
    """The outcome of a cell: a result, or what went wrong."""

    cell: Cell
    result: Result | None
    fault: str = ""
    no_data: bool = False  #: whether the fault is that the task has no data here


def finished(outcomes: list[Outcome]) -> list[tuple[str, Result]]:
    """Return the finished results, each with its cell's label."""
    return [(outcome.cell.label, outcome.result) for outcome in outcomes if outcome.result]


@dataclass(frozen=True)
class Job:
    """Cells to train together, in a form that can be sent to another process."""

    cells: tuple[Cell, ...]  #: which differ in numbers of their agents alone (`cells.together`)
    directory: Path  #: below which to write the results
    policies: Path | None  #: directory of the policies for recipes
    label: str  #: its name in progress messages
    resume_anyway: bool  #: resume from checkpoints of other code

    def place(self, cell: Cell) -> Path:
        """Return where to write a cell's result."""
        return self.directory / cell.name


class Launcher(Protocol):
    """Something that runs jobs."""

    at_once: int  #: how many of them it runs at a time

    def submit(self, job: Job, dataset: Dataset | None) -> "Future[str]":
        """Run a job, now or later, on `dataset`. The future holds what went wrong, or an empty text."""
        ...


class InTurn:
    """Runs each job in this process, when it is submitted."""

    at_once = 1

    def __init__(self, display: Display):
        self._display = display

    def submit(self, job: Job, dataset: Dataset | None) -> "Future[str]":
        """Run the job."""
        done: Future[str] = Future()
        done.set_result(attempt(job, lambda: dataset, self._display.training(job.label), self._display.warn))
        self._display.clear(job.label)
        return done


def sweep(
    cells: list[Cell],
    directory: Path,
    policies: Path | None,
    display: Display,
    launcher: Launcher | None = None,
    resume_anyway: bool = False,
) -> list[Outcome]:
    """Train every cell that is not finished and return all outcomes, in order.

    If a cell fails, the sweep names it and continues. A killed sweep resumes. A cell that another sweep is training is
    waited for. Missing data is looked for once per task and reported once. Cells that differ in numbers of their agents
    alone are trained together, in as many jobs at least as run at a time. Without a launcher jobs run one after another
    in this process.
    """

    @functools.lru_cache(maxsize=1)  # the cells of a task are neighbours
    def data(task_name: str, source: str) -> Dataset:
        try:
            return load(tasks[task_name], source, policies, display.data(f"{task_name} {source}"), display.say)
        except Exception as error:
            without[task_name, source] = _text(error)
            raise MoorlError(without[task_name, source]) from error

    def label(number: int) -> str:
        return f"[{number + 1}/{len(cells)}] {cells[number].task.name} {cells[number].label}"

    def said(numbers: list[int], ended: "Future[str]") -> None:
        for number in numbers if not ended.cancelled() else ():
            progress(f"{label(number)}: failed: {ended.result()}" if ended.result() else f"{label(number)}: done")

    def unfinished(number: int) -> bool:
        cell = cells[number]
        place = directory / cell.name
        try:
            if not (result := _finished(cell, place, functools.partial(data, cell.task.name, cell.source))):
                return True
            if results.running(place).exists():  # left by a run that was killed as it ended
                with suppress(BusyError, OSError), held(place):
                    shutil.rmtree(results.running(place))
            known[number] = Outcome(cell, result)
            progress(f"{label(number)}: finished before, kept")
        except UnreadableError as error:
            known[number] = Outcome(cell, None, str(error))
            progress(f"{label(number)}: failed: {error}")
        except MoorlError as error:
            display.say(f"{cell.task.name} {cell.label}: running again, {error}")
            return True
        return False

    tasks = {cell.task.name: cell.task for cell in cells}
    directory = directory.absolute()  # another process may have another working directory
    launcher = launcher or InTurn(display)
    progress = display.sweep(len(cells))
    without: dict[tuple[str, str], str] = {}
    known: dict[int, Outcome] = {}
    running: dict[int, Future[str]] = {}

    def needed(number: int) -> tuple[str, str]:
        return cells[number].task.name, cells[number].source

    for (task, source), of_task in itertools.groupby(range(len(cells)), needed):
        waiting, dataset = list(filter(unfinished, of_task)), None
        if waiting and source != results.NO_SOURCE and (task, source) not in without:
            try:
                dataset = data(task, source)
            except MoorlError as error:
                display.say(f"{label(waiting[0])}: failed: {error}")
        if (task, source) in without:
            for _ in waiting:
                progress("")
            continue
        for numbers in together(cells, waiting, launcher.at_once):
            of_job = tuple(cells[number] for number in numbers)
            others = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
            future = launcher.submit(
                Job(of_job, directory, policies, label(numbers[0]) + others, resume_anyway), dataset
            )
            running |= dict.fromkeys(numbers, future)
            future.add_done_callback(functools.partial(said, numbers))
    outcomes = []
    for number, cell in enumerate(cells):
        if number in known:
            outcomes.append(known[number])
        elif number in running:
            outcomes.append(_outcome(cell, directory, running[number].result()))
        else:
            outcomes.append(Outcome(cell, None, without[cell.task.name, cell.source], no_data=True))
    return outcomes


def _outcome(cell: Cell, directory: Path, fault: str) -> Outcome:
    """Return the outcome of a cell that was trained; its result may have been moved or damaged since."""
    try:
        return Outcome(cell, None if fault else results.read(directory / cell.name), fault)
    except MoorlError as error:
        return Outcome(cell, None, str(error))


def collect(cells: list[Cell], directory: Path) -> list[Outcome]:
    """Return the finished cells, wherever they were trained, in order. Trains nothing.

    A damaged result, or one of older settings, is a fault. Raises MoorlError if none has finished.
    """
    outcomes = []
    for cell in cells:
        if results.exists(directory / cell.name):
            try:
                outcomes.append(Outcome(cell, _as_planned(cell, directory / cell.name)))
            except MoorlError as error:
                outcomes.append(Outcome(cell, None, str(error)))
    if not outcomes:
        raise MoorlError(f"{directory}: none of these {len(cells)} cells has finished there")
    return outcomes


def attempt(
    job: Job, data: Callable[[], Dataset | None], report: Callable[[Report], None], warn: Callable[[str], None]
) -> str:
    """Run a job on the data that `data` returns. Returns what went wrong, or an empty text."""
    try:
        _run(job, data(), report, warn)
    except (Exception, SystemExit) as error:
        return _text(error)
    return ""


def _text(error: BaseException) -> str:
    """Return the text for an error: one line, or the traceback if it is a bug."""
    if isinstance(error, MoorlError):
        return str(error)
    return str(own_fault(error) or of_the_machine(error) or "".join(traceback.format_exception(error)))


def _run(job: Job, dataset: Dataset | None, report: Callable[[Report], None], warn: Callable[[str], None]) -> None:
    """Train a job's cells and write their results, but for those that have finished in the meantime.

    If another process is training one of them, wait for it, then resume if it was killed.
    """
    with ExitStack() as locks:
        for cell in sorted(job.cells, key=lambda cell: cell.name):  # as any job takes them, so that none wait in a ring
            waiting = functools.partial(warn, f"{job.label}: another process is training it; waiting")
            locks.enter_context(held(job.place(cell), waiting))
        left = []
        for cell in job.cells:
            with suppress(MoorlError):  # the sweep has already said why it is trained again
                if _finished(cell, job.place(cell), lambda: dataset):
                    continue
            left.append(cell)
        for cell, run in zip(left, _train(job, left, dataset, report, warn), strict=True):
            results.save(run, job.place(cell), cell.command)


def _train(
    job: Job,
    cells: list[Cell],
    dataset: Dataset | None,
    report: Callable[[Report], None],
    warn: Callable[[str], None],
) -> list[Run]:
    """Train cells of a job. Checkpoints that cannot be resumed from, say of other code, are moved aside."""
    if not cells:
        return []
    prepare_jax()
    settings = [cell.settings for cell in cells]
    cell = cells[0]
    require_environment(cell.task, cell.phases)
    trainings = [
        Training(chosen.agent, each.overrides, results.running(job.place(each)))
        for chosen, each in zip(settings, cells, strict=True)
    ]
    plan = Plan(*cell.spend, *cell.intervals, cell.episodes)
    try:
        return train_together(
            trainings,
            Shared(cell.task, dataset, settings[0].preparation, cell.seeds, plan),
            resume_anyway=job.resume_anyway,
            callback=report,
            warn=warn,
        )
    except CheckpointsError as error:
        (place,) = [job.place(cell) for cell in cells if results.running(job.place(cell)) == error.directory]
        aside = results.set_aside(place, error.kind)
        back = "; to resume from it, stop this, move it back and add --resume-anyway" if error.newer else ""
        warn(f"{job.label}: starting again: what was there {error.fault}; kept as {aside}{back}")
        return _train(job, cells, dataset, report, warn)


def _finished(cell: Cell, directory: Path, data: Callable[[], Dataset | None]) -> Result | None:
    """Return the cell's result, or None if it was never trained here. Raises MoorlError if it must be trained again.

    That is if the result is damaged, has other settings, or was trained on other data than `data` returns.
    """
    if not results.exists(directory, results.CHECKPOINT):
        return None  # git holds curves but no network states
    result = _as_planned(cell, directory)
    if cell.source != results.NO_SOURCE and sources.find(cell.task, cell.source).is_here() and (here := data()):
        made_from = result.provenance["dataset_sha256"]
        if made_from != here.fingerprint:
            raise MoorlError(f"its data had {made_from[:8]}…, the data here has {here.fingerprint[:8]}…")
    return result


def _as_planned(cell: Cell, directory: Path) -> Result:
    """Read the cell's result. Raises MoorlError if it is damaged or has other settings."""
    result = results.read(directory)
    for part, now in cell.written.items():
        for name, was, is_now in provenance.differences(result.config[part], now):
            if provenance.ABSENT not in (was, is_now):
                raise MoorlError(f"{name} was {was} and is now {is_now}")
    return result
