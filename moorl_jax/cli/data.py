"""`moorl-jax data` and `moorl-jax tasks`: the catalogue and its datasets."""

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from moorl_jax.cli.options import (
    MINARI,
    ActionRangeOption,
    EnvOption,
    EnvPackageOption,
    PoliciesOption,
    SourceOption,
    TaskName,
    chosen_task,
    guarded,
    own_task,
)
from moorl_jax.data import Dataset, Rows, sources
from moorl_jax.data.sources import MADE_HERE, File, Scripted, Source
from moorl_jax.engine.devices import prepare_jax
from moorl_jax.engine.request import which_seeds
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.progress import Display, terminal
from moorl_jax.tasks import SUITES, TASKS, Task, expand, find

data_app = typer.Typer(no_args_is_help=True, help="List, make, fetch and check datasets.")
console = terminal()


@guarded
def tasks(
    names: Annotated[
        str, typer.Argument(metavar="[NAMES]", help="Only these tasks and suites, separated by commas.")
    ] = "",
) -> None:
    """Print the catalogue, and which data is on this machine. Of a single task, print all there is to know."""
    chosen = expand(names) if names else tuple(TASKS.values())
    if len(chosen) == 1:
        _describe(chosen[0])
        return
    table = Table(
        caption="Data in brackets is not on this machine yet. `moorl-jax tasks TASK` tells more of one; suites: "
        + ", ".join(SUITES),
        caption_justify="left",
    )
    for column in ("task", "environment", "horizon", "observation", "action", "data"):
        table.add_column(
            column, justify="right" if column in ("horizon", "action") else "left", no_wrap=column == "task"
        )
    for task in chosen:
        table.add_row(
            task.name,
            task.environment,
            str(task.horizon),
            "×".join(map(str, task.observation_shape)),
            str(task.action_size),
            " ".join(_marked(source) for source in sources.of(task).values()),
        )
    console.print(table)


@data_app.command("list")
@guarded
def list_data() -> None:
    """Print the datasets on this machine, where they lie, and which of them must be made anew."""
    table = Table("task", "source", "made from", "where")
    for task in TASKS.values():
        for source in sources.of(task).values():
            if source.is_here():
                table.add_row(task.name, source.name, source.made_of, _where(source))
    if table.row_count:
        console.print(table)
    else:
        console.print(
            "No dataset yet: `moorl-jax data fetch TASK` downloads one, `moorl-jax data make TASK` makes one."
        )


@data_app.command("make")
@guarded
def make_data(
    task: TaskName,
    source: Annotated[str, typer.Option(help="recipe, or embedded: of policies this package carries.")] = "recipe",
    policies: PoliciesOption = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same data.")] = 0,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Of OGBench's tasks: fewer or more training episodes than its own.")
    ] = None,
) -> None:
    """Regenerate a dataset by rolling out policies, as its publishers made their own; then report on it."""
    chosen = find(task)
    which_seeds([seed])
    prepare_jax()  # of some recipes a policy is trained
    if source not in MADE_HERE:
        raise UnknownNameError("recipe", source, MADE_HERE)
    made = sources.find(chosen, source, policies, seed)
    if episodes is not None:
        if not isinstance(made, Scripted):
            raise MoorlError(f"--episodes: {chosen.name} is made as large as its publishers' set; leave it out")
        made = dataclasses.replace(made, episodes=episodes)
    with Display(console) as display:
        made.get(display.data(chosen.name), display.say, anew=True)
    _report_on(made)


@data_app.command("fetch")
@guarded
def fetch_data(task: TaskName) -> None:
    """Download a task's dataset unless it is here already, from where it was published; then report on it."""
    chosen = find(task)
    source = sources.find(chosen, sources.published(chosen))
    with Display(console) as display:
        source.get(display.data(chosen.name), display.say)
    _report_on(source)


@data_app.command("check")
@guarded
def check_data(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TASK | FILE.hdf5 | minari:NAME",
            help="A task's data, a file (of images, their folder), or a dataset of Minari's.",
        ),
    ],
    task: Annotated[str | None, typer.Option(help="The task that a file is for; none by default.")] = None,
    env: EnvOption = None,
    env_package: EnvPackageOption = "",
    action_range: ActionRangeOption = None,
    source: SourceOption = "auto",
) -> None:
    """Check a dataset for errors and print a summary of it."""
    if target in TASKS:
        chosen = TASKS[target]
        named = sources.find(chosen, sources.choose(chosen, source))
        if not named.is_here():
            here = [other.name for other in sources.of(chosen).values() if other.is_here()]
            instead = f"; here is {', '.join(here)}, name it with --source" if here else ""
            raise MoorlError(
                f"{target}: no data of source '{named.name}' here, `moorl-jax data fetch` or `make` gets it{instead}"
            )
        _report_on(named)
    elif task and find(task).pixels:
        _report_on(File(find(task), Path(target)))
    elif task or env or target.startswith(MINARI) or Path(target).exists():
        _, dataset = chosen_task(task, own_task(env, env_package, None, None), target, action_range)
        assert dataset
        _report(dataset, target)
    else:
        raise UnknownNameError("task or file", target, TASKS)


