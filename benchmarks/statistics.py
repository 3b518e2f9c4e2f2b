"""What a few seeds can tell: how likely one run beats another, and how sure that is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 2_000

Pair = tuple[np.ndarray, np.ndarray]
"""The scores of two runs on one task, (seeds,) each."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, which is NaN where a run has one seed."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def improvement(pairs: list[Pair]) -> Estimate:
    """Return the probability of improvement: that a run of the first kind scores above one of the second.

    Equal scores count half; the mean over pairs (Agarwal et al. 2021, arXiv 2108.13264). 0.5 means no difference.
    """
    return _bootstrapped(_probability, pairs)


def difference(pairs: list[Pair], others: list[Pair]) -> Estimate:
    """Return how much larger the probability of improvement is in `pairs` than in `others`."""

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        first, second = samples[: 2 * len(pairs)], samples[2 * len(pairs) :]
        return _probability(*first, axis=axis) - _probability(*second, axis=axis)

    return _bootstrapped(statistic, [*pairs, *others])


def _probability(*samples: np.ndarray, axis: int = -1) -> np.ndarray:  # noqa: ARG001
    """Return the mean of P(x > y) over x, y, x, y, ...; samples are (..., seeds)."""
    of_pairs = []
    for x, y in zip(samples[::2], samples[1::2], strict=True):
        one, other = x[..., :, None], y[..., None, :]
        of_pairs.append(((one > other) + 0.5 * (one == other)).mean(axis=(-2, -1)))
    return np.mean(of_pairs, axis=0)


def _bootstrapped(statistic: Callable[..., Any], pairs: list[Pair]) -> Estimate:
    """Estimate a statistic of pairs, its interval by drawing seeds anew within every run (stratified bootstrap)."""
    samples = [scores for pair in pairs for scores in pair]
    value = float(statistic(*samples))
    if min(map(len, samples)) < 2:
        return Estimate(value, np.nan, np.nan)
    drawn = stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, vectorized=True, method="percentile", rng=np.random.default_rng(0)
    )
    return Estimate(value, float(drawn.confidence_interval.low), float(drawn.confidence_interval.high))
