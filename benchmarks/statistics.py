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

    def statistic(drawn: list[Pair]) -> Any:
        return _probability(drawn[: len(pairs)]) - _probability(drawn[len(pairs) :])

    return _bootstrapped(statistic, [*pairs, *others])


def _probability(pairs: list[Pair]) -> Any:
    """Return the mean of P(x > y) over the pairs; scores are (..., seeds)."""
    of_pairs = []
    for x, y in pairs:
        one, other = x[..., :, None], y[..., None, :]
        of_pairs.append(((one > other) + 0.5 * (one == other)).mean(axis=(-2, -1)))
    return np.mean(of_pairs, axis=0)


def _bootstrapped(statistic: Callable[[list[Pair]], Any], pairs: list[Pair]) -> Estimate:
    """Estimate a statistic of pairs, its interval by drawing seeds anew within every run (stratified bootstrap).

    A run that is in several pairs, there as one and the same array, is drawn once for all of them.
    """
    runs = {id(scores): scores for pair in pairs for scores in pair}
    places = {identity: place for place, identity in enumerate(runs)}

    def of_runs(*drawn: np.ndarray, axis: int = -1) -> Any:  # noqa: ARG001
        return statistic([(drawn[places[id(x)]], drawn[places[id(y)]]) for x, y in pairs])

    samples = list(runs.values())
    value = float(of_runs(*samples))
    if min(map(len, samples)) < 2:
        return Estimate(value, np.nan, np.nan)
    found = stats.bootstrap(
        samples, of_runs, n_resamples=RESAMPLES, vectorized=True, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return Estimate(value, float(found.low), float(found.high))
