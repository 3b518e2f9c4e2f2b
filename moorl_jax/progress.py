"""Progress: what a training reports, and bars on a terminal or plain lines elsewhere while something runs."""

import io
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from moorl_jax.divergence import OverSeeds

LOG_WIDTH = 140  #: width of tables written to a file or a pipe


@dataclass(frozen=True)
class Report:
    """What a training has done, after each of its parts: up to an evaluation, or to the end of a phase."""

    phase: str
    done: int  #: updates or env steps of the phase so far
    total: int  #: of the phase
    unit: str  #: which of the two, or evaluations
    step: int  #: updates of phases without env steps, and env steps, so far: an axis that only grows
    rate: float  #: updates or env steps a second, all seeds together; NaN of an evaluation alone
    score: OverSeeds  #: normalized, at the latest evaluation; of no seeds before the first
    #: one row a seed with its losses, as in the curves; `return` and `score` only where the part ended in an evaluation
    rows: pd.DataFrame


def terminal() -> Console:
    """Return the console to print to.

    Brackets are printed as they are. Characters that the terminal's encoding lacks become question marks.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    return Console(width=None if sys.stdout.isatty() else LOG_WIDTH, markup=False)


def nowhere() -> Console:
    """Return a console that prints nothing."""
    return Console(quiet=True)


class Display:
    """A bar for each dataset or training, shown while the display is open."""

    def __init__(self, console: Console):
        self.console = console
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            BarColumn(bar_width=12),
            TextColumn("left", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(min_width=7, no_wrap=True)),
            TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
            speed_estimate_period=3600.0,
            disable=console.quiet or not console.is_terminal,
        )

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def clear(self, name: str) -> None:
        """Remove a training's bar."""
        self._progress.remove_task(self._bars.pop(name))

    def say(self, line: str) -> None:
        """Print a line above the bars."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def sweep(self, total: int) -> Callable[[str], None]:
        """Open a bar for a sweep of `total` cells; call the result with a line whenever one ends."""
        bar = self._progress.add_task("sweep", total=total, note="")
        done = itertools.count(1)

        def advance(line: str) -> None:
            count = next(done)
            self._progress.update(bar, completed=count, note=f"{count} of {total} cells")
            if line:
                self.say(f"{line} ({count} of {total} cells)")

        return advance

    def data(self, name: str) -> Callable[[int, int], None]:
        """Open a bar for a dataset; call the result with (done, total), in steps or bytes."""
        bar: TaskID | None = None  # shown at the first report
        said = -1

        def advance(done: int, total: int) -> None:
            nonlocal bar, said
            bar = self._progress.add_task(f"{name}: data", note="") if bar is None else bar
            self._progress.update(bar, completed=done, total=total or None, visible=done != total)
            tenth = 10 * done // total if total else said
            if not self.console.is_terminal and tenth > said:
                self.say(f"{name}: data {done:,} of {total:,}")
                said = tenth

        return advance

    def training(self, name: str) -> Callable[[Report], None]:
        """Open a bar for a training; call the result with each of its reports."""
        bar = self._bars[name] = self._progress.add_task(f"starting: {name}", total=None, note="")

        def advance(report: Report) -> None:
            rate = "" if report.unit == "evaluations" else f"{report.rate:,.0f} {report.unit}/s"
            score = f"score {report.score.or_diverged(f'{report.score.mean:.1f}')}" if report.score.seeds else ""
            note = "  ".join(filter(None, (rate, score)))
            description = f"{report.phase}: {name}"
            self._progress.update(bar, completed=report.done, total=report.total, note=note, description=description)
            if not self.console.is_terminal:
                self.say(f"{description} {report.done:,} of {report.total:,} {report.unit}  {note}")

        return advance

    def warn(self, message: str) -> None:
        """Print a warning."""
        self.say(f"warning: {message}")