def _where(source: Source) -> str:
    """Say where a source's local data lies, and what is wrong with it as far as a look at its notes tells."""
    try:
        return source.location + ("" if source.is_current() else " (of an earlier recipe)")
    except MoorlError as error:
        return f"damaged: {error}"


def _describe(task: Task) -> None:
    table = Table(show_header=False, title=task.name)
    for name, value in {
        "family": task.family,
        "environment": task.environment,
        "horizon": f"{task.horizon} env steps",
        "observation": "×".join(map(str, task.observation_shape)),
        "action": str(task.action_size),
        "score 0 and 100": f"returns {task.low:.10g} and {task.high:.10g}",
        "rewards": task.rewards,
        "evaluation": f"{task.evaluation_episodes} episodes a seed",
        **{f"data: {_marked(source)}": _origin(source) for source in sources.of(task).values()},
        **({"data: recipe": f"none: {task.no_recipe}"} if task.no_recipe else {}),
        "suites": ", ".join(name for name, members in SUITES.items() if task.name in members),
    }.items():
        table.add_row(name, value)
    console.print(table)


def _origin(source: Source) -> str:
    """Say of what a source's data is made, and of published data its name there."""
    if source.name in MADE_HERE:
        return source.made_of
    return f"{source.made_of}: {source.task.datasets.get(source.name, source.place)}"


def _marked(source: Source) -> str:
    return source.name if source.is_here() else f"[{source.name}]"


def _report_on(source: Source) -> None:
    """Report on a source's dataset; raise DatasetError where it is not what it is called."""
    dataset = source.load()
    _report(dataset, source.location, source.authenticity())


def _report(dataset: Dataset, location: str, authenticity: str = "") -> None:
    """Print what a person wants to know of a dataset."""
    rows, task = dataset.rows, dataset.task
    returns, lengths = dataset.trajectory_returns()
    quantiles = np.quantile(returns, [0.0, 0.25, 0.5, 0.75, 1.0])
    transitions = f"{len(dataset.transitions):,}"
    paired = (
        "of their own successors" if isinstance(rows, Rows) and rows.own_successors else "as D4RL's qlearning_dataset"
    )
    lines = {
        "rows": f"{len(rows.rewards):,}",
        "transitions": f"{transitions} over one step" if task.pixels else f"{transitions} ({paired})",
        "episodes": f"{len(returns):,}, {lengths.min()} to {lengths.max()} steps, mean {lengths.mean():.1f}",
        "return: min, quartiles, max": ", ".join(f"{value:.1f}" for value in quantiles),
        "return: mean": f"{returns.mean():.1f}" + f", normalized score {task.score(returns.mean()):.1f}" * task.scaled,
        "rewards": f"{rows.rewards.min():.4g} to {rows.rewards.max():.4g}",
        "actions": f"{rows.actions.min():.4g} to {rows.actions.max():.4g}",
        "sha256": dataset.fingerprint,
    }
    if authenticity:
        lines["file"] = authenticity
    if isinstance(rows, Rows):
        timeouts = "no" if rows.timeouts is None else f"{int(rows.timeouts.sum()):,}"
        lines["ends"] = f"{int(rows.terminals.sum()):,} terminal steps, {timeouts} flagged time-outs"
        lines |= _of_ogbench(rows) if task.family == "ogbench" else {}
    else:
        lines["frames"] = f"{rows.frames.nbytes / 1e9:.2f} GB"
    lines["noticed"] = "\n".join(dataset.noticed()) or "nothing odd"
    table = Table(show_header=False)
    for line in lines.items():
        table.add_row(*line)
    console.print(f"{task.name}: {location}", highlight=False, soft_wrap=True)
    console.print(table)


def _of_ogbench(rows: Rows) -> dict[str, str]:
    """Return what of OGBench's data the common lines do not say: its episodes go on at the goal."""
    assert rows.timeouts is not None
    episodes = np.split(rows.terminals, np.flatnonzero(rows.timeouts) + 1)
    solved = [bool(episode.any()) for episode in episodes if len(episode)]
    return {
        "OGBench's masks": f"{int(rows.terminals.sum()):,} are 0: rows at the goal, which end what targets count",
        "OGBench's terminals": f"{int(rows.timeouts.sum()):,}: each episode's last row",
        "success": f"{np.mean(solved):.1%} of {len(solved):,} episodes come to the goal",
    }
