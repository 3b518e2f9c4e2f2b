"""`python -m benchmarks.evidence`: train the queue's next cells, write what all say so far. `make evidence` calls it.

Finished cells are directories below results/cells: copy or commit them, and every machine counts them as finished.
"""

import os
from pathlib import Path
from typing import Annotated

import jax
import typer

from benchmarks.evidence import queue, verdicts
from moorl_jax.cli.options import DryRunOption, FinishedOption, PoliciesOption, ResultsOption, guarded
from moorl_jax.cores import usable_cores
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.errors import UnknownNameError
from moorl_jax.progress import terminal
from moorl_jax.reports import forecast
from moorl_jax.sweeps.launchers import SHARING

PAGE = Path(__file__).parents[2] / "docs" / "verdicts.md"
app = typer.Typer(add_completion=False)


@app.command()
@guarded
def evidence(
    lines: Annotated[str, typer.Option(help="Lines of the queue, separated by commas; all by default.")] = "",
    hours: Annotated[float, typer.Option(min=0.0, help="How long to train; by default until all is finished.")] = (
        float("inf")
    ),
    parallel: Annotated[
        int | None,
        typer.Option(min=1, help="How many cells to train at a time. Default: 1 on a CPU, 4 on an accelerator."),
    ] = None,
    policies: PoliciesOption = None,
    dry_run: DryRunOption = False,
    as_finished: FinishedOption = False,
    results: ResultsOption = Path("results"),
    page: Annotated[Path, typer.Option(help="The page of verdicts to write.")] = PAGE,
) -> None:
    """Train the next cells of the queue for some hours, then write the page of verdicts."""
    os.environ |= SHARING  # this process asks which device there is, the others train on it
    use_all_cores()
    known = queue.read()
    for name in filter(None, lines.split(",")):
        if name not in known:
            raise UnknownNameError("line of the queue", name, known)
    chosen = {name: line for name, line in known.items() if name in (lines.split(",") if lines else known)}
    of_lines = {name: queue.named(line.cells(policies)) for name, line in chosen.items()}
    cells = {name: cell for of_line in of_lines.values() for name, cell in of_line.items()}
    device = jax.local_devices()[0]
    kind = f"{device.platform} {device.device_kind}"
    at_a_time = parallel or (1 if device.platform == "cpu" else 4)
    devices = max(1, (usable_cores() if device.platform == "cpu" else jax.local_device_count()) // at_a_time)
    directory, console = results / "cells", terminal()
    if dry_run:
        over = queue.finished(cells, directory)
        left = [cell for name, cell in cells.items() if name not in over]
        forecast.show(left, directory, policies, at_a_time, console)
    faults = (
        {} if dry_run or as_finished
        else queue.work(cells, directory, policies, kind, devices, at_a_time, hours, console)
    )  # fmt: skip
    queue.show(of_lines, directory, policies, kind, devices, at_a_time, console)
    for name, fault in faults.items():
        if fault != queue.TIME_IS_UP:
            console.print(f"failed: {name}: {fault}", highlight=False)
    if not dry_run:
        verdicts.write(results, page)
        console.print(f"written: {page}", highlight=False)


app()
