"""Choosing among the policies of a sweep by online episodes: the score one ends up with, by how many one plays.

Whoever reports the best of all settings has played thousands of episodes to find it. Two answers to what fewer give:

*Expected online performance* (Kurenkov and Kolesnikov 2022, arXiv 2110.04156): k of the n policies are picked at
random, each is evaluated, and the best is kept. With their mean scores sorted, v_1 <= ... <= v_n,

    EOP(k) = sum_i v_i ((i / n)^k - ((i - 1) / n)^k)

*A bandit* (Jackson et al. 2025, arXiv 2504.11453): K of the policies are the arms, a pull is one episode, and an upper
confidence bound chooses the next arm. After each pull the policy with the highest mean so far is recommended; what
counts is its mean over all saved episodes. The paper's code was not at hand. The bound is UCB1's (Auer, Cesa-Bianchi
and Fischer 2002), mean + range sqrt(2 ln t / pulls), with the range of the scores seen so far in place of UCB1's 1.

An episode is drawn with replacement from those of a policy's last evaluation. Intervals are bootstrapped over policies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from moorl_jax.divergence import DASH
from moorl_jax.engine.episodes import final_returns
from moorl_jax.engine.results import Result
from moorl_jax.reports.statistics import LEVEL, Estimate

TRIALS = 1_000  #: of the bandit, for its mean
RESAMPLES = 200  #: of the policies, for intervals
TRIALS_EACH = 20  #: of the bandit in each resample


@dataclass(frozen=True)
class Sweep:
    """The policies that one agent's settings and seeds made on one task, within one budget."""

    task: str
    agent: str
    settings: int
    evaluated: int  #: episodes of each policy's last evaluation
    scores: np.ndarray  #: (policies, episodes); a policy that diverged has the lowest score of all


@dataclass(frozen=True)
class Curve:
    """Scores by the number of online episodes, each with its interval."""

    episodes: np.ndarray  #: (points,)
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def at(self, episodes: int) -> Estimate:
        """Return the score after that many, UNKNOWN where the curve has no such point."""
        place = np.flatnonzero(self.episodes == episodes)
        columns = (self.mean, self.low, self.high)
        return Estimate(*(float(column[place[0]]) if len(place) else np.nan for column in columns))


def sweeps(results: Sequence[Result]) -> list[Sweep]:
    """Return the results' policies, put together by task, agent, budget and data; a single policy is no choice.

    Raises MoorlError for a result without the returns of its last evaluation.
    """
    keys = [(r.config["task"], r.config["agent"], r.config["source"], *(r.config["protocol"], r.plan)) for r in results]
    found = []
    for key in dict.fromkeys(keys):
        here = [result for result, its in zip(results, keys, strict=True) if its == key]
        returns = np.concatenate([final_returns(result) for result in here])
        scores = np.vectorize(here[0].task.score)(returns)
        if len(scores) > 1 and not np.isnan(scores).all():
            settings = len({tuple(result.config["overrides"]) for result in here})
            scores = np.where(np.isnan(scores), np.nanmin(scores), scores)
            found.append(Sweep(key[0], key[1], settings, scores.shape[1], scores))
    return found


def expected_best(values: np.ndarray, picked: np.ndarray) -> np.ndarray:
    """Return EOP of each number of `picked` policies, (..., numbers), given their mean scores, (..., policies)."""
    ranked, count = np.sort(values, axis=-1), values.shape[-1]
    places = np.arange(1, count + 1)[:, None]
    weights = (places / count) ** picked - ((places - 1) / count) ** picked
    return ranked @ weights


def expected_online(sweep: Sweep) -> Curve:
    """Return expected online performance, from one policy evaluated to all of them."""
    values, picked = sweep.scores.mean(axis=1), np.arange(1, len(sweep.scores) + 1)
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    return _curve(picked * sweep.evaluated, expected_best(values, picked), expected_best(drawn, picked))


def bandit(sweep: Sweep, arms: int, pulls: int) -> Curve:
    """Return the scores of what the bandit recommends after each pull."""
    rng = np.random.default_rng(0)
    count = len(sweep.scores)
    once = trials(sweep.scores, _arms(np.arange(count)[None].repeat(TRIALS, 0), arms, rng), pulls, rng)
    resampled = rng.integers(count, size=(RESAMPLES, count)).repeat(TRIALS_EACH, 0)
    again = trials(sweep.scores, _arms(resampled, arms, rng), pulls, rng)
    return _curve(np.arange(1, pulls + 1), once.mean(axis=0), again.reshape(RESAMPLES, TRIALS_EACH, -1).mean(axis=1))


