"""A result, read back to be used."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import pandas as pd

from moorl_jax.agents.contract import State
from moorl_jax.engine import results
from moorl_jax.engine.policy import Policy
from moorl_jax.engine.run import described
from moorl_jax.engine.training_loop import Plan


@dataclass(frozen=True, repr=False)
class Trained:
    """What a training has left: how it was set, how it learned, what it learned."""

    config: dict[str, Any]  #: of its config.json: task, agent, settings, preparation, plan, seeds, command
    curves: pd.DataFrame  #: one row per seed and evaluation
    states: State  #: final states of all seeds, with a leading seed axis
    policy: Policy  #: `policy(observation, seed=...)` returns an action

    def __repr__(self) -> str:
        config = self.config
        plan, source = Plan(**config["plan"]), config["source"]
        source = None if source == results.NO_SOURCE else source
        return described(config["agent"], self.policy.task, source, plan, self.curves, self.states)


def load(directory: str | Path, trust: bool = False) -> Trained:
    """Read a result directory, with its policies.

    `trust` allows the code of a user's own agent to be run. Raises MoorlError where the directory is no result, is
    damaged, has no checkpoint, or holds an agent that is not trusted.
    """
    result = results.read(Path(directory))
    agent, normalizer, states = results.load_states(result, trust)
    policy = Policy(agent, result.task, normalizer, jax.vmap(agent.policy)(states), tuple(result.config["seeds"]))
    return Trained(result.config, result.curves, states, policy)
