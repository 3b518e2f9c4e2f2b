"""`moorl-jax agents`: the algorithms, and the fields of one."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Table

from moorl_jax.agents import AGENTS, Agent, find_agent
from moorl_jax.cli.options import guarded
from moorl_jax.config import Field, fields_of
from moorl_jax.data import Preparation
from moorl_jax.progress import terminal
from moorl_jax.settings import PREPARATION


@guarded
def agents_command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them, or file.py:Class.")] = None,
) -> None:
    """Print the agents; of a single one the fields that `--set` changes.

    Each with its default, what it may hold and what it means.
    """
    console = terminal()
    if name is None:
        table = Table("agent", "", "defaults from")
        for each, kind in AGENTS.items():
            table.add_row(each, (kind.__doc__ or "").partition("\n")[0], kind.source)
        console.print(table)
        return
    table = Table(
        "field",
        "default",
        "may be",
        "meaning",
        caption="`--set FIELD=VALUE` changes one in train, bench and sweep. A task's family may have other values: "
        "`moorl-jax train --print-config` shows those in force.",
        caption_justify="left",
    )
    for field in [*_fields(find_agent(name)()), *_fields(Preparation(), PREPARATION)]:
        value = type(field.value).__name__ if isinstance(field.value, Agent) else repr(field.value)
        table.add_row(field.name, value, field.holds, field.meaning)
    console.print(table)


def _fields(config: Any, prefix: str = "") -> Iterator[Field]:
    """Yield a config's fields, an agent's within it after it, by the names that `--set` has for them."""
    for field in fields_of(config):
        yield field._replace(name=prefix + field.name)
        if isinstance(field.value, Agent):
            yield from _fields(field.value, f"{prefix}{field.name}.")
