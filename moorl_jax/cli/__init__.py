"""The command line, `moorl-jax`. A command's module is imported when the command runs: JAX takes seconds."""

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from moorl_jax.errors import MoorlError

#: Each command: where it is, and what the list of commands says of it.
COMMANDS = {
    "tasks": ("data:tasks", "Print the catalogue, and which data is on this machine."),
    "data": ("data:data_app", "List, make, fetch and check datasets."),
    "agents": ("agents:agents_command", "Print the agents; of a single one the fields that `--set` changes."),
    "train": ("train:train_command", "Train one agent on one task and write a result directory."),
    "eval": ("evaluate:eval_command", "Evaluate the final policies of a result again."),
    "export": ("export:export_command", "Write a seed's greedy policy as a file that other programs read."),
    "bench": ("bench:bench_command", "Train agents on tasks and print their normalized scores."),
    "sweep": ("sweep:sweep_command", "Train an agent with every combination of settings and compare them."),
    "study": ("study:study_command", "Run a study and print its table."),
    "table": ("compare:table_command", "Print scores, a row per task and a column per agent."),
    "compare": ("compare:compare_command", "Print aggregates over tasks and probabilities of improvement."),
    "select": (
        "select:select_command",
        "Print what choosing among a sweep's policies ends up with.",
    ),
    "plot": ("compare:plot_command", "Draw results of any directories."),
    "tables": ("reports:tables_command", "Print a paper's tables, our scores beside the published ones."),
    "report": ("reports:report_command", "Write finished results as one self-contained HTML page."),
}


class Command(TyperCommand):
    """A command that is imported when it is called."""

    def __init__(self, name: str, place: str, summary: str):
        super().__init__(name, help=summary)
        self.module, self.attribute = place.split(":")

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Import the command and let it read its words; print what keeps it from being imported as one line."""
        try:
            command = self.load()
        except MoorlError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(2) from None
        return command.make_context(*args, **kwargs)

    def load(self) -> Any:
        """Import the command."""
        command = getattr(import_module(f"moorl_jax.cli.{self.module}"), self.attribute)
        if not isinstance(command, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command(self.name)(command)
            command = alone
        return get_command(command)


class Commands(TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        for name, (place, summary) in COMMANDS.items():
            self.add_command(Command(name, place, summary))


app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True)


@app.callback()
def _main() -> None:
    """Offline, hybrid and offline-to-online reinforcement learning."""
