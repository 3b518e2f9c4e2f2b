"""Tables as files, Markdown, CSV and LaTeX, and on a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from moorl_jax.divergence import OverSeeds
from moorl_jax.errors import MoorlError
from moorl_jax.whole import whole

Sections = list[tuple[str, pd.DataFrame]]
"""Tables as text, each with its title."""

ENDINGS = (".md", ".csv", ".tex")
#: characters that LaTeX needs escaped
LATEX = {"±": r"$\pm$", "≈": r"$\approx$", "<": "$<$", ">": "$>$", "–": "--"} | {s: rf"\{s}" for s in "_%&#$"}


def for_terminal(table: pd.DataFrame, **how: Any) -> Table:
    """Return a table of text as a terminal shows it; `how` is what `rich.table.Table` takes, such as a title."""
    shown = Table(*map(str, table.columns), **how)
    for row in table.itertuples(index=False):
        shown.add_row(*map(str, row))
    return shown


def write_tables(path: Path, sections: Sections, numbers: pd.DataFrame, legend: str) -> None:
    """Write tables in the format of the file's ending; `.csv` holds the numbers, which have a row each.

    Raises MoorlError for another ending.
    """
    if path.suffix not in ENDINGS:
        raise MoorlError(f"{path}: a table is written as one of {', '.join(ENDINGS)}")
    with whole(path) as partial:
        if path.suffix == ".csv":
            numbers.to_csv(partial, index=False, float_format="%.4f")
        else:
            text = _markdown(sections, legend) if path.suffix == ".md" else _latex(sections, legend)
            partial.write_text(text, encoding="utf-8")


def in_numbers(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row with each score over seeds as three numbers: mean, deviation, and number of diverged seeds."""
    numbers: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, OverSeeds):
            numbers |= {name: value.mean, f"{name} std": value.std, f"{name} diverged": value.diverged}
        else:
            numbers[name] = value
    return numbers


def _markdown(sections: Sections, legend: str) -> str:
    pages = [f"## {title}\n\n{table.to_markdown(index=False, disable_numparse=True)}\n" for title, table in sections]
    return "\n".join(pages) + f"\n{legend}\n"


def _latex(sections: Sections, legend: str) -> str:
    """Return the tables and their legend as LaTeX for \\input. It needs the package booktabs."""
    parts = [
        f"\\subsection*{{{_escaped(title)}}}\n"
        + table.map(_escaped).rename(columns=_escaped).to_latex(index=False, escape=False)
        for title, table in sections
    ]
    lines = [f"{{\\footnotesize {_escaped(line)}\\par}}\n" for line in legend.splitlines() if line]
    return "\n".join([*parts, *lines])


def _escaped(words: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in words)
