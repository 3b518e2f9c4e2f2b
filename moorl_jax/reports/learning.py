"""Our learning curves on OGBench beside those that papers published, at equal numbers of offline updates."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from moorl_jax.data.sources import MADE_HERE
from moorl_jax.divergence import DASH
from moorl_jax.engine.results import Result
from moorl_jax.reports.collection import label
from moorl_jax.reports.papers import Made
from moorl_jax.reports.statistics import interval
from moorl_jax.tasks import TASKS
from moorl_jax.tasks.ogbench_sets import UNSOLVED

FILE = Path(__file__).with_name("published_curves.csv")
TITLES = {"qc": "Beside Q-chunking's curves", "qam": "Beside QAM's curves"}
NOTE = (
    "Success in per cent at equal numbers of offline updates: mean and 95% interval over seeds, ours, then the "
    "published one. Inside, above, below: where our mean lies relative to the published interval. p: Welch's t test, "
    "two-sided, where the published seeds are known and both have two or more. Our intervals are Student's. Data made "
    "here (recipe) is by OGBench's procedure, and not its own. Rewards: sparse ones are -1 until all is done, in both; "
    "OGBench's own are -1 for each part that is not done, in both."
)
PAPERS = {
    "qc": "Q-chunking (Li, Zhou and Levine 2025, arXiv 2507.07969), curves of its repository ColinQiyangLi/qc with its "
    "own intervals.",
    "qam": "QAM, results of its repository ColinQiyangLi/qam, 12 seeds; the intervals are Student's. Its agents have "
    "ten critics and settings of their own and, on manipulation, take actions in chunks of five.",
}


def make(results: list[Result]) -> Made:
    """Return the comparison as `papers.make` does: a section per paper, all numbers, and the legend."""
    numbers = compare(results)
    sections = [
        (title, _text(numbers[numbers["paper"] == paper]))
        for paper, title in TITLES.items()
        if (numbers["paper"] == paper).any()
    ]
    legend = "\n\n".join([NOTE, *PAPERS.values(), "" if sections else "Ours: no runs of these tasks and agents yet."])
    return sections, numbers, legend.strip()


def compare(results: list[Result]) -> pd.DataFrame:
    """Return a row per published point that some run of ours reached: both means and intervals, p, and the word."""
    published = pd.read_csv(FILE, dtype={"scores": str})
    columns = ["paper", "task", "agent", "updates", "source", "seeds", "mean", "low", "high",
               "published seeds", "published mean", "published low", "published high", "p", "where"]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for result in _largest(results):
        curves = result.curves[result.curves["phase"] == "offline"]
        of_ours = (published["task"] == result.config["task"]) & (published["agent"] == label(result))
        for point in published[of_ours].to_dict("records"):
            ours = curves.loc[curves["updates"] == point["updates"], "score"].to_numpy()
            if not len(ours):
                continue
            theirs = np.array(point["scores"].split(), float) if isinstance(point["scores"], str) else np.array([])
            mean, low, high = interval(theirs) if len(theirs) else (point["mean"], point["low"], point["high"])
            rows.append(
                dict(zip(("mean", "low", "high"), interval(ours), strict=True))
                | {name: point[name] for name in ("paper", "task", "agent", "updates")}
                | {"source": result.config["source"], "seeds": len(ours), "published seeds": len(theirs) or None}
                | {"published mean": mean, "published low": low, "published high": high}
                | {"p": _welch(ours, theirs), "where": where(float(np.mean(ours)), low, high)}
            )
    return pd.DataFrame(rows, columns=columns).sort_values(["paper", "task", "agent", "updates"], ignore_index=True)


def where(mean: float, low: float, high: float) -> str:
    """Say where a mean lies relative to an interval."""
    if np.isnan(mean):
        return "diverged"
    return "below" if mean < low else "above" if mean > high else "inside"


def _welch(ours: np.ndarray, theirs: np.ndarray) -> float:
    if min(len(ours), len(theirs)) < 2:
        return np.nan
    if np.std(ours) == np.std(theirs) == 0.0:
        return float(np.mean(ours) == np.mean(theirs))
    return float(stats.ttest_ind(ours, theirs, equal_var=False).pvalue)


def _largest(results: list[Result]) -> list[Result]:
    """Return one result per task and agent: of original data if there is one, with most updates, seeds, the newest."""
    best: dict[tuple[str, str], tuple[tuple[Any, ...], Result]] = {}
    for result in results:
        if result.config["protocol"] not in ("offline", "offline-to-online"):
            continue
        rank = (
            result.config["source"] not in MADE_HERE,
            result.plan.updates,
            len(result.config["seeds"]),
            result.provenance["finished"],
        )
        key = result.config["task"], label(result)
        if key not in best or rank > best[key][0]:
            best[key] = rank, result
    return [result for _, result in best.values()]


def _text(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as text, means with their intervals."""
    return pd.DataFrame(
        {
            "task": numbers["task"],
            "rewards": ["sparse" if TASKS[task].rewards == UNSOLVED else "OGBench's" for task in numbers["task"]],
            "agent": numbers["agent"],
            "updates": numbers["updates"].map("{:,}".format),
            "data": numbers["source"],
            "seeds": numbers["seeds"].astype(str),
            "ours": [_spread(*row) for row in numbers[["mean", "low", "high"]].to_numpy()],
            "published": [
                _spread(*row) for row in numbers[["published mean", "published low", "published high"]].to_numpy()
            ],
            "p": numbers["p"].map(lambda p: DASH if np.isnan(p) else f"{p:.3f}"),
            "": numbers["where"],
        }
    )


def _spread(mean: float, low: float, high: float) -> str:
    return DASH if np.isnan(mean) else f"{mean:.1f}" + ("" if np.isnan(low) else f" [{low:.1f}, {high:.1f}]")
