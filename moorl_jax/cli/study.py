"""`moorl-jax study`."""

from pathlib import Path
from typing import Annotated

import typer

from moorl_jax.cli.cells import trained
from moorl_jax.cli.options import (
    DryRunOption,
    EnvStepsOption,
    FinishedOption,
    GpusOption,
    LauncherOption,
    ParallelOption,
    PoliciesOption,
    ResultsOption,
    ResumeAnywayOption,
    SourceOption,
    UpdatesOption,
    guarded,
)
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.errors import UnknownNameError
from moorl_jax.progress import terminal
from moorl_jax.reports.writing import for_terminal
from moorl_jax.studies import study, subroutines
from moorl_jax.studies.catalogue import STUDIES
from moorl_jax.studies.study import Section
from moorl_jax.sweeps.budgets import BUDGETS, find_budget
from moorl_jax.sweeps.runner import Outcome
from moorl_jax.tasks import expand


@guarded
def study_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STUDIES)}.")],
    task: Annotated[str, typer.Option(help="Tasks, separated by commas; the study's own by default.")] = "",
    agents: Annotated[str, typer.Option(help="Only the variants of these agents; all by default.")] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds a cell; the budget's number by default.")] = None,
    budget: Annotated[str, typer.Option(help=f"How much to spend: {', '.join(BUDGETS)}.")] = "quick",
    updates: UpdatesOption = None,
    env_steps: EnvStepsOption = None,
    source: SourceOption = "auto",
    policies: PoliciesOption = None,
    parallel: ParallelOption = 1,
    launcher: LauncherOption = "local",
    gpus: GpusOption = 0.0,
    dry_run: DryRunOption = False,
    as_finished: FinishedOption = False,
    resume_anyway: ResumeAnywayOption = False,
    results: ResultsOption = Path("results"),
) -> None:
    """Run a study and print its table. Finished cells are kept, unfinished ones run."""
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    spend = find_budget(budget, updates, env_steps)
    directory = results / "studies" / _directory(name, task, agents, spend.name)
    use_all_cores()
    console = terminal()
    chosen = STUDIES[name].only(agents) if agents else STUDIES[name]
    cells = chosen.cells(expand(task or chosen.tasks), spend, seeds or spend.seeds, source, policies)
    outcomes = trained(cells, results, policies, console, launcher, parallel, gpus, as_finished, resume_anyway, dry_run)
    report = subroutines.report if chosen.protocol == "subroutine" else study.report
    show(report(chosen, outcomes, directory), directory, outcomes)


def show(sections: list[Section], directory: Path, outcomes: list[Outcome]) -> None:
    """Print a study's tables and where they were written; exit with 1 where a cell has failed."""
    console = terminal()
    for section in sections:
        how = {"title_justify": "left", "caption_justify": "left"}
        console.print(for_terminal(section.table, title=section.title, caption=section.caption, **how))
    console.print(f"written: {', '.join(sorted(str(path) for path in directory.iterdir()))}", highlight=False)
    if any(outcome.fault for outcome in outcomes):
        raise typer.Exit(1)


def _directory(name: str, task: str, agents: str, budget: str) -> str:
    """Return the name of a study's directory, by what differs from its defaults."""
    parts = [name, task.replace(",", "+"), agents.replace(",", "+"), "" if budget == "quick" else budget]
    return "-".join(filter(None, parts))
