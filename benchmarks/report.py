"""`python -m benchmarks.report`: all finished results on one page that needs no server and no network.

There is one table per protocol, budget and data source; image tasks have their own. Of equal results the latest counts.
Runs with changed settings belong to studies and are left out. `make report` calls it.
"""

import base64
import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from benchmarks import papers, plots
from benchmarks.collection import BUDGET, find_results, one_each, runs, scores
from benchmarks.statistics import AGGREGATES, aggregate, improvement
from benchmarks.tables import OTHER_SCALES, own_scales
from moorl_jax.cli import guarded
from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import NO_SOURCE, Result
from moorl_jax.errors import MoorlError
from moorl_jax.progress import terminal
from moorl_jax.whole import whole

MISSING = "-Infinity"  #: sort value of a cell without a score, as the page's script reads it


@dataclass(frozen=True)
class Entry:
    """A cell of a table, and its sort value."""

    text: str
    value: Any
    result: int | None = None  #: number of the result it links to


@dataclass(frozen=True)
class Grid:
    """A table that can be sorted by any column."""

    columns: list[str]
    rows: list[list[Entry]]


@dataclass(frozen=True)
class Board:
    """All runs of one protocol, budget and data source."""

    title: str
    scores: Grid
    statistics: Grid | None
    improvements: Grid | None
    common: str  #: which tasks the statistics cover
    profile: str  #: a picture as a data URL; empty if there is none
    curves: list[tuple[str, str]]  #: tasks with their pictures