def trials(scores: np.ndarray, arms: np.ndarray, pulls: int, rng: np.random.Generator) -> np.ndarray:
    """Return the true mean of what is recommended after each pull, (trials, pulls).

    `scores` are all policies', (policies, episodes); `arms` each trial's policies, (trials, arms).
    """
    rows = np.arange(len(arms))
    truth = scores.mean(axis=1)[arms]
    pulled, total = np.zeros(arms.shape), np.zeros(arms.shape)
    lowest, highest = np.full(len(arms), np.inf), np.full(len(arms), -np.inf)
    recommended = np.empty((len(arms), pulls))
    for pull in range(pulls):
        if pull < arms.shape[1]:
            arm = np.full(len(arms), pull)  # each once, in their order, which is random
        else:
            bonus = (highest - lowest)[:, None] * np.sqrt(2 * np.log(pull) / pulled)
            arm = (total / pulled + bonus).argmax(axis=1)
        score = scores[arms[rows, arm], rng.integers(scores.shape[1], size=len(arms))]
        pulled[rows, arm] += 1
        total[rows, arm] += score
        lowest, highest = np.minimum(lowest, score), np.maximum(highest, score)
        seen = np.where(pulled > 0, total / np.maximum(pulled, 1), -np.inf)
        recommended[:, pull] = truth[rows, seen.argmax(axis=1)]
    return recommended


def table(found: list[Sweep], arms: int, pulls: int) -> pd.DataFrame:
    """Return a row per sweep and number of online episodes: what the bandit and EOP give, and the best of all."""
    rows = []
    for sweep in found:
        chosen, expected = bandit(sweep, arms, pulls), expected_online(sweep)
        points = sorted({n for n in (1, 10, 30, 100, 300, pulls) if n <= pulls} | set(_few(expected.episodes)))
        for episodes in points:
            named = {"task": sweep.task, "agent": sweep.agent, "settings": sweep.settings}
            named |= {"policies": len(sweep.scores), "online episodes": int(episodes)}
            for name, estimate in (("bandit", chosen.at(episodes)), ("EOP", expected.at(episodes))):
                named |= {name: estimate.value, f"{name} low": estimate.low, f"{name} high": estimate.high}
            rows.append(named | {"best of all": float(sweep.scores.mean(axis=1).max())})
    return pd.DataFrame(rows)


def text(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a person reads it."""
    shown = numbers[["task", "agent", "settings", "policies", "online episodes"]].map("{}".format)
    for name in ("bandit", "EOP"):
        columns = numbers[[name, f"{name} low", f"{name} high"]].to_numpy()
        shown[name] = [DASH if np.isnan(mean) else f"{mean:.1f} [{low:.1f}, {high:.1f}]" for mean, low, high in columns]
    return shown.assign(**{"best of all (oracle)": numbers["best of all"].map("{:.1f}".format)})


def legend(arms: int) -> str:
    """Return what the table's figures are."""
    return (
        f"Normalized score of the policy that is chosen after so many online episodes. Bandit: of {arms} policies at "
        "random, by UCB1, an episode at a time (Jackson et al. 2025, arXiv 2504.11453). EOP: expected online "
        "performance, the best of randomly picked policies that are each evaluated by all episodes of an evaluation "
        "(Kurenkov and Kolesnikov 2022, arXiv 2110.04156). In brackets 95 % bootstrap intervals over policies, of "
        "settings and seeds. Best of all: what an oracle would pick. A policy that diverged has the lowest score of "
        f"all. {DASH}: no such number of evaluations, or more episodes than the bandit may play."
    )


def _few(episodes: np.ndarray) -> np.ndarray:
    """Return the points of doubled numbers of policies: 1, 2, 4, ..."""
    return episodes[2 ** np.arange(int(np.log2(len(episodes))) + 1) - 1]


def _arms(policies: np.ndarray, arms: int, rng: np.random.Generator) -> np.ndarray:
    """Return so many of each row's policies in random order, all where there are fewer."""
    return rng.permuted(policies, axis=1)[:, :arms]


def _curve(episodes: np.ndarray, mean: np.ndarray, resampled: np.ndarray) -> Curve:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Curve(episodes, mean, low, high)
