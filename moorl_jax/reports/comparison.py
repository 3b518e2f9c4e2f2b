"""Results side by side: which runs may be compared, and by which numbers."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from moorl_jax.divergence import OverSeeds
from moorl_jax.engine.results import NO_SOURCE
from moorl_jax.reports import fine_tuning
from moorl_jax.reports.collection import BUDGET, scores
from moorl_jax.reports.statistics import AGGREGATES, Estimate, aggregate, improvement
from moorl_jax.reports.writing import in_numbers


@dataclass(frozen=True)
class Group:
    """Runs of one protocol, budget and source of data; runs without data stand beside every source."""

    title: str
    runs: pd.DataFrame  #: rows of `collection.runs`

    @property
    def agents(self) -> list[str]:
        """The agents, in the order of their runs."""
        return list(dict.fromkeys(self.runs["agent"]))

    @property
    def tuned(self) -> bool:
        """Whether they went from offline to online."""
        return bool((self.runs["protocol"] == "offline-to-online").any())


@dataclass(frozen=True)
class Shared:
    """The runs that statistics over tasks are made of."""

    tasks: list[str]  #: those that all of the compared agents have finished
    runs: dict[str, pd.DataFrame]  #: of each compared agent, on those tasks
    left_out: list[str]  #: agents with half of the tasks or fewer, which would leave the others few in common

    @property
    def told(self) -> str:
        """What the statistics are over."""
        told = f"Over the {len(self.tasks)} tasks that all of them have finished: {', '.join(self.tasks)}."
        return told + (
            f" Left out, with half of the tasks or fewer: {', '.join(self.left_out)}." if self.left_out else ""
        )


def groups(table: pd.DataFrame) -> list[Group]:
    """Return the groups of runs, those with most updates and env steps first."""
    parts = []
    for _, of_budget in table.groupby([*BUDGET, "images"]):
        for source in sorted(set(of_budget["source"]) - {NO_SOURCE}) or [NO_SOURCE]:
            parts.append(of_budget[of_budget["source"].isin([source, NO_SOURCE])])
    parts.sort(key=lambda part: (part["updates"] + part["env_steps"]).sum(), reverse=True)
    return [Group(_title(part), part) for part in parts]


def _title(table: pd.DataFrame) -> str:
    protocol, updates, env_steps = table.iloc[0][BUDGET]
    budget = [f"{count:,} {unit}" for count, unit in ((updates, "updates"), (env_steps, "env steps")) if count]
    budget += ["from images"] * bool(table["images"].any())
    budget += [f"{source} data" for source in set(table["source"]) - {NO_SOURCE}]
    return f"{protocol}: {', '.join(budget)}"


def shared(group: Group) -> Shared:
    """Return the runs on tasks that all agents have finished, but for agents with half of the tasks or fewer."""
    table = group.runs
    tasks = table.groupby("agent")["task"].agg(set)
    compared = [agent for agent in group.agents if 2 * len(tasks[agent]) > table["task"].nunique()]
    common = sorted(set.intersection(*tasks[compared])) if compared else []
    of_agents = {agent: table[(table["agent"] == agent) & table["task"].isin(common)] for agent in compared}
    return Shared(common, of_agents, [agent for agent in group.agents if agent not in compared])


def score_table(group: Group, column: str = "last") -> pd.DataFrame:
    """Return a row per task, a column per agent: the score over seeds as text."""
    rows = []
    for task, here in group.runs.groupby("task"):
        row = {"task": str(task)}
        for agent in group.agents:
            row[agent] = str(OverSeeds.of(here.loc[(here["agent"] == agent) & here["evaluated"], column]))
        rows.append(row)
    return pd.DataFrame(rows)


def score_numbers(group: Group, column: str = "last") -> pd.DataFrame:
    """Return a row per task and agent: what was spent, and the score's mean, deviation and seeds as numbers."""
    rows = []
    for (task, agent, source), here in group.runs.groupby(["task", "agent", "source"], sort=False):
        over, first = OverSeeds.of(here.loc[here["evaluated"], column]), here.iloc[0]
        row = {"task": task, "agent": agent, "source": source, **{name: first[name] for name in BUDGET}}
        rows.append(row | {"mean": over.mean, "std": over.std, "seeds": over.seeds, "diverged": over.diverged})
        if group.tuned:
            rows[-1] |= in_numbers(fine_tuning.summary(here))
    return pd.DataFrame(rows)


def tuning_table(group: Group) -> pd.DataFrame:
    """Return what fine-tuning did, a row per task and agent, as text."""
    return fine_tuning.text(fine_tuning.frame(group.runs.sort_values("task", kind="stable")))


def aggregated(name: str, table: pd.DataFrame, column: str) -> tuple[OverSeeds, Estimate, str]:
    """Return an aggregate of an agent's runs: over how many, the estimate, and the text that is shown for it."""
    over, found = OverSeeds.of(table[column]), aggregate(name, scores(table, column))
    return over, found, over.or_diverged(f"{found.value:.1f} [{found.low:.1f}, {found.high:.1f}]")


def aggregates(of: Shared, column: str = "last") -> pd.DataFrame:
    """Return a row per agent: each aggregate over tasks with its interval, as text."""
    rows = []
    for agent, table in of.runs.items():
        rows.append({"agent": agent} | {name: aggregated(name, table, column)[2] for name in AGGREGATES})
    return pd.DataFrame(rows)


def improvements(of: Shared, column: str = "last") -> Iterator[tuple[str, str, Estimate]]:
    """Yield each pair of agents, and the probability that a run of the first scores above one of the second."""
    for one, other in itertools.combinations(of.runs, 2):
        pairs = list(zip(scores(of.runs[one], column), scores(of.runs[other], column), strict=True))
        yield one, other, improvement(pairs)
