"""How each agent is set for each family of tasks, one page a family, every value with its source."""

from collections.abc import Callable
from dataclasses import dataclass

from moorl_jax.agents import Agent, find_agent
from moorl_jax.data.preparation import Preparation
from moorl_jax.settings import locomotion
from moorl_jax.tasks import Task


@dataclass(frozen=True)
class Settings:
    """An agent's config and the preparation of its data."""

    agent: Agent
    preparation: Preparation


FAMILIES: dict[str, dict[str, Callable[[Task, int, int], tuple[Agent, Preparation]]]] = {
    "locomotion": locomotion.SETTINGS
}


def settings(agent: str, task: Task, updates: int, env_steps: int) -> Settings:
    """Return the settings of the named agent for the task's family, within a budget of offline updates and env steps.

    A user's own agent (`file.py:Class`) gets its defaults and the data as it is.
    """
    make = FAMILIES.get(task.family, {}).get(agent)
    if make is None:
        return Settings(find_agent(agent)(), Preparation())
    return Settings(*make(task, updates, env_steps))
