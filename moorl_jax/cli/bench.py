"""`moorl-jax bench`."""

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
    OverridesOption,
    PoliciesOption,
    ResultsOption,
    ResumeAnywayOption,
    ScoreOption,
    UpdatesOption,
    chosen_tasks,
    guarded,
    own_task,
)
from moorl_jax.cores import usable_cores
from moorl_jax.data.sources import SOURCES, notice
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.progress import terminal
from moorl_jax.reports import plots, tables
from moorl_jax.settings import suits
from moorl_jax.sweeps.budgets import BUDGETS, PROTOCOLS, find_budget
from moorl_jax.sweeps.cells import able, by_default, plan
from moorl_jax.sweeps.runner import finished

OWN_AGENTS = "td3_bc,spot,iql,cql,cal_ql,opt,moorl"  #: those of the suite `quick`
DEFAULT_AGENTS = {
    "": "bc,td3_bc,iql,cql",
    "offline": "bc,td3_bc,iql,cql",
    "offline-to-online": "td3_bc,spot,iql,pex,cal_ql,rlpd",
    "online": "sac,rlpd",
    "subroutine": "sac,recommend_iql,recommend_cql,recommend_cal_ql,tune_iql,tune_pex,tune_cal_ql",
}

IMAGE_AGENTS = DEFAULT_AGENTS | {
    "": "pixel_bc,drq_bc,pixel_cql,drq,pixel_rlpd,pixel_moorl",
    "offline": "pixel_bc,drq_bc,pixel_cql",
    "offline-to-online": "drq_bc,pixel_rlpd,pixel_moorl",
    "online": "drq,pixel_rlpd,pixel_moorl",
}


@guarded
def bench_command(
    task: Annotated[str | None, typer.Option(help="Tasks and suites, separated by commas. Default: quick.")] = None,
    data: DataOption = None,
    env: EnvOption = None,
    env_package: EnvPackageOption = "",
    horizon: HorizonOption = None,
    score: ScoreOption = None,
    action_range: ActionRangeOption = None,
    agents: Annotated[
        str,
        typer.Option(
            help=f"Agents, by name ({', '.join(AGENTS)}), as file.py:Class, or all. Default: those of the protocol."
        ),
    ] = "",
    overrides: OverridesOption = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds per cell. Default: the budget's.")] = None,
    budget: Annotated[str, typer.Option(help=f"How long to train: {', '.join(BUDGETS)}.")] = "quick",
    updates: UpdatesOption = None,
    env_steps: EnvStepsOption = None,
    protocol: Annotated[
        str,
        typer.Option(
            help=f"{', '.join(PROTOCOLS)}; Default: subroutine for tasks without datasets; else offline, or "
            "offline-to-online for agents that cannot learn offline alone."
        ),
    ] = "",
    source: Annotated[str, typer.Option(help=f"auto, {', '.join(SOURCES)}; the suite `quick` uses embedded.")] = "auto",
    policies: PoliciesOption = None,
    parallel: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many cells to train at a time, each in its own process. Default: 1; for the suite quick 2.",
        ),
    ] = None,
    launcher: LauncherOption = "local",
    gpus: GpusOption = 0.0,
    dry_run: DryRunOption = False,
    as_finished: FinishedOption = False,
    resume_anyway: ResumeAnywayOption = False,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the directory of table and picture. Default: task and budget."),
    ] = None,
    results: ResultsOption = Path("results"),
) -> None:
    """Train agents on tasks and print their normalized scores. Finished cells are reused, the rest are trained."""
    whole = find_budget(budget, updates, env_steps).name
    task = task or ("" if env or data else "quick")
    tasks = chosen_tasks(task, own_task(env, env_package, horizon, score), data, action_range)
    task = task or tasks[0].name
    if protocol and protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS)
    use_all_cores()
    if task == "quick":
        agents = agents or OWN_AGENTS
        source = "embedded" if source == "auto" else source
    at_a_time = parallel or (min(2, usable_cores()) if task == "quick" and launcher == "local" else 1)
    cells = []
    for each in tasks:
        general = find_budget(budget, updates, env_steps, each.pixels)
        of_all = protocol or ("" if each.datasets else "subroutine")
        named = agents or (IMAGE_AGENTS if each.pixels else DEFAULT_AGENTS)[of_all]
        chosen = able(each, general, of_all) if agents == "all" else [agent.strip() for agent in named.split(",")]
        if len(tasks) > 1:  # a suite may mix tasks with images and without
            chosen = [agent for agent in chosen if suits(agent, each)]
        for agent in dict.fromkeys(chosen):
            spend = find_budget(budget, updates, env_steps, each.pixels, agent)
            how = of_all or by_default(each, agent, spend)
            cells += plan((each,), [agent], source, policies, seeds or spend.seeds, spend, how, tuple(overrides or ()))
    if not cells:
        raise MoorlError(f"none of these agents can be trained on any of these tasks: {agents}")
    console = terminal()
    if source == "auto" and (said := notice((cell.task, cell.source) for cell in cells)):
        console.print(said, highlight=False, soft_wrap=True)
    outcomes = trained(
        cells, results, policies, console, launcher, at_a_time, gpus, as_finished, resume_anyway, dry_run
    )
    place = task.replace(",", "+")
    place += (f"-{protocol}" if protocol else "") + ("" if whole == "quick" else f"-{whole}")
    place += "".join(f"-{change}" for change in overrides or ())
    directory = results / (name or place)
    tables.write(outcomes, directory)
    plots.curves(finished(outcomes), directory / "curves.png")
    tables.show(outcomes, console)
    console.print(f"written: {', '.join(sorted(str(path) for path in directory.iterdir()))}", highlight=False)
    faulty = [outcome for outcome in outcomes if outcome.fault]
    if without := dict.fromkeys(outcome.cell.task.name for outcome in faulty if outcome.no_data):
        console.print(f"no data: {', '.join(without)}", highlight=False)
    if failed := [f"{outcome.cell.task.name} {outcome.cell.agent}" for outcome in faulty if not outcome.no_data]:
        console.print(f"failed: {', '.join(failed)}", highlight=False)
    if faulty:
        raise typer.Exit(1)