def render(results: Path) -> str:
    """Return the page of all results below a directory. Raises MoorlError if there are none."""
    found = find_results([results / "cells"])
    every_run = runs(found)
    table = every_run[~every_run["changed"]] if len(every_run) else every_run
    if table.empty:
        raise MoorlError(f"{results}: no finished cell there yet; `make bench` trains some")
    table = one_each(table)
    groups = sorted(_groups(table), key=lambda group: (group["updates"] + group["env_steps"]).sum(), reverse=True)
    paper_tables = {
        name: (sections, legend.split("\n\n"))
        for name, (sections, _, legend) in (
            (name, papers.make(paper, every_run)) for name, paper in papers.PAPERS.items()
        )
    }
    environment = Environment(
        loader=PackageLoader("benchmarks", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html.j2").render(
        boards=[_board(group, found) for group in groups],
        papers=paper_tables,
        provenance=[(number, _facts(found[number])) for number in sorted(set(table["result"]))],
        runs=len(table),
        results=table["result"].nunique(),
        other_scales=" ".join([OTHER_SCALES, *own_scales(found[number].task for number in table["result"])]),
        made=datetime.now(UTC).strftime("%d %B %Y"),
    )


def _groups(table: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield the runs of each board. Runs without data appear beside every source."""
    for _, group in table.groupby([*BUDGET, "images"]):
        for source in sorted(set(group["source"]) - {NO_SOURCE}) or [NO_SOURCE]:
            yield group[group["source"].isin([source, NO_SOURCE])]


def _board(table: pd.DataFrame, found: list[Result]) -> Board:
    protocol, updates, env_steps = table.iloc[0][BUDGET]
    budget = [f"{count:,} {unit}" for count, unit in ((updates, "updates"), (env_steps, "env steps")) if count]
    budget += ["from images"] * bool(table["images"].any())
    budget += [f"{source} data" for source in set(table["source"]) - {NO_SOURCE}]
    agents = list(dict.fromkeys(table["agent"]))
    tasks = table.groupby("agent")["task"].agg(set)
    # An agent with few tasks would leave the others no tasks in common.
    compared = [agent for agent in agents if 2 * len(tasks[agent]) > table["task"].nunique()]
    left_out = [agent for agent in agents if agent not in compared]
    common = sorted(set.intersection(*tasks[compared])) if len(compared) > 1 else []
    shared = {agent: table[(table["agent"] == agent) & table["task"].isin(common)] for agent in compared}
    several = len(common) > 1 and bool(table.loc[table["task"].isin(common), "comparable"].all())
    return Board(
        title=f"{protocol}: {', '.join(budget)}",
        scores=_score_grid(table, agents),
        statistics=_statistics(shared) if several else None,
        improvements=_improvements(shared) if several else None,
        common=f"Over the {len(common)} tasks that all of them have finished: {', '.join(common)}."
        + (f" Left out, with half of the tasks or fewer: {', '.join(left_out)}." if left_out else ""),
        profile=_picture(partial(plots.profiles, {agent: scores(of_agent) for agent, of_agent in shared.items()}))
        if several
        else "",
        curves=[
            (str(task), picture)
            for task, here in table.groupby("task")
            if (picture := _picture(partial(plots.curves, _labelled(here, found))))
        ],
    )


def _score_grid(table: pd.DataFrame, agents: list[str]) -> Grid:
    """Return a row per task, a column per agent: last score, and the best one in brackets."""
    rows = [
        [Entry(str(task), str(task)), *(_score(here[here["agent"] == agent]) for agent in agents)]
        for task, here in table.groupby("task")
    ]
    return Grid(["task", *agents], rows)


def _score(seeds: pd.DataFrame) -> Entry:
    if seeds.empty:
        return Entry(DASH, MISSING)
    over, result = OverSeeds.of(seeds.loc[seeds["evaluated"], "last"]), int(seeds["result"].iloc[0])
    if over.diverged or not over.seeds:
        return Entry(str(over), MISSING, result)
    return Entry(f"{over} ({seeds['best'].mean():.1f})", over.mean, result)


def _statistics(shared: dict[str, pd.DataFrame]) -> Grid:
    """Return a row per agent: every aggregate of its last scores with its interval, and the IQM of its best ones."""
    rows = []
    for agent, table in shared.items():
        last = [_aggregated(name, table, "last") for name in AGGREGATES]
        rows.append([Entry(agent, agent), *last, _aggregated("IQM", table, "best")])
    return Grid(["agent", *AGGREGATES, "IQM of best scores"], rows)


def _improvements(shared: dict[str, pd.DataFrame]) -> Grid:
    """Return a row per pair of agents: the probability that a run of the first scores above one of the second."""
    rows = []
    for one, other in itertools.combinations(shared, 2):
        found = improvement(list(zip(scores(shared[one]), scores(shared[other]), strict=True)))
        rows.append([Entry(f"{one} above {other}", f"{one} {other}"), Entry(str(found), found.value)])
    return Grid(["pair", "probability of improvement"], rows)


def _aggregated(name: str, table: pd.DataFrame, column: str) -> Entry:
    """Return an aggregate of an agent's runs, or how many diverged if any did."""
    over, found = OverSeeds.of(table[column]), aggregate(name, scores(table, column))
    shown = over.or_diverged(f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]")
    return Entry(shown, MISSING if over.diverged else found.value)


def _labelled(table: pd.DataFrame, found: list[Result]) -> list[tuple[str, Result]]:
    numbers = table.groupby("agent", sort=False)["result"].first()
    return [(str(agent), found[number]) for agent, number in numbers.items()]


def _facts(result: Result) -> dict[str, str]:
    """Return how a result was made, the command first."""
    made = result.provenance
    backend = made.get("backend", made)  # older results have no `backend`, at most its precision
    precision = f", products in {backend['matmul_precision']}" if "matmul_precision" in backend else ""
    data = DASH if made["source"] == NO_SOURCE else f"{made['source']}, sha256 {made['dataset_sha256'][:16]}…"
    # The directory's path means nothing on another machine.
    data += ", made from the policies in MOORL_POLICIES if its recipe needs any" * (made["source"] == "recipe")
    return {
        "result": f"{result.config['task']}, {result.config['agent']}, {len(result.config['seeds'])} seeds",
        "command": result.config["command"],
        "data": data,
        "commit": made["commit"].replace("-dirty", ", with uncommitted changes"),
        "versions": ", ".join(f"{name} {version}" for name, version in made["versions"].items()),
        "device": f"{len(made['devices'])} x {made['devices'][0]}{precision}",
        "time": f"{made['seconds']['total'] / 60:.1f} minutes, finished {made['finished']}",
    }


def _picture(draw: Callable[[Path], None]) -> str:
    """Return what `draw` draws as a data URL, "" if nothing; a fifth of a PNG's size, for there are dozens."""
    with tempfile.TemporaryDirectory() as folder:
        drawn, small = Path(folder) / "picture.png", Path(folder) / "picture.webp"
        draw(drawn)
        if not drawn.exists():
            return ""
        Image.open(drawn).convert("RGB").save(small, quality=18, method=6)
        return f"data:image/webp;base64,{base64.b64encode(small.read_bytes()).decode()}"


app = typer.Typer(add_completion=False)


@app.command()
@guarded
def report(
    results: Annotated[Path, typer.Option(help="Directory of results.")] = Path("results"),
    page: Annotated[
        Path | None, typer.Option(help="The file to write. Default: report.html in the results directory.")
    ] = None,
) -> None:
    """Write all finished results as one self-contained HTML page."""
    page = page or results / "report.html"
    html = render(results)
    with whole(page) as file:
        file.write_text(html, encoding="utf-8", errors="replace")
    terminal().print(f"written: {page}, {page.stat().st_size / 1e6:.1f} MB", highlight=False)


if __name__ == "__main__":
    app()
