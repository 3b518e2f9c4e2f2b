"""What commands that train cells have in common."""

from pathlib import Path

import typer
from rich.console import Console

from moorl_jax.reports import forecast
from moorl_jax.sweeps.cells import Cell
from moorl_jax.sweeps.launchers import check_choice, outcomes_of
from moorl_jax.sweeps.runner import Outcome


def trained(
    cells: list[Cell],
    results: Path,
    policies: Path | None,
    console: Console,
    launcher: str,
    at_a_time: int,
    gpus: float,
    as_finished: bool,
    resume_anyway: bool,
    dry_run: bool,
) -> list[Outcome]:
    """Train cells below `results`; with `dry_run` print what that would cost and leave the command instead."""
    directory = results / "cells"
    if dry_run:
        check_choice(launcher, at_a_time, gpus)
        forecast.show(cells, directory, policies, at_a_time, console)
        raise typer.Exit
    return outcomes_of(cells, directory, policies, console, launcher, at_a_time, gpus, as_finished, resume_anyway)
