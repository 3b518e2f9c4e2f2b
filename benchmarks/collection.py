"""Finished results, wherever they lie, as one table of runs."""

import itertools
import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from moorl_jax.agents import Subroutine, find_agent
from moorl_jax.engine import results
from moorl_jax.engine.results import Result
from moorl_jax.errors import MoorlError

BUDGET = ["protocol", "updates", "env_steps"]  #: what runs that are compared have in common


def find_results(places: list[Path]) -> list[Result]:
    """Return the finished results in directories and all below them, in the order of their names.

    What is damaged or unfinished is passed over. Raises MoorlError for a directory that is not there.
    """
    found: dict[Path, Result] = {}
    for place in places:
        if not place.is_dir():
            raise MoorlError(f"{place}: there is no such directory of results")
        for directory in results.below(place):
            try:
                found[directory] = results.read(directory)
            except MoorlError:
                continue
    return list(found.values())


def runs(found: list[Result]) -> pd.DataFrame:
    """Return a row per run, that is per seed of each result.

    `agent` carries in brackets what of its settings was changed by hand; `learned_offline` tells whether it spent its
    `updates`, over which some pass. `before`, `last` and `best` are normalized scores: at the end of the offline phase,
    at the last evaluation, NaN where that is what a run ended in, and the best one.
    """
    rows = []
    for number, result in enumerate(found):
        scores = result.curves.groupby("seed", sort=False)["score"]
        seeds, offline = result.config["seeds"], result.offline_scores()
        before = offline if len(offline) else [np.nan] * len(seeds)
        for seed, start, last, best in zip(seeds, before, result.last_scores(), scores.max(), strict=True):
            rows.append(
                {
                    "result": number,
                    "task": result.config["task"],
                    "agent": label(result),
                    "protocol": protocol_of(result),
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


def protocol_of(result: Result) -> str:
    """Return the protocol that a result followed."""
    plan = result.plan
    if not plan.env_steps:
        return "offline"
    # The online learner alone, beside subroutines, is given their updates and passes over them.
    alone = bool(plan.updates) and not result.task.datasets
    if alone or issubclass(find_agent(result.config["agent"]), Subroutine):
        return "subroutine"
    return "offline-to-online" if plan.updates else "online"


def label(result: Result) -> str:
    """Return the agent's name, with the settings that were changed by hand."""
    words = shlex.split(result.config["command"])
    changes = [word for before, word in itertools.pairwise(words) if before == "--set"]
    return result.config["agent"] + (f" ({', '.join(changes)})" if changes else "")


def scores(table: pd.DataFrame, column: str = "last") -> list[np.ndarray]:
    """Return a column of an agent's runs as an array a task."""
    return [group.to_numpy() for _, group in table.groupby("task", sort=True)[column]]
