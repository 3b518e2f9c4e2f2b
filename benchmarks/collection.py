"""Finished results, wherever they lie, as one table of runs."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from moorl_jax.engine import results
from moorl_jax.engine.results import Result
from moorl_jax.errors import MoorlError, one_line

BUDGET = ["protocol", "updates", "env_steps"]  #: what runs that are compared have in common


def find_results(places: list[Path]) -> list[Result]:
    """Return the finished results in directories and all below them, in the order of their names.

    What is unfinished is passed over; what cannot be read is left out, and a line says so. Raises MoorlError for a
    directory that is not there.
    """
    found: dict[Path, Result] = {}
    for place in places:
        if not place.is_dir():
            raise MoorlError(f"{place}: there is no such directory of results")
        for directory in results.below(place):
            try:
                found[directory] = results.read(directory)
            except MoorlError as error:
                print("left out:", one_line(error, 1_000), file=sys.stderr)
    return list(found.values())


def runs(found: list[Result]) -> pd.DataFrame:
    """Return a row per run, that is per seed of each result.

    `agent` carries in brackets what of its settings was `changed` by hand; `learned_offline` tells whether it spent its
    `updates`, over which some pass. `before`, `last` and `best` are normalized scores: at the end of the offline phase,
    at the last evaluation, NaN where that is what a run ended in, and the best one, which such a run has none of.
    """
    rows = []
    for number, result in enumerate(found):
        scores = result.curves.groupby("seed", sort=False)["score"]
        seeds, offline, lasts = result.config["seeds"], result.offline_scores(), result.last_scores()
        before = offline if len(offline) else [np.nan] * len(seeds)
        bests = np.where(np.isnan(lasts), np.nan, scores.max())
        for seed, start, last, best in zip(seeds, before, lasts, bests, strict=True):
            rows.append(
                {
                    "result": number,
                    "task": result.config["task"],
                    "agent": label(result),
                    "changed": len(result.config["overrides"]) > 0,
                    "protocol": result.config["protocol"],
                    "source": result.config["source"],
                    "images": result.task.pixels,
                    "updates": result.plan.updates,
                    "env_steps": result.plan.env_steps,
                    "learned_offline": len(offline) > 0,
                    "episodes": result.plan.episodes,
                    "finished": result.provenance["finished"],
                    "seed": seed,
                    "before": start,
                    "last": last,
                    "best": best,
                }
            )
    return pd.DataFrame(rows)


def one_each(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of one result for each task, agent, source and budget: of those with most seeds the newest."""
    seeds = table.groupby("result")["seed"].transform("size")
    order = table.assign(seeds=seeds).sort_values(["seeds", "finished"])
    chosen = order.groupby(["task", "agent", "source", *BUDGET])["result"].last()
    return table[table["result"].isin(chosen)]


def label(result: Result) -> str:
    """Return the agent's name, with the settings that were changed by hand, as any picture and file can hold it."""
    changes = ", ".join(result.config["overrides"])
    name = result.config["agent"] + (f" ({changes})" if changes else "")
    return name.encode(errors="replace").decode()


def scores(table: pd.DataFrame, column: str = "last") -> list[np.ndarray]:
    """Return a column of an agent's runs as an array a task."""
    return [group.to_numpy() for _, group in table.groupby("task", sort=True)[column]]
