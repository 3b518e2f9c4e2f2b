"""`moorl-jax tables` and `moorl-jax report`."""

from pathlib import Path
from typing import Annotated

import typer

from moorl_jax.cli.options import ResultsOption, guarded
from moorl_jax.errors import UnknownNameError
from moorl_jax.progress import terminal
from moorl_jax.reports import learning
from moorl_jax.reports.collection import find_results, runs
from moorl_jax.reports.page import render
from moorl_jax.reports.papers import PAPERS, make, write
from moorl_jax.reports.writing import for_terminal
from moorl_jax.whole import whole

CURVES = "ogbench"  #: the comparison that is not of a paper's tables but of papers' learning curves


@guarded
def tables_command(
    paper: Annotated[str, typer.Argument(help=f"One of {', '.join((*PAPERS, CURVES))}.")],
    results: ResultsOption = Path("results"),
) -> None:
    """Print a paper's tables, our scores beside the published ones, and write them as Markdown, CSV and LaTeX."""
    if paper not in (*PAPERS, CURVES):
        raise UnknownNameError("paper", paper, (*PAPERS, CURVES))
    found = find_results([results / "cells"])
    made = learning.make(found) if paper == CURVES else make(PAPERS[paper], runs(found))
    sections, _, legend = made
    console = terminal()
    for title, section in sections:
        console.print(for_terminal(section, title=title, title_justify="left"))
    console.print(legend, highlight=False, markup=False)
    console.print(f"written: {', '.join(map(str, write(paper, made, results / 'papers')))}", highlight=False)


@guarded
def report_command(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="DIRECTORY",
            help="Result directories, or any directories above them. Default: results/cells, but for what a study or "
            "--set changed.",
        ),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="The file to write. Default: results/report.html, or report.html in the first directory."),
    ] = None,
) -> None:
    """Write finished results as one self-contained HTML page."""
    page = page or (places[0] if places else Path("results")) / "report.html"
    html = render(places or [Path("results/cells")], changed=bool(places))
    with whole(page) as file:
        file.write_text(html, encoding="utf-8", errors="replace")
    terminal().print(f"written: {page}, {page.stat().st_size / 1e6:.1f} MB", highlight=False)
