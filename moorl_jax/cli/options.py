"""What several commands share: options, and faults printed as one line."""

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from moorl_jax.agents import own_fault
from moorl_jax.data import Dataset, sources
from moorl_jax.errors import MoorlError, OwnAgentError, of_the_machine
from moorl_jax.tasks import Task, expand, find

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's name; `moorl-jax tasks` lists them.")]
SourceOption = Annotated[str, typer.Option(help=f"auto, {', '.join(sources.SOURCES)}.")]
PoliciesOption = Annotated[
    Path | None,
    typer.Option(envvar="MOORL_POLICIES", help="Directory of the behaviour policies that recipes roll out."),
]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a field of the agent's config; backbone.alpha=1.0 reaches into an agent within, "
        "preparation.reward_scale=2.0 into the preparation of the data. `moorl-jax agents NAME` lists them.",
    ),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", help="Run code of the result: its agent's file, which it keeps, and its environment's package."
    ),
]

UpdatesOption = Annotated[int | None, typer.Option(min=0, help="Offline updates in place of the budget's.")]
EnvStepsOption = Annotated[int | None, typer.Option(min=0, help="Env steps in place of the budget's.")]
ParallelOption = Annotated[int, typer.Option(min=1, help="How many cells to train at a time, each in its own process.")]
LauncherOption = Annotated[
    str, typer.Option(help="local, or ray: a running Ray cluster whose nodes share a file system.")
]
GpusOption = Annotated[float, typer.Option(min=0.0, help="GPUs per cell on Ray; a fraction shares one.")]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be trained, with time, memory and disk; train nothing.")
]
FinishedOption = Annotated[bool, typer.Option("--finished", help="Train nothing; show the finished results.")]
ResumeAnywayOption = Annotated[
    bool,
    typer.Option(
        "--resume-anyway", help="Resume from checkpoints of other code or package versions; the results record it."
    ),
]
ResultsOption = Annotated[Path, typer.Option(help="Directory of results: cells, tables and pictures.")]

DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="FILE.hdf5 | minari:NAME", help="Your own data: for --env, alone, or in train for --task."
    ),
]
EnvOption = Annotated[str | None, typer.Option("--env", metavar="ID", help="A gymnasium id, in place of a task.")]
EnvPackageOption = Annotated[str, typer.Option("--env-package", help="A package that registers that id.")]
HorizonOption = Annotated[
    int | None, typer.Option(min=1, help="Env steps of an episode of --env; by default its own limit, or 1,000.")
]
ScoreOption = Annotated[
    str | None,
    typer.Option("--score", metavar="LOW,HIGH", help="Returns of scores 0 and 100 of --env; else scores are returns."),
]
ActionRangeOption = Annotated[
    str | None,
    typer.Option(
        "--action-range", metavar="LOW,HIGH", help="Of the actions in --data; by default the task's, else [-1, 1]."
    ),
]
MINARI = "minari:"  #: begins what names a dataset of Minari's


def own_task(env: str | None, package: str, horizon: int | None, score: str | None) -> Task | None:
    """Return the task that the options describe, None where they name no environment."""
    if env is None:
        return None
    return Task.of(env, package=package, horizon=horizon, score=_two("--score", score))


def own_data(data: str, task: Task | None, action_range: str | None) -> Dataset:
    """Return the user's own data, a file or Minari's, of a task, or of one made for it."""
    limits = _two("--action-range", action_range)
    if data.startswith(MINARI):
        return Dataset.from_minari(data.removeprefix(MINARI), task=task, action_range=limits)
    return Dataset.from_hdf5(data, task=task, action_range=limits)


def _two(option: str, text: str | None) -> tuple[float, float] | None:
    """Return what an option's LOW,HIGH says, None where it is not given."""
    try:
        low, high = map(float, text.split(",")) if text else (0.0, 0.0)
    except ValueError:
        raise MoorlError(f"{option} takes two numbers, LOW,HIGH, not '{text}'") from None
    return (low, high) if text else None


def chosen_task(
    name: str | None, own: Task | None, data: str | None, action_range: str | None
) -> tuple[Task, Dataset | None]:
    """Return what is trained on: a task of the catalogue or of one's own, and the user's own data where it is given.

    Raises MoorlError unless one of them is named, or data alone.
    """
    if name and own:
        raise MoorlError("--task and --env are two tasks: name one")
    task = find(name) if name else own
    if data:
        dataset = own_data(data, task, action_range)
        return dataset.task, dataset
    if not task:
        raise MoorlError("name a task with --task, an environment with --env, or data with --data")
    return task, None


def chosen_tasks(names: str, own: Task | None, data: str | None, action_range: str | None) -> tuple[Task, ...]:
    """Return the tasks that a sweep is over: those of the catalogue and of suites, by name, or the user's own."""
    if own or data:
        if names:
            raise MoorlError("--env and --data are a task of your own: leave --task out")
        return (chosen_task(None, own, data, action_range)[0],)
    if not names:
        raise MoorlError("name tasks with --task, an environment with --env, or data with --data")
    return expand(names)


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print an error that the user can fix as one line instead of a traceback, and exit with 2.

    The command gets an option `--traceback`: of a fault in a user's own agent it prints that part of the traceback, of
    any other all of it.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, traced: bool, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (Exception, SystemExit) as error:
            own = error if isinstance(error, OwnAgentError) else own_fault(error)
            fault = str(error if isinstance(error, MoorlError) else own or of_the_machine(error))
            if not fault:
                raise
            if traced:
                print(own.trace if own else traceback.format_exc(), end="", file=sys.stderr)
            print(f"error: {fault}", file=sys.stderr)
            raise typer.Exit(2) from None

    kind = Annotated[bool, typer.Option("--traceback", help="Show where a fault came from.")]
    signature = inspect.signature(command)
    option = inspect.Parameter("traced", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
    vars(wrapper)["__signature__"] = signature.replace(parameters=[*signature.parameters.values(), option])
    wrapper.__annotations__ = command.__annotations__ | {"traced": kind}
    return wrapper
