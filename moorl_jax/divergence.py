"""Divergence: how it is detected, and how results over seeds are shown when some seeds diverged.

A seed has diverged when its policy's actions are not finite. MuJoCo would ignore such an action and go on as if nothing
had happened, and dm_control raises. So the seed takes no further step, and its return and score are NaN, in memory, in
`curves.csv` and in tables. A NaN score has one other meaning: agents without an offline phase have no score before
their first env step.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

DASH = "–"  #: shown where there is no number


def finite(actions: np.ndarray) -> np.ndarray:
    """Return which of the actions, (..., action size), are finite, (...)."""
    return np.isfinite(actions).all(axis=-1)


@dataclass(frozen=True)
class OverSeeds:
    """A number over seeds, or how many of them diverged: the mean of the rest would be misleading."""

    mean: float  #: NaN if a seed diverged or there are none
    std: float  #: of the population; NaN for a single seed, too
    seeds: int
    diverged: int  #: number of diverged seeds

    @classmethod
    def of(cls, values: Iterable[float]) -> "OverSeeds":
        """Summarize one value per seed, NaN for those that diverged."""
        array = np.asarray(list(values), float)
        diverged = int(np.isnan(array).sum())
        mean = float(array.mean()) if len(array) else np.nan
        return cls(mean, float(array.std()) if len(array) > 1 else np.nan, len(array), diverged)

    def or_diverged(self, figure: str) -> str:
        """Return the text, or `diverged 1/3` in its place if one of three seeds diverged; a dash for no seeds."""
        if not self.diverged:
            return figure if self.seeds else DASH
        return "diverged" if self.seeds == 1 else f"diverged {self.diverged}/{self.seeds}"

    def __str__(self) -> str:
        return self.or_diverged(f"{self.mean:.1f}" + ("" if np.isnan(self.std) else f" ± {self.std:.1f}"))
