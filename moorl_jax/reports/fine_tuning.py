"""What online fine-tuning does to a score: each number defined here, for all tables, pictures and pages.

before      the score when offline training ends
drop        how far below that the score falls until it is back: 0 where it never does
back after  env steps until it is first back at `before` or above, 0 where it never falls, infinite where it stays below
area        under the score's curve, straight between evaluations, per env step: begins with `before`
regret      1 - area / 100: 0 for a score of 100 from the first env step on, 1 for one of 0 (Cal-QL, arXiv 2303.05479)
last        the score at the last evaluation, which is the headline
best        the highest score of all evaluations, which only an oracle would pick

Of a seed that diverged all but `before` are NaN. Each is a seed's own number, not one of the mean curve.
"""

from typing import Any

import numpy as np
import pandas as pd

from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import NO_SOURCE, Result
from moorl_jax.reports.statistics import GOAL, interval

LEGEND = (
    "Fine-tuning, mean over seeds: the dataset's mean score; the regime, which is superior where that lies below the "
    "95 % interval of the scores before fine-tuning (Student's), inferior where above, else comparable (arXiv "
    "2510.01460); the score before; how far it drops below that until it is back; env steps until it is back, the "
    "median over seeds; area under the score's curve per env step; regret, 1 - area / 100; the final score, of the "
    "last policy; the best of all evaluations, which only an oracle would pick. A small drop may be an evaluation's "
    "noise."
)


def per_seed(result: Result) -> pd.DataFrame:
    """Return a row per seed with the numbers above, but for `regret`, and the dataset's mean score.

    `area`, `drop` and `back_after` are NaN of a run without env steps, and what needs `before` where nothing was
    learned offline. A run that was not evaluated has NaN everywhere.
    """
    task, data = result.task, result.config["source"] != NO_SOURCE
    rows = []
    for seed, curve in result.curves.groupby("seed", sort=False):
        offline, online = curve[curve["env_steps"] == 0], curve[curve["env_steps"] > 0]
        before = offline["score"].iloc[-1] if len(offline) else np.nan
        last = curve["score"].iloc[-1]
        drop, back = fall(before, online["env_steps"].to_numpy(), online["score"].to_numpy())
        rows.append(
            {
                "task": task.name,
                "seed": seed,
                "dataset": task.score(result.provenance["dataset_mean_return"]) if data else np.nan,
                "learned_offline": task.evaluated and len(offline) > 0,
                "acted": len(online) > 0,
                "comparable": task.comparable,
                "before": before,
                "drop": drop,
                "back_after": back,
                "area": area(curve) if len(online) else np.nan,
                "last": last,
                "best": np.nan if np.isnan(last) else curve["score"].max(),
            }
        )
    return pd.DataFrame(rows)


def fall(before: float, steps: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Return a seed's `drop` and `back after`, of the (evaluations,) after the switch."""
    if np.isnan(before) or np.isnan(scores).any() or not len(scores):
        return np.nan, np.nan
    fallen = np.maximum.accumulate(scores < before)
    if not fallen.any():
        return 0.0, 0.0
    steps, scores = steps[fallen], scores[fallen]
    back = np.flatnonzero(scores >= before)
    until = scores[: back[0]] if len(back) else scores
    return float(before - until.min()), float(steps[back[0]]) if len(back) else np.inf


def area(curve: pd.DataFrame) -> float:
    """Return a seed's `area`; of a curve that spans no env steps its last score."""
    steps, scores = curve["env_steps"].to_numpy(float), curve["score"].to_numpy()
    return float(np.trapezoid(scores, steps) / np.ptp(steps)) if np.ptp(steps) else float(scores[-1])


def regime(before: np.ndarray, dataset: float) -> str:
    """Return which is better, the policies trained offline or the data, a dash where that cannot be said."""
    if len(before) < 2 or np.isnan(dataset) or np.isnan(before).any():
        return DASH
    _, low, high = interval(before)
    return "superior" if dataset < low else "inferior" if dataset > high else "comparable"


def summary(seeds: pd.DataFrame) -> dict[str, Any]:
    """Return the numbers of a run's seeds, scores as OverSeeds; `seeds` are rows of `per_seed`."""
    first = seeds.iloc[0]
    # NaN of a run that had no such phase does not mean that it diverged.
    learned = seeds if first["learned_offline"] else seeds.iloc[:0]
    tuned, acted = (part if first["acted"] else part.iloc[:0] for part in (learned, seeds))
    area = OverSeeds.of(acted["area"])
    return {
        "dataset": first["dataset"],
        "regime": regime(learned["before"].to_numpy(), first["dataset"]),
        "before": OverSeeds.of(learned["before"]),
        "drop": OverSeeds.of(tuned["drop"]),
        "back after": float(tuned["back_after"].median(skipna=False)) if len(tuned) else np.nan,
        "area": area,
        "regret": 1.0 - area.mean / GOAL if first["comparable"] else np.nan,
        "final": OverSeeds.of(seeds["last"]),
        "best": OverSeeds.of(seeds["best"]),
    }


NONE = OverSeeds.of([])
UNFINISHED = {"dataset": np.nan, "regime": DASH, "before": NONE, "drop": NONE, "back after": np.nan, "area": NONE,
              "regret": np.nan, "final": NONE, "best": NONE}  # fmt: skip  #: the summary of no seeds


def frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per task and agent; `rows` have a row per seed, an `agent` and what `per_seed` returns."""
    return pd.DataFrame(
        [
            {"task": task, "agent": agent, **summary(seeds)}
            for (task, agent), seeds in rows.groupby(["task", "agent"], sort=False)
        ]
    )


def text(found: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a person reads it: what stands before these numbers, and they."""
    named = found.columns[: found.columns.get_loc("dataset")]
    return pd.DataFrame(
        {
            **{name: found[name] for name in named},
            "dataset mean": found["dataset"].map(lambda score: DASH if np.isnan(score) else f"{score:.1f}"),
            "regime": found["regime"],
            "before": found["before"].map(str),
            "drop": found["drop"].map(lambda over: over.or_diverged(f"{over.mean:.1f}")),
            "back after": found["back after"].map(back),
            "area": found["area"].map(str),
            "regret": found["regret"].map(lambda share: DASH if np.isnan(share) else f"{share:.2f}"),
            "final": found["final"].map(str),
            "best (oracle)": found["best"].map(lambda over: over.or_diverged(f"{over.mean:.1f}")),
        }
    )


def back(steps: float) -> str:
    """Return the words for env steps until a score is back."""
    return DASH if np.isnan(steps) else "never" if np.isinf(steps) else f"{steps:,.0f}"
