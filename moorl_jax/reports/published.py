"""Scores others have published, to stand beside ours: facts with their sources, from published_scores.csv."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("published_scores.csv")
OFFLINE = ("corl", "vd4rl", "rebrac")  #: tables of offline scores, no task and agent in two of them


@dataclass(frozen=True)
class Published:
    """A normalized score on the original dataset, with its source. NaN or None where the source does not say."""

    mean: float
    std: float  #: population standard deviation over seeds
    seeds: int | None
    updates: int | None  #: offline
    env_steps: int | None  #: online
    source: str

    def __str__(self) -> str:
        seeds = f"{self.seeds} seeds" if self.seeds else "seeds unknown"
        spent = [
            f"{count:,} {unit}" for count, unit in ((self.updates, "updates"), (self.env_steps, "env steps")) if count
        ]
        return f"{self.source} ({', '.join([seeds, *spent])})"


def published_scores() -> dict[tuple[str, str], Published]:
    """Return the published offline score of each (task, agent) that has one."""
    return {key: score for table in OFFLINE for key, score in published_table(table, "offline").items()}


def published_table(name: str, phase: str) -> dict[tuple[str, str], Published]:
    """Return a published table's scores by (task, agent), at the end of a phase: `offline` or `online`.

    Agents are called as ours are where we have them, and by their authors' names where we do not.
    """
    rows = pd.read_csv(FILE)
    rows = rows[(rows["table"] == name) & (rows["phase"] == phase)]
    return {
        (row["task"], row["agent"]): Published(
            row["mean"],
            row["std"],
            _count(row["seeds"]),
            _count(row["updates"]),
            _count(row["env_steps"]),
            row["source"],
        )
        for row in rows.to_dict("records")
    }


def _count(value: float) -> int | None:
    return None if pd.isna(value) else int(value)
