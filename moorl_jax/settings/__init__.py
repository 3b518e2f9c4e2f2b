"""How each agent is set for each family of tasks, one page a family, every value with its source."""

from dataclasses import dataclass

from moorl_jax.agents import AGENTS, Agent, Subroutine, find_agent
from moorl_jax.data.preparation import Preparation
from moorl_jax.errors import MoorlError
from moorl_jax.settings import antmaze, locomotion, manipulation, pixels
from moorl_jax.settings.subroutine import subroutine
from moorl_jax.tasks import Task


@dataclass(frozen=True)
class Settings:
    """An agent's config and the preparation of its data."""

    agent: Agent
    preparation: Preparation


FAMILIES = {
    "locomotion": locomotion,
    "antmaze": antmaze,
    "adroit": manipulation,
    "kitchen": manipulation,
    "sawyer": manipulation,
    "control": locomotion,
    "vd4rl": pixels,
}
"""The page of each family: a module with a function for every agent that it is for, of its name.

Subroutines are made of those of their parts.
"""


def suits(agent: str, task: Task) -> bool:
    """Tell whether the named agent can learn what the task shows, images or not; a user's own is let try."""
    if agent not in AGENTS:
        return True
    return not task.pixels if issubclass(AGENTS[agent], Subroutine) else hasattr(FAMILIES[task.family], agent)


def settings(agent: str, task: Task, updates: int, env_steps: int) -> Settings:
    """Return the settings of the named agent for the task's family, within a budget of offline updates and env steps.

    A user's own agent (`file.py:Class`) gets its defaults and the data as it is. Raises MoorlError for an agent that
    learns from images where there are none, or the other way round.
    """
    if agent not in AGENTS:
        return Settings(find_agent(agent)(), Preparation())
    kind, page = AGENTS[agent], FAMILIES[task.family]
    if not suits(agent, task):
        those = ", ".join(name for name in AGENTS if suits(name, task))
        shows = "shows images" if task.pixels else "shows no images"
        raise MoorlError(f"{agent} cannot learn {task.name}, which {shows}; its agents are {those}")
    if issubclass(kind, Subroutine):
        return Settings(subroutine(kind, page, task, updates, env_steps), Preparation())
    return Settings(*getattr(page, agent)(task, updates, env_steps))
