"""`moorl-jax table`, `compare` and `plot`: results of any directories, side by side."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from moorl_jax.cli.options import guarded
from moorl_jax.engine.results import Result
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.progress import terminal
from moorl_jax.reports import comparison, exploration, fine_tuning, plots
from moorl_jax.reports.collection import find_results, labelled, none_found, one_each, runs, scores
from moorl_jax.reports.tables import own_scales
from moorl_jax.reports.writing import ENDINGS, Sections, for_terminal, write_tables

Places = Annotated[
    list[Path], typer.Argument(metavar="DIRECTORY...", help="Result directories, or any directories above them.")
]
Agents = Annotated[str, typer.Option(help="Only these agents, separated by commas, and in this order.")]
Tasks = Annotated[str, typer.Option(help="Only these tasks, separated by commas.")]
Out = Annotated[Path | None, typer.Option(help=f"A file to write as well, its ending one of {', '.join(ENDINGS)}.")]


class Moment(StrEnum):
    """Which score of a run counts."""

    last = "last"
    best = "best"
    before = "before"


class Kind(StrEnum):
    """What is drawn."""

    curves = "curves"
    profile = "profile"
    final = "final"
    exploration = "exploration"


By = Annotated[
    Moment,
    typer.Option(help="The score at the last evaluation, the best one (an oracle), or the one before fine-tuning."),
]


@guarded
def table_command(
    places: Places, agents: Agents = "", tasks: Tasks = "", by: By = Moment.last, out: Out = None
) -> None:
    """Print scores, a row per task and a column per agent. Results of one budget and source of data make a table."""
    found, table = _chosen(places, agents, tasks)
    groups = comparison.groups(table)
    scales = own_scales(found[number].task for number in table["result"])
    sections = [(group.title, comparison.score_table(group, by)) for group in groups]
    tuned = [(f"Fine-tuning, {group.title}", comparison.tuning_table(group)) for group in groups if group.tuned]
    explored = [
        (f"Exploration, {group.title}", visits)
        for group in groups
        if len(visits := exploration.table(labelled(group.runs, found)))
    ]
    numbers = pd.concat([comparison.score_numbers(group, by) for group in groups], ignore_index=True)
    legend = f"{_score(by)}, mean ± population standard deviation over seeds."
    legends = [legend, *scales, *[fine_tuning.LEGEND] * bool(tuned), *[exploration.LEGEND] * bool(explored)]
    print_tables([*sections, *tuned, *explored], " ".join(legends), numbers, out)


@guarded
def compare_command(
    places: Places, agents: Agents = "", tasks: Tasks = "", by: By = Moment.last, out: Out = None
) -> None:
    """Print aggregates over tasks and probabilities of improvement. Each has its 95 % interval."""
    _, table = _chosen(places, agents, tasks)
    sections: Sections = []
    told = []
    numbers = []
    for group in comparison.groups(table):
        compared = comparison.shared(group)
        if len(compared.runs) < 2 or not compared.tasks:
            continue
        pairs = list(comparison.improvements(compared, by))
        shown = pd.DataFrame([{"pair": f"{one} above {other}", "probability": str(p)} for one, other, p in pairs])
        sections += [(group.title, comparison.aggregates(compared, by)), (f"Improvement, {group.title}", shown)]
        numbers += [
            {"group": group.title, "one": one, "other": other, "probability": p.value, "low": p.low, "high": p.high}
            for one, other, p in pairs
        ]
        told.append(f"{group.title}: {compared.told}")
    if not sections:
        raise MoorlError("nothing to compare: no two agents have a task, a budget and a source of data in common")
    legend = f"{_score(by)}. Bootstrap over seeds, stratified by task (Agarwal et al. 2021). {' '.join(told)}"
    print_tables(sections, legend, pd.DataFrame(numbers), out)


@guarded
def plot_command(
    places: Places,
    out: Annotated[Path, typer.Option(help="The picture to write: .png, .pdf or .svg.")],
    kind: Annotated[
        Kind,
        typer.Option(help="Learning curves, a performance profile over tasks, final scores, or cells visited."),
    ] = Kind.curves,
    agents: Agents = "",
    tasks: Tasks = "",
    width: Annotated[
        float | None, typer.Option(min=1.0, help="Inches, with letters of 8 points, as a paper wants it.")
    ] = None,
) -> None:
    """Draw results of any directories."""
    plots.require_ending(out)
    found, table = _chosen(places, agents, tasks)
    drawn = labelled(table, found)
    with plots.as_in_a_paper(width):
        if kind == Kind.curves:
            plots.curves(drawn, out, width)
        elif kind == Kind.exploration:
            plots.exploration(drawn, out, width)
        elif kind == Kind.final:
            plots.settings(drawn, out, width)
        else:
            groups = comparison.groups(table)
            if len(groups) > 1:
                titles = "; ".join(group.title for group in groups)
                raise MoorlError(f"a profile is of one budget and source of data, and these are {titles}")
            compared = comparison.shared(groups[0])
            plots.profiles({agent: scores(of_agent) for agent, of_agent in compared.runs.items()}, out, width)
    if not out.exists():
        counted = ", and only tasks of AntMaze and robots of the plane count cells" * (kind == Kind.exploration)
        raise MoorlError(f"nothing to draw: a single evaluation is no curve{counted}")
    terminal().print(f"written: {out}", highlight=False)


def _chosen(places: list[Path], agents: str, tasks: str) -> tuple[list[Result], pd.DataFrame]:
    """Return all results in the directories, and the newest run of each that was asked for."""
    found = find_results(places)
    if not found:
        raise none_found(places)
    every = runs(found)
    table = one_each(every)
    for number in sorted(set(every["result"]) - set(table["result"])):
        like = "another result of the same task, agent and budget has more seeds or is newer"
        print(f"left out: {found[number].directory}: {like}", file=sys.stderr)
    table = table.sort_values("agent", kind="stable", key=lambda names: names.str.lower())
    for column, names in (("task", tasks), ("agent", agents)):
        if wanted := named(names, column, set(table[column])):
            place = table[column].map({name: number for number, name in enumerate(wanted)})
            table = table[place.notna()].assign(place=place).sort_values("place", kind="stable").drop(columns="place")
    return found, table


def named(names: str, kind: str, known: set[str]) -> list[str]:
    """Return the names that commas separate; raise UnknownNameError for one that no result has."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise UnknownNameError(f"{kind} of these results", name, sorted(known))
    return wanted


def _score(by: Moment) -> str:
    return {
        Moment.last: "Scores at the last evaluation",
        Moment.best: "The best scores of all evaluations, which an oracle would pick",
        Moment.before: "Scores at the end of the offline phase",
    }[by]


def print_tables(sections: Sections, legend: str, numbers: pd.DataFrame, out: Path | None) -> None:
    """Print the tables, and write them where a file is named."""
    if out:
        write_tables(out, sections, numbers, legend)
    console = terminal()
    for title, section in sections:
        console.print(title, highlight=False)
        console.print(for_terminal(section))
    console.print(legend, highlight=False)
    if out:
        console.print(f"written: {out}", highlight=False)
