"""Statistics for few seeds: aggregates over tasks and probabilities of improvement, with intervals.

After Agarwal et al. 2021 (arXiv 2108.13264). Scores are normalized to 0 to 100.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 2_000
LEVEL = 0.95  #: of intervals
GOAL = 100.0  #: the score from which on a run has no optimality gap

Scores = list[np.ndarray]
"""The scores of one agent's runs, (..., seeds), a task each."""

Pair = tuple[np.ndarray, np.ndarray]
"""The scores of two runs on one task, (seeds,) each."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, which is NaN where a run has one seed."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}" + ("" if np.isnan(self.low) else f" [{self.low:.2f}, {self.high:.2f}]")


UNKNOWN = Estimate(np.nan, np.nan, np.nan)


def mean(scores: Scores) -> Any:
    """Return the mean over tasks of their means over seeds."""
    return np.mean([task.mean(axis=-1) for task in scores], axis=0)


def median(scores: Scores) -> Any:
    """Return the median over tasks of their means over seeds."""
    return np.median([task.mean(axis=-1) for task in scores], axis=0)


def interquartile_mean(scores: Scores) -> Any:
    """Return the mean of the middle half of all runs, whatever their task."""
    return stats.trim_mean(np.concatenate(scores, axis=-1), 0.25, axis=-1)


def optimality_gap(scores: Scores) -> Any:
    """Return by how much runs fall short of 100, those above it not at all."""
    return GOAL - np.minimum(np.concatenate(scores, axis=-1), GOAL).mean(axis=-1)


AGGREGATES: dict[str, Callable[[Scores], Any]] = {
    "IQM": interquartile_mean,
    "mean": mean,
    "median": median,
    "optimality gap": optimality_gap,
}


def aggregate(name: str, scores: Scores) -> Estimate:
    """Return one of AGGREGATES over an agent's tasks, its interval by a bootstrap stratified by task.

    It is NaN if a run diverged: the mean of the others alone would flatter the agent.
    """
    if any(np.isnan(task).any() for task in scores):
        return UNKNOWN
    return _bootstrapped(AGGREGATES[name], scores)


def profile(scores: Scores, thresholds: np.ndarray) -> list[Estimate]:
    """Return the performance profile: the share of runs above each threshold. A diverged run is above none."""

    def above(threshold: float) -> Callable[[Scores], Any]:
        return lambda drawn: np.mean([(task > threshold).mean(axis=-1) for task in drawn], axis=0)

    return [_bootstrapped(above(threshold), scores) for threshold in thresholds]


def improvement(pairs: list[Pair], together: list[str] | None = None) -> Estimate:
    """Return the probability of improvement: that a run of the first kind scores above one of the second.

    Equal scores count half; the mean over pairs. 0.5 means no difference. `together` names a group for each pair: runs
    of a group have the same seeds, which share more than their number and are drawn once for all of them.
    """
    return _of_pairs(_probability, pairs, together)


def difference(pairs: list[Pair], others: list[Pair], together: list[str] | None = None) -> Estimate:
    """Return how much larger the probability of improvement is in `pairs` than in `others`.

    `together` names the groups of both, one after the other.
    """

    def statistic(drawn: list[Pair]) -> Any:
        return _probability(drawn[: len(pairs)]) - _probability(drawn[len(pairs) :])

    return _of_pairs(statistic, [*pairs, *others], together)


def _probability(pairs: list[Pair]) -> Any:
    """Return the mean of P(x > y) over the pairs; scores are (..., seeds), and NaN, which diverged, is below all."""
    of_pairs = []
    for x, y in pairs:
        one, other = (np.where(np.isnan(s), -np.inf, s) for s in (x[..., :, None], y[..., None, :]))
        of_pairs.append(((one > other) + 0.5 * (one == other)).mean(axis=(-2, -1)))
    return np.mean(of_pairs, axis=0)


def _of_pairs(statistic: Callable[[list[Pair]], Any], pairs: list[Pair], together: list[str] | None) -> Estimate:
    """Estimate a statistic of pairs by drawing seeds, once for each run, or for each group of runs with as many."""
    groups = [(name, name) for name in together] if together else [(id(x), id(y)) for x, y in pairs]
    keys = [((one, len(x)), (other, len(y))) for (one, other), (x, y) in zip(groups, pairs, strict=True)]
    seeds = {key: np.arange(key[1]) for both in keys for key in both}
    places = {key: place for place, key in enumerate(seeds)}

    def of_seeds(drawn: Scores) -> Any:
        return statistic(
            [(x[drawn[places[one]]], y[drawn[places[other]]]) for (one, other), (x, y) in zip(keys, pairs, strict=True)]
        )

    return _bootstrapped(of_seeds, list(seeds.values()))


def interval(scores: np.ndarray) -> tuple[float, float, float]:
    """Return the mean of (seeds,) and the ends of Student's interval; one seed has no ends, a diverged one no mean."""
    mean = float(np.mean(scores))
    if len(scores) < 2:
        return mean, np.nan, np.nan
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(scores) - 1) * np.std(scores, ddof=1) / np.sqrt(len(scores)))
    return mean, mean - reach, mean + reach


def _bootstrapped(statistic: Callable[[Scores], Any], samples: Scores) -> Estimate:
    """Estimate a statistic of samples, its interval by drawing seeds anew within every one (stratified bootstrap)."""
    value = float(statistic(samples))
    if min(map(len, samples)) < 2:
        return Estimate(value, np.nan, np.nan)
    found = stats.bootstrap(
        samples,
        lambda *drawn, **_axis: statistic(list(drawn)),
        n_resamples=RESAMPLES,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(found.low), float(found.high))
