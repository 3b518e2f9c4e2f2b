"""The API reference: a page for each package of the library, made of its docstrings."""

import inspect
from pathlib import Path
from typing import Any

import pandas as pd
from typer.main import get_command

import moorl_jax
from benchmarks.site.pages import Pages, markdown
from moorl_jax.cli import Command as Imported
from moorl_jax.cli import app

LIBRARY = Path(moorl_jax.__file__).parent


def pages() -> Pages:
    """Return a page for each module that has something public, packages' own first."""
    made: Pages = {"reference/index.md": _front(), "reference/commands.md": _commands()}
    for file in sorted(LIBRARY.rglob("*.py")):
        parts = file.relative_to(LIBRARY).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts and not any(part.startswith("_") for part in parts) and parts[0] != "cli":
            name = ".".join(("moorl_jax", *parts))
            inside = file.name == "__init__.py"
            place = "/".join((*parts, "index") if inside else parts)
            made[f"reference/{place}.md"] = _page(name, parts[-1], inside)
    return made


def _front() -> str:
    """Return the page of the names that `moorl_jax` itself has, each with a link to where it is described."""
    rows = []
    for name in moorl_jax.__all__:
        thing = getattr(moorl_jax, name)
        first = (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")
        rows.append([f"[`{name}`][{thing.__module__}.{name}]", first])
    table = markdown(pd.DataFrame(rows, columns=["name", "what it is"]))
    stable = "[Public API](../public-api.md) says what is stable."
    return f"# API reference\n\nWhat `import moorl_jax` gives:\n\n{table}\n\n{stable}\n"


def _commands() -> str:
    """Return the page of the command line: what `--help` says of each command."""
    group: Any = get_command(app)
    sections = [_command(f"moorl-jax {name}", command) for name, command in group.commands.items()]
    return "\n\n".join(["# Commands", group.help or "", *sections])


def _command(name: str, command: Any) -> str:
    """Return a command's section, and those of the commands within it."""
    command = command.load() if isinstance(command, Imported) else command
    if hasattr(command, "commands"):
        return "\n\n".join(_command(f"{name} {inner}", each) for inner, each in command.commands.items())
    rows = [[f"`{' '.join(option.opts)}`", getattr(option, "help", "") or ""] for option in command.params]
    table = markdown(pd.DataFrame(rows, columns=["option", "meaning"]))
    return f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n{table}"


def _page(module: str, title: str, package: bool) -> str:
    """Return a module's page; a package shows its own words alone, for its modules have pages."""
    options = "show_root_heading: false" + (", members: []" if package else "")
    return f"# {title}\n\n::: {module}\n    options: {{{options}}}\n"
