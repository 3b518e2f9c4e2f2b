"""Changing fields of a config by text, as `--set`, `overrides=` and studies do."""

import ast
import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

from moorl_jax import replay
from moorl_jax.agents import AGENTS, Agent
from moorl_jax.config import as_declared, require_bounds
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.replay import Sampling

RULES = {name: rule for name, rule in vars(replay).items() if isinstance(rule, type) and issubclass(rule, Sampling)}
Config = TypeVar("Config")
CALLED = RULES | {agent.__name__: agent for agent in AGENTS.values()}


def override(config: Config, changes: Sequence[str]) -> Config:
    """Return the config, an agent's or of its data's preparation, with fields replaced by NAME=VALUE.

    A value is a Python literal, or a call like `Mixed(0.25)` for a sampling rule, `TD3BC(tau=0.01)` for an agent.
    `backbone.alpha=1.0` reaches into a field that is an agent itself. Raises MoorlError for an unknown field, or if any
    value of the config is invalid.
    """
    for change in changes:
        path, given, text = change.partition("=")
        if not given:
            raise MoorlError(f"{change}: a field is changed by NAME=VALUE")
        config = _changed(config, path.split("."), text, change)
    require_bounds(config)
    return config


def _changed(config: Any, path: list[str], text: str, change: str) -> Any:
    name, *rest = path
    if name not in vars(config):
        raise UnknownNameError(f"field of {type(config).__name__}", name, vars(config))
    now = getattr(config, name)
    if rest and not isinstance(now, Agent):
        raise MoorlError(f"{change}: {name} is {now!r}, which has no fields")
    value = _changed(now, rest, text, change) if rest else as_declared(config, name, _value(text, change))
    return dataclasses.replace(config, **{name: value})


def _value(text: str, change: str) -> Any:
    try:
        tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.Call):
            return ast.literal_eval(tree)
        if not isinstance(tree.func, ast.Name) or tree.func.id not in CALLED:
            raise MoorlError(f"{change}: a value may be a literal or one of {', '.join(CALLED)} called with literals")
        named: dict[Any, Any] = {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords}
        return CALLED[tree.func.id](*map(ast.literal_eval, tree.args), **named)
    except TypeError as error:
        raise MoorlError(f"{change}: {error}") from None
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two where it is nested too deep
        raise MoorlError(f"{change}: the value is not a Python literal") from None
