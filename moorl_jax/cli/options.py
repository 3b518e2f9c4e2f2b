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
from moorl_jax.data import sources
from moorl_jax.errors import MoorlError, OwnAgentError, of_the_machine

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's name; `moorl-jax tasks` lists them.")]
SourceOption = Annotated[str, typer.Option(help=f"auto, {', '.join(sources.SOURCES)}.")]
PoliciesOption = Annotated[
    Path | None,
    typer.Option(envvar="MOORL_POLICIES", help="Directory of the behaviour policies that recipes roll out."),
]
TrustOption = Annotated[
    bool, typer.Option("--trust", help="Run the code of an agent of one's own, from the file the result names.")
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


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print a fault the user can mend as one line instead of a traceback, and exit with 2.

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
