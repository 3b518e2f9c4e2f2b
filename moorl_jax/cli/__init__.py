"""The command line, `moorl-jax`."""

import typer

from moorl_jax.cli.data import data_app, tasks
from moorl_jax.cli.evaluate import eval_command
from moorl_jax.cli.export import export_command
from moorl_jax.cli.options import PoliciesOption, SourceOption, guarded
from moorl_jax.cli.train import train_command

__all__ = ["PoliciesOption", "SourceOption", "app", "guarded"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Offline, hybrid and offline-to-online reinforcement learning.",
)
app.command()(tasks)
app.add_typer(data_app, name="data")
app.command("train")(train_command)
app.command("eval")(eval_command)
app.command("export")(export_command)
