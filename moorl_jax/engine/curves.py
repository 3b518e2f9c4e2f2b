"""Learning curves: one row a seed and evaluation."""

from pathlib import Path

import pandas as pd

CURVES = "curves.csv"
LEADING = ["seed", "phase", "updates", "env_steps", "seconds", "return", "score"]  #: the columns that all have


def joined(records: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the curves of some evaluations, each a row a seed, in order."""
    rows = pd.concat(records, ignore_index=True) if records else pd.DataFrame(columns=LEADING)
    return rows[LEADING + [column for column in rows if column not in LEADING]]


def write_curves(curves: pd.DataFrame, path: Path) -> None:
    """Write curves as CSV, numbers with seven digits."""
    curves.to_csv(path, index=False, float_format="%.7g")
