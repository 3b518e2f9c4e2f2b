"""How each agent is set for each task.

The defaults in an agent's class are its authors' for D4RL locomotion. `everywhere` holds the data preparation common to
all families, one module per family holds what the family or one of its datasets changes, and `proportions` what the
budget changes. Every value appears once, with its source.
"""

import dataclasses
import inspect
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from moorl_jax.agents import AGENTS, Agent, Subroutine, find_agent
from moorl_jax.agents.overrides import override
from moorl_jax.data.preparation import Preparation
from moorl_jax.errors import MoorlError
from moorl_jax.settings import antmaze, everywhere, locomotion, manipulation, ogbench, pixels, proportions
from moorl_jax.settings.changes import Change
from moorl_jax.tasks import Task

PREPARATION = "preparation."  #: begins the names of the preparation's fields


@dataclass(frozen=True)
class Settings:
    """An agent's config and the preparation of its data."""

    agent: Agent
    preparation: Preparation

    def value(self, name: str) -> Any:
        """Return a value by a change's name."""
        return attrgetter(_path(name))(self)

    def changed(self, change: Change) -> "Settings":
        """Return the settings after a change."""

        def replaced(part: Any, path: str) -> Any:
            first, _, rest = path.partition(".")
            value = replaced(getattr(part, first), rest) if rest else change.value
            return dataclasses.replace(part, **{first: value})

        return replaced(self, _path(change.name))

    def overridden(self, changes: Sequence[str]) -> "Settings":
        """Return the settings with fields replaced by NAME=VALUE; `preparation.NAME` is one of the preparation's.

        Raises MoorlError as `override`.
        """
        prepared = [change.removeprefix(PREPARATION) for change in changes if change.startswith(PREPARATION)]
        trained = [change for change in changes if not change.startswith(PREPARATION)]
        return Settings(override(self.agent, trained), override(self.preparation, prepared))


def _path(name: str) -> str:
    return name if name.startswith(PREPARATION) else f"agent.{name}"


class Origin(NamedTuple):
    """Where a value comes from."""

    where: str  #: the file that defines it, relative to `moorl_jax/`, or the option that set it
    source: str  #: a paper, or files of a repository; "ours" where no author says, empty where there is none to name

    @classmethod
    def of(cls, place: ModuleType | type, source: str) -> "Origin":
        """Return the origin of values defined in a module or in a class, possibly a user's own."""
        file, package = Path(inspect.getfile(place)), Path(__file__).parents[1]
        below = file.is_relative_to(package)
        return cls(str(file.relative_to(package)) if below else os.path.relpath(file), source)


FAMILIES = {
    "locomotion": locomotion,
    "antmaze": antmaze,
    "adroit": manipulation,
    "kitchen": manipulation,
    "sawyer": manipulation,
    "control": locomotion,
    "own": locomotion,  # the agents' defaults are of that family
    "vd4rl": pixels,
    "ogbench": ogbench,
}
"""Each family's settings module, with a function for every agent whose defaults it changes."""

FROM_IMAGES = ("drq", "drq_bc", "pixel_bc", "pixel_cql", "pixel_rlpd", "pixel_moorl")
"""The agents that learn from images; all others need the state."""


def suits(agent: str, task: Task) -> bool:
    """Return whether the named agent suits the task's observations, images or states; a user's own always does."""
    return agent not in AGENTS or (agent in FROM_IMAGES) == task.pixels


def settings(agent: str | Agent, task: Task, updates: int, env_steps: int) -> Settings:
    """Return the settings of the named agent for the task, within a budget of offline updates and env steps.

    An agent that is not named but made is taken as it is, with the preparation of its class's name. A user's own agent
    (`file.py:Class`) gets its defaults and the data as it is. Raises MoorlError for an agent that learns from images
    where there are none, or the other way round.
    """
    if isinstance(agent, str):
        return assemble(agent, task, updates, env_steps)[0]
    name = next((name for name, kind in AGENTS.items() if kind is type(agent)), None)
    return Settings(agent, assemble(name, task, updates, env_steps)[0].preparation if name else Preparation())


def assemble(agent: str, task: Task, updates: int, env_steps: int) -> tuple[Settings, dict[str, Origin]]:
    """Return `settings`, and the origin, by name, of each value that is not its class's default."""
    chosen, origins = Settings(find_agent(agent)(), Preparation()), {}
    if not suits(agent, task):
        those = ", ".join(name for name in AGENTS if suits(name, task))
        shows = "shows images" if task.pixels else "shows no images"
        raise MoorlError(f"{agent} cannot train on {task.name}, which {shows}; agents that can: {those}")
    if agent in AGENTS:
        for page, change in changes(agent, task):
            chosen, origins[change.name] = chosen.changed(change), Origin.of(page, change.source)
        for change in proportions.within_budget(chosen.agent, updates, env_steps):
            if chosen.value(change.name) != change.value:
                chosen, origins[change.name] = chosen.changed(change), Origin.of(proportions, change.source)
    return chosen, origins


def changes(agent: str, task: Task) -> Iterator[tuple[ModuleType, Change]]:
    """Yield each change to an agent's defaults, with the module it is from, in order of application.

    A part that is an agent itself is set as that agent. Data is prepared as for OPT's backbone. A subroutine does not
    prepare its data: statistics to normalize observations with are unknown in advance. Where rewards would be scaled by
    the range of a dataset's returns, it uses the history's at each pause.
    """
    subroutine = issubclass(AGENTS[agent], Subroutine)
    for part, inner in vars(AGENTS[agent]()).items():
        if isinstance(inner, Agent):
            name = next(name for name, known in AGENTS.items() if known is type(inner))
            for page, change in changes(name, task):
                if not change.name.startswith(PREPARATION):
                    yield page, change._replace(name=f"{part}.{change.name}")
                elif not subroutine:
                    yield page, change
                elif (part, change.name) == ("offline", "preparation.normalize_returns"):
                    yield page, change._replace(name="normalize_returns")
    for page in (everywhere, FAMILIES[task.family]):
        if hasattr(page, agent):
            yield from ((page, change) for change in getattr(page, agent)(task))
