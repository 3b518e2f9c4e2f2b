"""Finished results on one page that needs no server and no network: `moorl-jax report`.

There is one table per protocol, budget and data source; image tasks have their own. Of equal results the latest counts.
"""

import base64
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import NO_SOURCE, Result
from moorl_jax.reports import exploration, fine_tuning, papers, plots
from moorl_jax.reports.collection import find_results, labelled, none_found, one_each, runs, scores
from moorl_jax.reports.comparison import Group, Shared, aggregated, groups, improvements, shared, tuning_table
from moorl_jax.reports.statistics import AGGREGATES
from moorl_jax.reports.tables import OTHER_SCALES, own_scales

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
    tuning: Grid | None  #: what fine-tuning did
    exploration: Grid | None  #: what the env steps visited
    statistics: Grid | None
    improvements: Grid | None
    common: str  #: which tasks the statistics cover
    profile: str  #: a picture as a data URL; empty if there is none
    curves: list[tuple[str, str]]  #: tasks with their pictures


def render(places: list[Path], *, changed: bool = True) -> str:
    """Return the page of all results in the directories and below them. Raises MoorlError if there are none.

    `changed` is whether runs with changed settings are among them.
    """
    found = find_results(places)
    every_run = runs(found)
    table = every_run if changed or every_run.empty else every_run[~every_run["changed"]]
    if table.empty:
        raise none_found(places)
    table = one_each(table)
    paper_tables = {
        name: (sections, legend.split("\n\n"))
        for name, (sections, _, legend) in (
            (name, papers.make(paper, every_run)) for name, paper in papers.PAPERS.items()
        )
    }
    environment = Environment(
        loader=PackageLoader("moorl_jax.reports", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        boards=[_board(group, found) for group in groups(table)],
        papers=paper_tables,
        provenance=[(number, _facts(found[number])) for number in sorted(set(table["result"]))],
        runs=len(table),
        results=table["result"].nunique(),
        tuning_legend=fine_tuning.LEGEND,
        exploration_legend=exploration.LEGEND,
        other_scales=" ".join([OTHER_SCALES, *own_scales(found[number].task for number in table["result"])]),
        made=datetime.now(UTC).strftime("%d %B %Y"),
    )


def _board(group: Group, found: list[Result]) -> Board:
    table, compared = group.runs, shared(group)
    # Tasks without datasets have scores on several scales.
    several = len(compared.tasks) > 1 and bool(table.loc[table["task"].isin(compared.tasks), "comparable"].all())
    return Board(
        title=group.title,
        scores=_score_grid(table, group.agents),
        tuning=_plain(tuning_table(group)) if group.tuned else None,
        exploration=_plain(visits) if len(visits := exploration.table(labelled(table, found))) else None,
        statistics=_statistics(compared) if several else None,
        improvements=_improvements(compared) if several else None,
        common=compared.told,
        profile=_picture(partial(plots.profiles, {agent: scores(runs) for agent, runs in compared.runs.items()}))
        if several
        else "",
        curves=[
            (str(task), picture)
            for task, here in table.groupby("task")
            if (picture := _picture(partial(plots.curves, labelled(here, found))))
        ],
    )


def _score_grid(table: pd.DataFrame, agents: list[str]) -> Grid:
    """Return a row per task, a column per agent: last score, and the best one in brackets."""
    rows = [
        [Entry(str(task), str(task)), *(_score(here[here["agent"] == agent]) for agent in agents)]
        for task, here in table.groupby("task")
    ]
    return Grid(["task", *agents], rows)


def _plain(table: pd.DataFrame) -> Grid:
    """Return a table of text, to be sorted as text."""
    rows = [[Entry(words, words) for words in row] for row in table.itertuples(index=False)]
    return Grid(list(table.columns), rows)


def _score(seeds: pd.DataFrame) -> Entry:
    if seeds.empty:
        return Entry(DASH, MISSING)
    over, result = OverSeeds.of(seeds.loc[seeds["evaluated"], "last"]), int(seeds["result"].iloc[0])
    if over.diverged or not over.seeds:
        return Entry(str(over), MISSING, result)
    return Entry(f"{over} ({seeds['best'].mean():.1f})", over.mean, result)


def _statistics(compared: Shared) -> Grid:
    """Return a row per agent: every aggregate of its last scores with its interval, and the IQM of its best ones."""
    rows = []
    for agent, table in compared.runs.items():
        last = [_aggregated(name, table, "last") for name in AGGREGATES]
        rows.append([Entry(agent, agent), *last, _aggregated("IQM", table, "best")])
    return Grid(["agent", *AGGREGATES, "IQM of best scores"], rows)


def _improvements(compared: Shared) -> Grid:
    """Return a row per pair of agents: the probability that a run of the first scores above one of the second."""
    rows = [
        [Entry(f"{one} above {other}", f"{one} {other}"), Entry(str(found), found.value)]
        for one, other, found in improvements(compared)
    ]
    return Grid(["pair", "probability of improvement"], rows)


def _aggregated(name: str, table: pd.DataFrame, column: str) -> Entry:
    """Return an aggregate of an agent's runs, or how many diverged if any did."""
    over, found, text = aggregated(name, table, column)
    return Entry(text, MISSING if over.diverged else found.value)


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
