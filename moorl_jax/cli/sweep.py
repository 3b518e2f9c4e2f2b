"""`moorl-jax sweep`."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from moorl_jax.agents import AGENTS
from moorl_jax.cli.cells import trained
from moorl_jax.cli.options import (
    ActionRangeOption,
    DataOption,
    DryRunOption,
    EnvOption,
    EnvPackageOption,
    EnvStepsOption,
    FinishedOption,
    GpusOption,
    HorizonOption,
    LauncherOption,
    ParallelOption,
    PoliciesOption,
    ResultsOption,
    ResumeAnywayOption,
    ScoreOption,
    SourceOption,
    UpdatesOption,
    chosen_tasks,
    guarded,
    own_task,
)
from moorl_jax.cli.study import show
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.progress import terminal
from moorl_jax.studies.settings import report, study_of
from moorl_jax.sweeps.budgets import BUDGETS, PROTOCOLS, find_budget
from moorl_jax.sweeps.cells import by_default
from moorl_jax.sweeps.grid import combinations


@guarded
def sweep_command(
    agent: Annotated[str, typer.Option(help=f"{', '.join(AGENTS)}, or file.py:Class.")],
    task: Annotated[str, typer.Option(help="Tasks and suites, separated by commas.")] = "",
    data: DataOption = None,
    env: EnvOption = None,
    env_package: EnvPackageOption = "",
    horizon: HorizonOption = None,
    score: ScoreOption = None,
    action_range: ActionRangeOption = None,
    swept: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE,VALUE,...",
            help="A field of the agent's config, or of the data's preparation (preparation.reward_scale), and its "
            "values; of several fields every combination is trained. `moorl-jax agents NAME` lists them.",
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds a setting; the budget's number by default.")] = None,
    budget: Annotated[str, typer.Option(help=f"How much to spend: {', '.join(BUDGETS)}.")] = "quick",
    updates: UpdatesOption = None,
    env_steps: EnvStepsOption = None,
    protocol: Annotated[str, typer.Option(help=f"{', '.join(PROTOCOLS)}. Default: the agent's own.")] = "",
    source: SourceOption = "auto",
    policies: PoliciesOption = None,
    parallel: ParallelOption = 1,
    launcher: LauncherOption = "local",
    gpus: GpusOption = 0.0,
    dry_run: DryRunOption = False,
    as_finished: FinishedOption = False,
    resume_anyway: ResumeAnywayOption = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the directory of table and pictures. Default: agent, tasks and budget.")
    ] = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Train an agent with every combination of settings and compare them. Finished ones are kept, unfinished ones run.

    Settings that differ in numbers alone are trained together, by one compiled program; each has a result of its own.
    """
    if not swept:
        raise MoorlError("nothing to sweep: name a setting and its values, as --set expectile=0.5,0.7,0.9")
    if protocol and protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    settings = combinations(swept)
    use_all_cores()
    tasks = chosen_tasks(task, own_task(env, env_package, horizon, score), data, action_range)
    task = task or tasks[0].name
    spend = find_budget(budget, updates, env_steps, tasks[0].pixels, agent)
    study = study_of(agent, task, settings, protocol or by_default(tasks[0], agent, spend))
    cells = study.cells(tasks, spend, seeds or spend.seeds, source, policies)
    console = terminal()
    outcomes = trained(cells, results, policies, console, launcher, parallel, gpus, as_finished, resume_anyway, dry_run)
    directory = results / "sweeps" / (name or _directory(agent, task, settings, spend.name))
    show(report(study, outcomes, directory), directory, outcomes)


def _directory(agent: str, task: str, settings: list[tuple[str, ...]], budget: str) -> str:
    """Return the name of a sweep's directory: readable, and another for other settings."""
    names = "+".join(change.partition("=")[0] for change in settings[0])
    digest = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
    return f"{Path(agent).name.replace(':', '-')}-{task.replace(',', '+')}-{names}-{budget}-{digest}"
