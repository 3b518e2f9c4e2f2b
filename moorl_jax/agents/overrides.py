"""Changing fields of an agent's config by text, as the command line and studies do."""

import ast
from collections.abc import Sequence
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from moorl_jax import replay
from moorl_jax.agents import AGENTS, Agent
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.replay import Sampling

RULES = {name: rule for name, rule in vars(replay).items() if isinstance(rule, type) and issubclass(rule, Sampling)}
CALLED = RULES | {agent.__name__: agent for agent in AGENTS.values()}


def override(agent: Agent, changes: Sequence[str]) -> Agent:
    """Return the agent with fields replaced by NAME=VALUE.

    A value is a Python literal, or a call like `Mixed(0.25)` for a sampling rule, `TD3BC(tau=0.01)` for an agent.
    `backbone.alpha=1.0` reaches into a field that is an agent itself. Raises MoorlError for a field there is not, or a
    value of another kind.
    """
    for change in changes:
        path, given, text = change.partition("=")
        if not given:
            raise MoorlError(f"{change}: a field is changed by NAME=VALUE")
        agent = _changed(agent, path.split("."), text, change)
    return agent


def _changed(agent: Agent, path: list[str], text: str, change: str) -> Agent:
    name, *rest = path
    if name not in vars(agent):
        raise UnknownNameError(f"field of {type(agent).__name__}", name, vars(agent))
    now = getattr(agent, name)
    if rest:
        if not isinstance(now, Agent):
            raise MoorlError(f"{change}: {name} is {now!r}, which has no fields")
        return agent.replace(**{name: _changed(now, rest, text, change)})
    value = _value(text, change)
    within = next((kind for kind in (Sampling, Agent) if isinstance(now, kind)), None)
    if not _fits(value, within or get_type_hints(type(agent))[name]):
        raise MoorlError(f"{change}: {name} is {now!r} now, which is another kind of value")
    return agent.replace(**{name: value})


def _fits(value: Any, kind: Any) -> bool:
    """Tell whether a value is what an annotation says."""
    if isinstance(kind, UnionType):
        return any(_fits(value, each) for each in get_args(kind))
    if get_origin(kind) is tuple:
        each = get_args(kind)
        kinds = each[:1] * len(value) if each[-1:] == (...,) and isinstance(value, tuple) else each
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, float | int if kind is float else kind)


def _value(text: str, change: str) -> Any:
    try:
        tree = ast.parse(text, mode="eval").body
        if not isinstance(tree, ast.Call):
            return ast.literal_eval(tree)
        if not isinstance(tree.func, ast.Name) or tree.func.id not in CALLED:
            raise MoorlError(f"{change}: a value may be a literal or one of {', '.join(CALLED)} called with literals")
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords if keyword.arg}
        return CALLED[tree.func.id](*map(ast.literal_eval, tree.args), **named)
    except TypeError as error:
        raise MoorlError(f"{change}: {error}") from None
    except (ValueError, SyntaxError):
        raise MoorlError(f"{change}: the value is not a Python literal") from None
