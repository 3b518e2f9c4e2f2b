"""What a study is, and its table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.budgets import Budget
from benchmarks.runner import Cell, Outcome, sourced
from benchmarks.tables import DASH, MADE_HERE
from moorl_jax.engine.results import NO_SOURCE, Result
from moorl_jax.tasks import expand


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

    def cells(self, tasks: str, budget: Budget, seeds: int, source: str, policies: Path | None) -> list[Cell]:
        """Return the study's cells, task by task; raise MoorlError if one cannot be run."""
        numbers = tuple(range(seeds))
        cells = [
            Cell(task, v.agent, NO_SOURCE, numbers, budget, self.protocol, v.changes, v.label)
            for task in expand(tasks)
            for v in self.variants
        ]
        return [sourced(cell, source, policies) for cell in cells]


def frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return a row per task and variant, scores normalized.

    `before` is the score at the end of the offline phase, `final` at the last evaluation, `online mean` the mean over
    the online phase's evaluations, which is the area under its curve per env step; each the mean over seeds. `minutes`
    is the wall-clock of all seeds together.
    """
    rows = []
    for outcome in outcomes:
        row: dict[str, object] = {"task": outcome.cell.task.name, "variant": outcome.cell.label}
        result = outcome.result
        row["before"] = _mean(result.offline_scores()) if result else np.nan
        final, online = (result.last_scores(), _online_means(result)) if result else (np.array([]), np.array([]))
        row |= {
            "final": _mean(final),
            "final std": _std(final),
            "online mean": _mean(online),
            "online std": _std(online),
        }
        row["minutes"] = result.provenance["seconds"]["total"] / 60 if result else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def text(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a person reads it."""

    def figure(value: float) -> str:
        return DASH if np.isnan(value) else f"{value:.1f}"

    def spread(row: pd.Series, name: str, std: str) -> str:
        return DASH if np.isnan(row[name]) else f"{row[name]:.1f} ± {row[std]:.1f}"

    return pd.DataFrame(
        {
            "task": numbers["task"],
            "variant": numbers["variant"],
            "before": numbers["before"].map(figure),
            "final": [spread(row, "final", "final std") for _, row in numbers.iterrows()],
            "online mean": [spread(row, "online mean", "online std") for _, row in numbers.iterrows()],
            "minutes": numbers["minutes"].map(figure),
        }
    )


def caption(study: Study, outcomes: list[Outcome]) -> str:
    """Say what was asked, and what the figures are."""
    cell = outcomes[0].cell
    updates, env_steps = cell.spend
    sources = sorted({outcome.cell.source for outcome in outcomes} - {NO_SOURCE})
    data = f"{', '.join(sources)} data" if sources else "no data"
    regenerated = " (regenerated, not D4RL's)" if MADE_HERE & set(sources) else ""
    return (
        f"{study.question} Normalized scores, mean ± population standard deviation over {len(cell.seeds)} seeds, "
        f"{cell.episodes} episodes each; {data}{regenerated}; {updates:,} offline updates where the "
        f"agent has an offline phase, {env_steps:,} env steps. Before: at the end of the offline phase. Final: at the "
        "last evaluation. Online mean: over all evaluations of the online phase. Minutes: wall-clock of all seeds."
    )


def write(study: Study, outcomes: list[Outcome], directory: Path) -> pd.DataFrame:
    """Write table.csv and table.md and return the table for people."""
    directory.mkdir(parents=True, exist_ok=True)
    numbers = frame(outcomes)
    numbers.to_csv(directory / "table.csv", index=False, float_format="%.4f")
    table = text(numbers)
    markdown = table.to_markdown(index=False, disable_numparse=True)
    (directory / "table.md").write_text(f"{markdown}\n\n{caption(study, outcomes)}\n")
    return table


def _online_means(result: Result) -> np.ndarray:
    online = result.curves[result.curves["env_steps"] > 0]
    return online.groupby("seed", sort=False)["score"].mean().to_numpy()


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _std(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else np.nan
