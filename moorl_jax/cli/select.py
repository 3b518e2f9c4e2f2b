"""`moorl-jax select`."""

from pathlib import Path
from typing import Annotated

import typer

from moorl_jax.cli.compare import Agents, Out, Places, Tasks, named, print_tables
from moorl_jax.cli.options import guarded
from moorl_jax.errors import MoorlError
from moorl_jax.progress import terminal
from moorl_jax.reports import plots, selection
from moorl_jax.reports.collection import find_results


@guarded
def select_command(
    places: Places,
    agents: Agents = "",
    tasks: Tasks = "",
    arms: Annotated[int, typer.Option(min=2, help="Policies, chosen at random, that the bandit selects among.")] = 8,
    pulls: Annotated[int, typer.Option(min=1, help="Online episodes that it may play.")] = 300,
    out: Out = None,
    picture: Annotated[
        Path | None, typer.Option(help=f"Draw scores by online episodes, its ending one of {', '.join(plots.ENDINGS)}.")
    ] = None,
) -> None:
    """Print what choosing among a sweep's policies ends up with. Scores are by the online episodes that it may play."""
    if picture:
        plots.require_ending(picture)
    found = selection.sweeps([result for result in find_results(places) if result.task.evaluated])
    for column, names in (("agent", agents), ("task", tasks)):
        if wanted := named(names, column, {getattr(sweep, column) for sweep in found}):
            found = [sweep for sweep in found if getattr(sweep, column) in wanted]
    if not found:
        raise MoorlError("nothing to choose from: no agent has two policies on a task, within one budget")
    numbers = selection.table(found, arms, pulls)
    print_tables([("Choosing among policies", selection.text(numbers))], selection.legend(arms), numbers, out)
    if picture:
        plots.selections(found, arms, pulls, picture)
        terminal().print(f"written: {picture}", highlight=False)
