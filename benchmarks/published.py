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
    seeds: int
    updates: int
    source: str


def published_scores() -> dict[tuple[str, str], Published]:
    """Return the published score of each (task, agent) that has one."""
    table = pd.read_csv(FILE)
    return {
        (row["task"], row["agent"]): Published(row["mean"], row["std"], row["seeds"], row["updates"], row["source"])
        for row in table.to_dict("records")
    }
