"""Divergence: how it is found where actions are made, and what is said of seeds of which some diverged.

A seed has diverged where its policy's actions are not finite. MuJoCo takes such an action for none at all and pays a
return like any other, dm_control raises; so no such action is taken, and the seed's return and score are NaN: in
memory, in `curves.csv` and in tables of numbers. A NaN among the scores of seeds means nothing else, except
where no seed has such a score at all: the one before env steps, of agents without an offline phase.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

DASH = "–"  #: where there is no figure


def finite(actions: np.ndarray) -> np.ndarray:
    """Tell which of the actions, (..., action size), are finite, (...)."""
    return np.isfinite(actions).all(axis=-1)


@dataclass(frozen=True)
class OverSeeds:
    """A figure of some seeds, or that some of them diverged: a mean over those that are left would not be theirs."""

    mean: float  #: NaN where a seed diverged, and of no seeds
    std: float  #: the population's; NaN too of a single seed
    seeds: int
    diverged: int  #: how many of them

    @classmethod
    def of(cls, values: Iterable[float]) -> "OverSeeds":
        """Summarize a value a seed, NaN of those that diverged."""
        array = np.asarray(list(values), float)
        diverged = int(np.isnan(array).sum())
        mean = float(array.mean()) if len(array) else np.nan
        return cls(mean, float(array.std()) if len(array) > 1 else np.nan, len(array), diverged)

    def told(self, figure: str) -> str:
        """Return the figure, or `diverged 1/3` in its place where one of three seeds did; a dash of no seeds."""
        if not self.diverged:
            return figure if self.seeds else DASH
        return "diverged" if self.seeds == 1 else f"diverged {self.diverged}/{self.seeds}"

    def __str__(self) -> str:
        return self.told(f"{self.mean:.1f}" + ("" if np.isnan(self.std) else f" ± {self.std:.1f}"))
