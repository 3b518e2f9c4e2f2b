"""Finished results, collected from any directories into one table of runs."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from moorl_jax.engine import results
from moorl_jax.engine.results import Result
from moorl_jax.errors import MoorlError, one_line
from moorl_jax.reports.fine_tuning import per_seed

BUDGET = ["protocol", "updates", "env_steps"]  #: columns that must be equal for runs to be compared


def find_results(places: list[Path]) -> list[Result]:
    """Return the finished results in the directories and below them, sorted by name.

    Unfinished results are skipped. Results that cannot be read are left out with a warning. Raises MoorlError if a
    directory does not exist.
    """
    found: dict[Path, Result] = {}
    for place in places:
        if not place.is_dir():
            raise MoorlError(f"{place}: no such directory")
        for directory in results.below(place):
            try:
                found[directory] = results.read(directory)
            except MoorlError as error:
                print("left out:", one_line(error, 1_000), file=sys.stderr)
    return list(found.values())


def none_found(places: list[Path]) -> MoorlError:
    """Return the error that no result is finished in the directories; of a table's it says where its results are."""
    where = ", ".join(map(str, places))
    tables = [place for place in places if (place / "table.csv").is_file()]
    instead = (
        "; a table's results are in " + ", ".join(str(place.parent / "cells") for place in tables) if tables else ""
    )
    return MoorlError(f"{where}: no finished result there yet; `moorl-jax bench` and `train` make some{instead}")


def runs(found: list[Result]) -> pd.DataFrame:
    """Return one row per run: one seed of one result.

    `agent` has the settings `changed` by hand in brackets. `learned_offline` is whether the agent made its `updates`,
    which agents without an offline phase skip. `before`, `last`, `best` and the numbers between them are normalized
    scores and what `fine_tuning` says; all are NaN of one that was not `evaluated`. Of `comparable` ones a mean over
    tasks means something.
    """
    parts = [
        per_seed(result).assign(
            result=number,
            agent=label(result),
            changed=len(result.config["overrides"]) > 0,
            protocol=result.config["protocol"],
            source=result.config["source"],
            images=result.task.pixels,
            evaluated=result.task.evaluated,
            updates=result.plan.updates,
            env_steps=result.plan.env_steps,
            episodes=result.plan.episodes,
            finished=result.provenance["finished"],
        )
        for number, result in enumerate(found)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def one_each(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of one result per task, agent, source and budget: with most seeds, then the newest."""
    seeds = table.groupby("result")["seed"].transform("size")
    order = table.assign(seeds=seeds).sort_values(["seeds", "finished"])
    chosen = order.groupby(["task", "agent", "source", *BUDGET])["result"].last()
    return table[table["result"].isin(chosen)]


def label(result: Result) -> str:
    """Return the agent's name with the settings changed by hand, safe for pictures and file names."""
    changes = ", ".join(result.config["overrides"])
    name = result.config["agent"] + (f" ({changes})" if changes else "")
    return name.encode(errors="replace").decode()


def labelled(table: pd.DataFrame, found: list[Result]) -> list[tuple[str, Result]]:
    """Return the results of some runs, each with its agent's name."""
    each = table.drop_duplicates("result")
    return [(str(agent), found[number]) for agent, number in zip(each["agent"], each["result"], strict=True)]


def scores(table: pd.DataFrame, column: str = "last") -> list[np.ndarray]:
    """Return one column of an agent's runs, as an array per task."""
    return [group.to_numpy() for _, group in table.groupby("task", sort=True)[column]]
