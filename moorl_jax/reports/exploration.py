"""What the env steps of a training visited, counted in cells: `engine.coverage` defines the numbers."""

import numpy as np
import pandas as pd

from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import Result

VISITED = "visited"
_COLUMNS = {
    "cells visited": (VISITED, 1),
    "not in the data": ("visited_new", 1),
    "from the data, %": ("data_distance", 100),
}
LEGEND = (
    "Exploration: cells of the state space that the env steps visited, how many of them the dataset lacks, and the "
    "total variation distance between both distributions over cells, 100 % where they share nothing; mean ± population "
    "standard deviation over seeds. A cell is a square of one unit of a maze, or a robot's pose, half a metre or "
    "radian wide."
)


def table(finished: list[tuple[str, Result]]) -> pd.DataFrame:
    """Return a row per result that counted cells, as text: its numbers at the end. `finished` has labels, too."""
    rows = []
    for label, result in finished:
        if VISITED in result.curves:
            ends = result.curves.groupby("seed", sort=False).last()
            row = {"task": result.task.name, "agent": label}
            for title, (column, scale) in _COLUMNS.items():
                row[title] = _text(OverSeeds.of(scale * ends[column] if column in ends else []))
            rows.append(row)
    return pd.DataFrame(rows)


def _text(over: OverSeeds) -> str:
    deviation = "" if np.isnan(over.std) else f" ± {over.std:,.0f}"
    return f"{over.mean:,.0f}{deviation}" if over.seeds else DASH
