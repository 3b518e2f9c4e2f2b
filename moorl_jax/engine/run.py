"""A finished training, here or read back from a result: its config, curves, states, and policies."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from moorl_jax.agents import Agent, Subroutine
from moorl_jax.agents.contract import State
from moorl_jax.data import Dataset, Normalizer, Preparation
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine import recipes
from moorl_jax.engine.policy import Policy
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.training_loop import Plan
from moorl_jax.tasks import Task


@dataclass(frozen=True, repr=False)
class Run:
    """A finished training: everything a result is made of."""

    agent: Agent
    task: Task
    dataset: Dataset | None  #: None where the agent learned from its own experience alone
    preparation: Preparation
    normalizer: Normalizer  #: what the policies' observations pass through
    seeds: tuple[int, ...]
    plan: Plan
    #: one row per seed and evaluation; a `success` rate where the environment tells; NaN for a seed that diverged
    curves: pd.DataFrame
    returns: np.ndarray  #: of the last evaluation's episodes, raw, (seeds, episodes); none where nothing was evaluated
    states: State  #: final states on the host, with a leading seed axis
    #: wall-clock by use: compile, update, simulate, evaluate, total; of trainings side by side each one's equal share
    seconds: dict[str, float]
    #: where newer code, another machine or a larger budget took over: what was, and is
    resumed_anyway: list[dict[str, Any]]
    last_checkpoint: Path | None = None  #: from which it can be given a larger budget; None where it was not kept
    overrides: tuple[str, ...] = ()  #: the NAME=VALUE changes by hand that its settings are a result of
    together: int = 1  #: trainings whose wall-clock `seconds` is the share of, this one included

    @cached_property
    def policy(self) -> Policy:
        """The policies that it ended with."""
        last = recipes.agents(recipe(self.agent, self.plan.updates, self.plan.env_steps))[-1]
        return Policy(last, self.task, self.normalizer, jax.vmap(last.policy)(self.states), self.seeds)

    @property
    def episodes(self) -> pd.DataFrame:
        """The returns of the last evaluation, a row per seed and episode."""
        seeds, episodes = self.returns.shape
        named = {"seed": np.repeat(self.seeds, episodes), "episode": np.tile(np.arange(episodes), seeds)}
        return pd.DataFrame(named | {"return": self.returns.ravel()})

    @property
    def protocol(self) -> str:
        """The protocol that it followed."""
        if not self.plan.env_steps:
            return "offline"
        # The online learner alone, beside subroutines, is given their updates and ignores them.
        alone = bool(self.plan.updates) and not self.task.datasets
        if alone or isinstance(self.agent, Subroutine):
            return "subroutine"
        return "offline-to-online" if self.plan.updates else "online"

    def __repr__(self) -> str:
        source = self.dataset.source if self.dataset else None
        return described(type(self.agent).__name__, self.task, source, self.plan, self.curves, self.states)


def described(agent: str, task: Task, source: str | None, plan: Plan, curves: pd.DataFrame, states: State) -> str:
    """Return five lines on a training; `source` of its data."""
    by_seed = curves.groupby("seed", sort=False)
    score = OverSeeds.of(by_seed["score"].last(skipna=False))
    leaves = jax.tree.leaves(states)
    size = sum(leaf.nbytes for leaf in leaves) / 1e6
    return "\n".join(
        [
            f"{agent} on {task.name}, {f'{source} data' if source else 'no data'}",
            f"seeds {', '.join(map(str, by_seed.groups))}: {plan.updates:,} updates, {plan.env_steps:,} env steps",
            f"score {score} at the last of {by_seed.size().max()} evaluations" if task.evaluated else "no environment",
            f"curves: {', '.join(map(str, curves))}",
            f"states: {type(states).__name__} of {len(leaves)} arrays, {size:.1f} MB",
        ]
    )
