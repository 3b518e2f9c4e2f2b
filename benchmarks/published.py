"""Scores others have published, to stand beside ours: facts with their sources, from published_scores.csv."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("published_scores.csv")


@dataclass(frozen=True)
class Published:
    """A normalized score on the original dataset, with its source."""

    mean: float
    std: float  #: population standard deviation over seeds
    seeds: int | None  #: None where the source does not tell
    updates: int
    source: str

    def __str__(self) -> str:
        seeds = f"{self.seeds} seeds" if self.seeds else "seeds not told"
        return f"{self.source} ({seeds}, {self.updates:,} updates)"


def published_scores() -> dict[tuple[str, str], Published]:
    """Return the published score of each (task, agent) that has one."""
    table = pd.read_csv(FILE)
    return {
        (row["task"], row["agent"]): Published(
            row["mean"],
            row["std"],
            None if pd.isna(row["seeds"]) else int(row["seeds"]),
            row["updates"],
            row["source"],
        )
        for row in table.to_dict("records")
    }
