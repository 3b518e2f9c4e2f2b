"""The command line, `moorl-jax`."""

import ast
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from moorl_jax.errors import MoorlError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Offline and online reinforcement learning in JAX.")
data_app = typer.Typer(no_args_is_help=True, help="List, make, fetch and check datasets.")
app.add_typer(data_app, name="data")

TaskName = Annotated[str, typer.Argument(metavar="TASK", help="A task's name; `moorl-jax tasks` lists them.")]
PoliciesOption = Annotated[
    Path | None, typer.Option("--policies", help="Directory of behaviour policies for recipes (or MOORL_POLICIES).")
]


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print a fault the user can mend as one line instead of a traceback, and exit with 2."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except MoorlError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from None

    return wrapper
