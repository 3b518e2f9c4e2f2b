"""A finished training: everything a result is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Dataset, Normalizer, Preparation
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
    states: State  #: final states on the host, with a leading seed axis
    seconds: dict[str, float]  #: wall-clock by use: compile, update, simulate, evaluate, total
    #: where newer code, another machine or a larger budget took over: what was, and is
    resumed_anyway: list[dict[str, Any]]
    last_checkpoint: Path | None = None  #: from which it can be given a larger budget; None where it was not kept
