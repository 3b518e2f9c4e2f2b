"""What generated pages share."""

from functools import cache
from pathlib import Path

import pandas as pd

from moorl_jax.engine.results import Result
from moorl_jax.reports.collection import find_results

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"

Pages = dict[str, str | Path]
"""What the site has beside the files of docs/: text, or a file, by its place in the site."""


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown; a bar within a cell would end it."""
    text = table.astype(str).replace(r"\|", "/", regex=True)
    return text.to_markdown(index=False, disable_numparse=True)


@cache
def finished() -> list[Result]:
    """Return all results below results/cells."""
    return find_results([RESULTS / "cells"])
