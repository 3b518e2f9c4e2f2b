"""The page of verdicts: each claim beside what our finished cells say of it, by one rule."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.evidence import queue
from benchmarks.evidence.claims import CLAIMS, FORKS_BUDGET, Above, Answer, Claim, Cost, Level
from moorl_jax.data.sources import MADE_HERE
from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import NO_SOURCE
from moorl_jax.errors import MoorlError
from moorl_jax.reports import papers
from moorl_jax.reports.collection import find_results, one_each, runs
from moorl_jax.reports.papers import ALPHA
from moorl_jax.reports.published import Published, published_table
from moorl_jax.reports.statistics import LEVEL, improvement
from moorl_jax.studies import questions
from moorl_jax.sweeps.runner import collect
from moorl_jax.whole import whole

REPRODUCED, NOT, OPEN = "reproduced", "not reproduced", "not yet decidable"
NOTHING = "nothing was trained yet"
FEWEST_SEEDS = 3
WIDEST = 15.0  #: points on either side of a mean, for a score to be decidable
SUBROUTINES = ("subroutines", "subroutines 300k")  #: lines of the queue, the largest budget first
RULE = f"""\
# What is reproduced

`python -m benchmarks.evidence --finished` wrote this page from the cells in `results/cells`; nobody edits it. The rule:

