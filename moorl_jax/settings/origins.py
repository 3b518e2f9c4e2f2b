"""Every value in force for an agent and a task, and where it comes from."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from moorl_jax.agents import Agent
from moorl_jax.settings import PREPARATION, Origin, assemble
from moorl_jax.tasks import Task


class Setting(NamedTuple):
    """A value in force, and where it comes from."""

    name: str  #: as `--set` has it, `backbone.alpha`; of the data's preparation `preparation.action_limit`
    value: Any  #: of a field that is an agent itself, whose own fields follow, the name of its class
    where: str  #: the file that it stands in, below `moorl_jax/`, or the option that gave it
    source: str  #: as Origin has it


def explain(agent: str, task: Task, updates: int, env_steps: int, overrides: Sequence[str] = ()) -> list[Setting]:
    """Return each value of the agent's config, those of agents within it too, and of its data's preparation.

    They are those of `settings` with `overrides` (NAME=VALUE) applied. Raises MoorlError as `settings` and
    `Settings.overridden`.
    """
    chosen, origins = assemble(agent, task, updates, env_steps)
    for name, _, _ in (change.partition("=") for change in overrides):
        origins = {other: origin for other, origin in origins.items() if not other.startswith(f"{name}.")}
        origins[name] = Origin("--set", "")
    chosen = chosen.overridden(overrides)
    trained = chosen.agent
    return [
        *_values(trained, "", origins, Origin.of(type(trained), "")),
        *_values(chosen.preparation, PREPARATION, origins, Origin.of(type(chosen.preparation), "")),
    ]


def _values(part: Any, prefix: str, origins: dict[str, Origin], maker: Origin) -> Iterator[Setting]:
    """Yield a part's fields: one that `origins` does not know is its class's default, or else its `maker`'s choice."""
    for field in dataclasses.fields(part):
        name, value = prefix + field.name, getattr(part, field.name)
        within = isinstance(value, Agent)
        is_default = type(value) is type(field.default) if within else value == field.default
        origin = origins.get(name) or (_of_class(part, field) if is_default else maker)
        yield Setting(name, type(value).__name__ if within else value, *origin)
        if within:
            yield from _values(value, f"{name}.", origins, origin)


def _of_class(part: Any, field: dataclasses.Field) -> Origin:
    """Return the class that declares a field's default; a source that a user's own class inherits is not its own."""
    kinds = [kind for kind in type(part).__mro__ if dataclasses.is_dataclass(kind)]
    home = next(kind for kind in reversed(kinds) if kind.__dataclass_fields__.get(field.name) is field)
    return Origin.of(home, getattr(part, "source", "") if home.__module__.startswith("moorl_jax.") else "")
