"""Every value in force for an agent and a task, and where it comes from."""

import dataclasses
import inspect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from moorl_jax.agents import Agent
from moorl_jax.agents.overrides import override
from moorl_jax.settings import assemble
from moorl_jax.tasks import Task

PACKAGE = Path(__file__).parents[1]


class Setting(NamedTuple):
    """A value in force, and where it comes from."""

    name: str  #: as `--set` has it, `backbone.alpha`; of the data's preparation `preparation.action_limit`
    value: Any
    where: str  #: the file that it stands in, below `moorl_jax/`; or `--set`
    source: str  #: a paper, or files of a repository; "ours" where no author says, empty where there is none to name


def explain(agent: str, task: Task, updates: int, env_steps: int, overrides: Sequence[str] = ()) -> list[Setting]:
    """Return each value of the agent's config, those of agents within it too, and of its data's preparation.

    They are those of `settings` with `overrides` (NAME=VALUE) applied. Raises MoorlError as `settings` and `override`.
    """
    chosen, origins = assemble(agent, task, updates, env_steps)
    known = {name: (_file(origin.page), origin.source) for name, origin in origins.items()}
    for name, _, _ in (change.partition("=") for change in overrides):
        known = {other: origin for other, origin in known.items() if not other.startswith(f"{name}.")}
        known[name] = ("--set", "")
    return [
        *_of_agent(override(chosen.agent, overrides), known),
        *_of_part(chosen.preparation, "", known, "preparation."),
    ]


def _of_agent(agent: Agent, known: dict[str, tuple[str, str]], prefix: str = "") -> Iterator[Setting]:
    """Yield an agent's fields; one that is an agent itself comes by its class, before its own fields."""
    for setting in _of_part(agent, agent.source, known, prefix):
        if not isinstance(setting.value, Agent):
            yield setting
            continue
        yield setting._replace(value=type(setting.value).__name__)
        for inner in _of_agent(setting.value, known, f"{setting.name}."):
            whole = setting.where == "--set" and inner.name not in known  # set as `backbone=TD3BC(tau=0.01)`
            yield inner._replace(where="--set", source="") if whole else inner


def _of_part(part: Any, source: str, known: dict[str, tuple[str, str]], prefix: str) -> Iterator[Setting]:
    """Yield a part's fields; those not known to come from elsewhere are defaults of its class, of that source."""
    for field in dataclasses.fields(part):
        name = prefix + field.name
        home = next(kind for kind in type(part).__mro__ if field.name in inspect.get_annotations(kind))
        default = (_file(home), source if home.__module__.startswith("moorl_jax.") else "")  # not a user's own field
        yield Setting(name, getattr(part, field.name), *known.get(name, default))


def _file(page: ModuleType | type) -> str:
    """Return the file that something stands in, below the package where it is there."""
    file = Path(inspect.getfile(page))
    return str(file.relative_to(PACKAGE)) if file.is_relative_to(PACKAGE) else os.path.relpath(file)
