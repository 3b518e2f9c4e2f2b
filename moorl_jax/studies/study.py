"""What a study is, and its table."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from moorl_jax.data.sources import MADE_HERE
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine.request import which_seeds
from moorl_jax.engine.results import NO_SOURCE
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.reports import exploration, fine_tuning, plots
from moorl_jax.reports.tables import figure, over_seeds
from moorl_jax.reports.writing import in_numbers
from moorl_jax.sweeps.budgets import Budget
from moorl_jax.sweeps.cells import Cell, sourced
from moorl_jax.sweeps.runner import Outcome, finished
from moorl_jax.tasks import Task
from moorl_jax.whole import whole


@dataclass(frozen=True)
class Variant:
    """One side of a comparison: an agent, and what of its settings is changed."""

    label: str
    agent: str
    changes: tuple[str, ...] = ()  #: NAME=VALUE, as `moorl-jax train --set` takes them


@dataclass(frozen=True)
class Study:
    """A question, and the runs that speak to it."""

    question: str
    tasks: str  #: unless the caller says otherwise
    variants: tuple[Variant, ...]
    protocol: str = "offline-to-online"
    every: int | None = None  #: env steps between evaluations, where the budget's are not to count
    least: int = 0  #: env steps that a budget must have

    def only(self, agents: str) -> "Study":
        """Return the study of the variants of these agents, separated by commas.

        Raises UnknownNameError for one that it has no variant of.
        """
        known = list(dict.fromkeys(variant.agent for variant in self.variants))
        for agent in agents.split(","):
            if agent not in known:
                raise UnknownNameError("agent of this study", agent, known)
        kept = tuple(variant for variant in self.variants if variant.agent in agents.split(","))
        return dataclasses.replace(self, variants=kept)

    def cells(
        self, tasks: tuple[Task, ...], budget: Budget, seeds: int, source: str, policies: Path | None
    ) -> list[Cell]:
        """Return the study's cells, task by task; raise MoorlError if one cannot be run."""
        numbers, (_, env_steps) = which_seeds(seeds), budget.spend(self.protocol)
        if env_steps < self.least:
            raise MoorlError(f"this study needs {self.least:,} env steps: {env_steps:,} are too few")
        if self.every:
            if env_steps % self.every:
                raise MoorlError(f"this study evaluates every {self.every:,} env steps: {env_steps:,} are no multiple")
            budget = dataclasses.replace(budget, evaluations=env_steps // self.every)
        cells = [
            Cell(task, v.agent, NO_SOURCE, numbers, budget, self.protocol, v.changes, v.label)
            for task in tasks
            for v in self.variants
        ]
        return [sourced(cell, source, policies) for cell in cells]


@dataclass(frozen=True)
class Section:
    """A table for people, and what its figures are."""

    title: str  #: empty where there is but one
    table: pd.DataFrame
    caption: str

    def markdown(self) -> str:
        """Return it as a part of a Markdown page."""
        table = self.table.to_markdown(index=False, disable_numparse=True)
        return (f"## {self.title}\n\n" if self.title else "") + f"{table}\n\n{self.caption}\n"


def frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return a row per task and variant: what `fine_tuning` says of it, and the `minutes` of all seeds together."""
    rows = []
    for outcome in outcomes:
        result = outcome.result
        numbers = fine_tuning.summary(fine_tuning.per_seed(result)) if result else fine_tuning.UNFINISHED
        minutes = result.provenance["seconds"]["total"] / 60 if result else np.nan
        rows.append({"task": outcome.cell.task.name, "variant": outcome.cell.label, **numbers, "minutes": minutes})
    return pd.DataFrame(rows)


def text(found: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a person reads it."""
    return fine_tuning.text(found).assign(minutes=found["minutes"].map(figure))


def caption(study: Study, outcomes: list[Outcome]) -> str:
    """Say what was asked, and what the figures are."""
    cell = outcomes[0].cell
    updates, env_steps = cell.spend
    sources = sorted({outcome.cell.source for outcome in outcomes} - {NO_SOURCE})
    data = f"{', '.join(sources)} data" if sources else "no data"
    legend = fine_tuning.LEGEND if env_steps else "Final: at the last evaluation."
    regenerated = " (regenerated, not D4RL's)" if set(MADE_HERE) & set(sources) else ""
    return (
        f"{study.question} Normalized scores, {over_seeds(cell)}, "
        f"{cell.episodes} episodes each; {data}{regenerated}; {updates:,} offline updates where the "
        f"agent has an offline phase, {env_steps:,} env steps. Minutes: wall-clock of all seeds. {legend}"
    )


def report(study: Study, outcomes: list[Outcome], directory: Path) -> list[Section]:
    """Write table.csv, table.md and curves.png, and return what a person reads."""
    found = frame(outcomes)
    sections = [Section("", text(found), caption(study, outcomes))]
    visits = exploration.table(finished(outcomes))
    if len(visits):
        sections.append(Section("Exploration", visits, exploration.LEGEND))
    write(found, sections, directory)
    plots.curves(finished(outcomes), directory / "curves.png")
    plots.exploration(finished(outcomes), directory / "exploration.png")
    return sections


def write(found: pd.DataFrame, sections: list[Section], directory: Path) -> None:
    """Write what was found as table.csv, in numbers, and the sections as table.md."""
    numbers = pd.DataFrame([in_numbers(row) for row in found.to_dict("records")])
    with whole(directory / "table.csv") as partial:
        numbers.to_csv(partial, index=False, float_format="%.4f")
    with whole(directory / "table.md") as partial:
        partial.write_text("\n".join(section.markdown() for section in sections), encoding="utf-8")


def mean_alone(over: OverSeeds) -> str:
    """Return a mean over seeds without its deviation."""
    return over.or_diverged(figure(over.mean))
