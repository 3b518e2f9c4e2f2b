"""`moorl-jax export`."""

from pathlib import Path
from typing import Annotated

import typer

from moorl_jax.cli.options import TrustOption, guarded
from moorl_jax.engine import export
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.engine.trained import load
from moorl_jax.progress import terminal

console = terminal()


@guarded
def export_command(
    directory: Annotated[Path, typer.Argument(metavar="RESULT_DIR", help="What `train` or `bench` wrote.")],
    path: Annotated[Path, typer.Argument(metavar="PATH", help=f"Its suffix says how: {', '.join(export.FORMATS)}.")],
    seed: Annotated[int | None, typer.Option(help="Whose policy; the first seed's by default.")] = None,
    trust: TrustOption = False,
) -> None:
    """Write a seed's greedy policy as a file that other programs read. Check that it acts the same."""
    use_all_cores()
    policy = load(directory, trust).policy
    apart = export.export(policy, path, seed)
    console.print(
        f"written: {path}; on {export.OBSERVATIONS} random observations its actions are ours to {apart:.1g}",
        highlight=False,
    )
