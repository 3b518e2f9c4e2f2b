"""Tables as files: Markdown, CSV and LaTeX."""

from pathlib import Path

import pandas as pd

from moorl_jax.errors import MoorlError
from moorl_jax.whole import whole

Sections = list[tuple[str, pd.DataFrame]]
"""Tables as text, each with its title."""

ENDINGS = (".md", ".csv", ".tex")
#: characters that LaTeX needs escaped
LATEX = {"±": r"$\pm$", "≈": r"$\approx$", "<": "$<$", ">": "$>$", "–": "--"} | {s: rf"\{s}" for s in "_%&#$"}


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