- **A score** is decided by {FEWEST_SEEDS} seeds or more at the published budget or above it, on data that should agree:
  the original, or random policies' data, which is the original in all but name. Where the paper has a deviation,
  it is {REPRODUCED} unless Welch's test finds a difference at {ALPHA:.0%}; else if the published figure lies in the
  95 % interval of our mean (Student's), which may reach {WIDEST:.0f} points to either side.
- **One agent above another** is decided by {FEWEST_SEEDS} seeds of each at the claim's budget, on the same data, of
  whatever source: {REPRODUCED} where the 95 % interval of the probability of improvement lies above one half, {NOT}
  where below.
- **A cost** is decided by the seconds of whole trainings on the same kind of device: {REPRODUCED} where the ratio is
  within what the line says, in the mean over tasks.
- **A finding on subroutines** is decided as `make study` does: by the interval of its comparison.
- All else is {OPEN}, and the line says why. The policy that counts is the last one, never the best.

"""


@dataclass(frozen=True)
class Verdict:
    """A line of the page."""

    claim: str
    ours: str
    published: str
    budget: str
    data: str
    verdict: str
    why: str = ""


def write(results: Path, page: Path) -> None:
    """Write the page of all claims."""
    directory = results / "cells"
    found = find_results([directory]) if directory.is_dir() else []
    ours = runs(found)
    if len(ours):
        seconds = [result.provenance["seconds"]["total"] for result in found]
        devices = [result.provenance["devices"][0] for result in found]
        ours = ours.assign(
            seconds=ours["result"].map(seconds.__getitem__), device=ours["result"].map(devices.__getitem__)
        )
    parts = [RULE]
    for paper, claims in CLAIMS.items():
        lines = [line for claim in claims for line in judge(claim, ours, directory)]
        counts = ", ".join(f"{sum(line.verdict == word for line in lines)} {word}" for word in (REPRODUCED, NOT, OPEN))
        table = pd.DataFrame([vars(line) for line in lines])
        parts.append(f"## {paper}\n\n{counts}.\n\n{table.to_markdown(index=False, disable_numparse=True)}\n\n")
    with whole(page) as partial:
        partial.write_text("".join(parts).rstrip() + "\n", encoding="utf-8")


def judge(claim: Claim, ours: pd.DataFrame, directory: Path) -> list[Verdict]:
    """Return the claim's lines; `ours` has a row per run, with the `seconds` and the `device` of its result."""
    match claim:
        case Level():
            return of_levels(claim, ours)
        case Above() | Cost():
            return [of_pair(claim, ours)]
        case Answer():
            return [of_answer(claim, directory)]


def of_levels(claim: Level, ours: pd.DataFrame) -> list[Verdict]:
    """Return a line for each published score that we have one beside, and one for all others."""
    published = published_table(claim.section.table, claim.section.phase)
    section = dataclasses.replace(claim.section, agents=claim.agents)
    numbers = papers.frame(section, ours)
    numbers = numbers[[key in published for key in zip(numbers["task"], numbers["agent"], strict=True)]]
    lines = [
        of_level(number, published[number["task"], number["agent"]])
        for number in numbers[numbers["seeds"] > 0].to_dict("records")
    ]
    missing = int((numbers["seeds"] == 0).sum())
    name = f"{section.title}: {missing} more scores of {', '.join(claim.agents)}"
    return lines + [Verdict(name, DASH, "", "", "", OPEN, NOTHING)] * bool(missing)


def of_level(number: dict[Any, Any], published: Published) -> Verdict:
    """Return the verdict on a score, a row of `papers.frame`."""
    over = OverSeeds(number["mean"], number["std"], number["seeds"], number["diverged"])
    spent, needed = (number["updates"], number["env_steps"]), (published.updates or 0, published.env_steps or 0)
    sample = over.std * np.sqrt(over.seeds / (over.seeds - 1)) if over.seeds > 1 else np.nan
    reach = stats.t.ppf((1 + LEVEL) / 2, over.seeds - 1) * sample / np.sqrt(over.seeds)
    if why := undecidable(over.seeds, spent, needed):
        verdict = OPEN
    elif not agrees(number["task"], number["source"]):
        verdict, why = OPEN, "its data was made here and is not the original"
    elif over.diverged:
        verdict, why = NOT, f"{over.diverged} of {over.seeds} seeds diverged"
    elif not np.isnan(number["p"]):
        verdict, why = (REPRODUCED if number["p"] >= ALPHA else NOT), f"Welch's p {number['p']:.3f}"
    elif reach > WIDEST:
        verdict, why = OPEN, f"the interval reaches {reach:.0f} points to either side"
    else:
        verdict = REPRODUCED if abs(over.mean - published.mean) <= reach else NOT
        why = f"interval {over.mean - reach:.1f} to {over.mean + reach:.1f}"
    claim = f"{number['agent']} on {number['task']}"
    return Verdict(claim, str(over), f"{published.mean:.1f}", budget(spent), number["source"], verdict, why)


def of_pair(claim: Above | Cost, ours: pd.DataFrame) -> Verdict:
    """Return the verdict on two agents, from each task's runs at the largest budget that both had on the same data."""
    pairs = [pair for task in claim.tasks if (pair := pair_of(claim, task, ours))]
    if not pairs:
        return Verdict(claim.says, DASH, claim.published, "", "", OPEN, NOTHING)
    every = [run for pair in pairs for run in pair]
    seeds = min(len(run) for run in every)
    spent = min((run["updates"].iloc[0], run["env_steps"].iloc[0]) for run in every)
    data = ", ".join(sorted({run["source"].iloc[0] for run in every} - {NO_SOURCE})) or NO_SOURCE
    if isinstance(claim, Above):
        found = improvement([(one["last"].to_numpy(), other["last"].to_numpy()) for one, other in pairs])
        ours_says = f"{found}, {' against '.join(mean_of([pair[side] for pair in pairs]) for side in (0, 1))}"
        answer = REPRODUCED if found.low > 0.5 else NOT if found.high < 0.5 else OPEN
        why = "the interval includes one half" if answer == OPEN else ""
    else:
        ratio = float(np.mean([one["seconds"].iloc[0] / other["seconds"].iloc[0] for one, other in pairs]))
        ours_says, answer, why = f"{ratio:.2f} times", REPRODUCED if ratio <= claim.at_most else NOT, ""
    if lacking := undecidable(seeds, spent, claim.budget):
        answer, why = OPEN, lacking
    tasks = f" ({len(pairs)} of {len(claim.tasks)} tasks)" if len(pairs) < len(claim.tasks) else ""
    return Verdict(claim.says + tasks, ours_says, claim.published, budget(spent), data, answer, why)


def pair_of(claim: Above | Cost, task: str, ours: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return the runs of both agents on a task; None where they have no budget, data and device in common."""
    if ours.empty:
        return None
    here = one_each(ours[(ours["task"] == task) & ours["agent"].isin([claim.one, claim.other])])
    for _, alike in sorted(here.groupby(["env_steps", "updates"]), key=lambda each: each[0], reverse=True):
        sources = [*sorted(set(alike["source"]) - {NO_SOURCE}, key=lambda name: name in MADE_HERE), NO_SOURCE]
        for source in sources:  # the original first
            runs_here = alike[alike["source"].isin([source, NO_SOURCE])]
            one, other = (runs_here[runs_here["agent"] == agent] for agent in (claim.one, claim.other))
            same = isinstance(claim, Above) or set(one["device"]) == set(other["device"])
            if len(one) and len(other) and same:
                return one, other
    return None


def of_answer(claim: Answer, directory: Path) -> Verdict:
    """Return the verdict on a finding of the study of subroutines, from the largest of its lines that answers it."""
    for name in SUBROUTINES:
        answered = answers(name, directory)
        row = answered.rows.get(claim.comparison, {"estimate": DASH})
        if row["estimate"] == DASH:
            continue
        answer, why = OPEN, "the interval includes no difference"
        if row["answer"] != "open":
            answer, why = REPRODUCED if row["answer"] == claim.expected else NOT, ""
        if lacking := undecidable(answered.seeds, answered.spent, FORKS_BUDGET):
            answer, why = OPEN, lacking
        elif answered.finished < answered.cells:
            answer, why = OPEN, f"{answered.finished} of {answered.cells} cells are finished"
        return Verdict(claim.says, row["estimate"], claim.expected, budget(answered.spent), NO_SOURCE, answer, why)
    return Verdict(claim.says, DASH, claim.expected, "", "", OPEN, NOTHING)


@dataclass(frozen=True)
class Answered:
    """What the cells of a line of the queue answer to the questions about subroutines."""

    rows: dict[str, dict[Any, Any]]  #: by comparison
    seeds: int
    spent: tuple[int, int]
    finished: int
    cells: int


@functools.cache  # for all claims of a page
def answers(name: str, directory: Path) -> Answered:
    """Return what the line's finished cells answer."""
    line = queue.read()[name]
    cells = line.cells(None)
    try:
        outcomes = [outcome for outcome in collect(cells, directory) if outcome.result]
    except MoorlError:  # none has finished
        outcomes = []
    found = [row for section in questions.sections(outcomes) for row in section.table.to_dict("records")]
    rows = {row["comparison"]: row for row in found if "comparison" in row}
    return Answered(rows, line.seeds, cells[0].spend, len(outcomes), len(cells))


def undecidable(seeds: int, spent: tuple[int, int], needed: tuple[int, int]) -> str:
    """Return why a number decides nothing, an empty text where it may."""
    for had, asked, unit in zip(spent, needed, ("updates", "env steps"), strict=True):
        if had < asked:
            return f"trained for {had:,} of {asked:,} {unit}"
    return f"{seeds} seeds of {FEWEST_SEEDS}" if seeds < FEWEST_SEEDS else ""


def agrees(task: str, source: str) -> bool:
    """Tell whether scores on the data should be those on the original: it is that, or a random policy's.

    AntMaze by D4RL's own walker is not: how often it is at the goal differs (docs/fidelity.md).
    """
    return source not in MADE_HERE or "-random-" in task


def budget(spent: tuple[int, int]) -> str:
    """Return the words for updates and env steps."""
    return ", ".join(f"{n:,} {unit}" for n, unit in zip(spent, ("updates", "env steps"), strict=True) if n)


def mean_of(runs_of_tasks: list[pd.DataFrame]) -> str:
    """Return the mean over tasks of an agent's last scores, or how many seeds diverged."""
    over = OverSeeds.of(pd.concat(runs_of_tasks)["last"])
    return over.or_diverged(f"{np.mean([run['last'].mean() for run in runs_of_tasks]):.1f}")
