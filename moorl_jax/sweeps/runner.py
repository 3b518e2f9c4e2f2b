"""Sweeps: find which cells are finished, and train the rest, here or through a launcher."""

import functools
import shutil
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from moorl_jax.agents import own_fault
from moorl_jax.data import Dataset, load, sources
from moorl_jax.engine import provenance, results
from moorl_jax.engine.results import Result
from moorl_jax.engine.training import train
from moorl_jax.errors import BusyError, CheckpointsError, MoorlError, UnreadableError, of_the_machine
from moorl_jax.locks import held
from moorl_jax.progress import Display, Report
from moorl_jax.sweeps.cells import Cell


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
    """A cell to train, in a form that can be sent to another process."""

    cell: Cell
    directory: Path  #: where to write the result
    policies: Path | None  #: directory of the policies for recipes
    label: str  #: its name in progress messages
    resume_anyway: bool  #: resume from checkpoints of other code


class Launcher(Protocol):
    """Something that runs jobs."""

    def submit(self, job: Job, dataset: Dataset | None) -> "Future[str]":
        """Run a job, now or later, on `dataset`. The future holds what went wrong, or an empty text."""
        ...


class InTurn:
    """Runs each job in this process, when it is submitted."""

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
    waited for. Missing data is looked for once per task and reported once. Without a launcher cells are trained one
    after another in this process.
    """

    @functools.lru_cache(maxsize=1)  # the cells of a task are neighbours
    def data(task_name: str, source: str) -> Dataset:
        try:
            return load(tasks[task_name], source, policies, display.data(f"{task_name} {source}"), display.say)
        except Exception as error:
            without[task_name, source] = _text(error)
            raise MoorlError(without[task_name, source]) from error

    def said(label: str, ended: "Future[str]") -> None:
        if not ended.cancelled():
            progress(f"{label}: failed: {ended.result()}" if ended.result() else f"{label}: done")

    tasks = {cell.task.name: cell.task for cell in cells}
    directory = directory.absolute()  # another process may have another working directory
    launcher = launcher or InTurn(display)
    progress = display.sweep(len(cells))
    without: dict[tuple[str, str], str] = {}
    known: dict[int, Outcome] = {}
    running: dict[int, Future[str]] = {}
    for number, cell in enumerate(cells):
        label = f"[{number + 1}/{len(cells)}] {cell.task.name} {cell.label}"
        needed = (cell.task.name, cell.source)
        job = Job(cell, directory / cell.name, policies, label, resume_anyway)
        try:
            if result := _finished(cell, job.directory, functools.partial(data, *needed)):
                if results.running(job.directory).exists():  # left by a run that was killed as it ended
                    with suppress(BusyError, OSError), held(job.directory):
                        shutil.rmtree(results.running(job.directory))
                known[number] = Outcome(cell, result)
                progress(f"{label}: finished before, kept")
                continue
        except UnreadableError as error:
            known[number] = Outcome(cell, None, str(error))
            progress(f"{label}: failed: {error}")
            continue
        except MoorlError as error:
            display.say(f"{cell.task.name} {cell.label}: running again, {error}")
        try:
            if needed in without:
                progress("")
                continue
            dataset = data(*needed) if cell.source != results.NO_SOURCE else None
        except MoorlError as error:
            progress(f"{label}: failed: {error}")
            continue
        running[number] = launcher.submit(job, dataset)
        running[number].add_done_callback(functools.partial(said, label))
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
    """Train a cell and write its result, unless it has finished in the meantime.

    If another process is training the cell, wait for it, then resume if it was killed. Checkpoints that cannot be
    resumed from, say of other code, are moved aside.
    """
    with held(job.directory, lambda: warn(f"{job.label}: another process is training it; waiting")):
        with suppress(MoorlError):  # the sweep has already said why it is trained again
            if _finished(job.cell, job.directory, lambda: dataset):
                return
        _train(job, dataset, report, warn)


def _train(job: Job, dataset: Dataset | None, report: Callable[[Report], None], warn: Callable[[str], None]) -> None:
    cell = job.cell
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
        checkpoints=results.running(job.directory),
        resume_anyway=job.resume_anyway,
        progress=False,
        callback=report,
        warn=warn,
    )
    try:
        training = start()
    except CheckpointsError as error:
        aside = results.set_aside(job.directory, error.kind)
        back = "; to resume from it, stop this, move it back and add --resume-anyway" if error.newer else ""
        warn(f"{job.label}: starting again: what was there {error.fault}; kept as {aside}{back}")
        training = start()
    results.save(training, job.directory, cell.command, cell.overrides)


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
