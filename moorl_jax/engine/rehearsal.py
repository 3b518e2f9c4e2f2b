"""Runs a user's agent on array shapes alone before it trains, so that an error names the method that is wrong."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from moorl_jax.agents import Agent, own_fault
from moorl_jax.engine.recipes import seen_by
from moorl_jax.errors import OwnAgentError, one_line
from moorl_jax.phases import Instant, Phase
from moorl_jax.replay import Balanced, Both, Experience
from moorl_jax.types import Transitions


def recipe(agent: Agent, updates: int, env_steps: int) -> tuple[Phase, ...]:
    """Return the phases that an agent goes through within a budget; raise OwnAgentError where it returns none."""
    phases = agent.phases(updates, env_steps)
    if not (isinstance(phases, tuple) and all(isinstance(phase, Phase) for phase in phases)):
        raise _wrong(agent.phases, f"must return a tuple of phases, not {phases!r:.80}")
    if all(isinstance(phase, Instant) for phase in phases):
        raise _wrong(agent.phases, "must return a phase in which an agent acts or learns")
    if not any(phase.evaluated and phase.length for phase in phases):
        raise _wrong(agent.phases, "must return a phase that is evaluated: without one there is no learning curve")
    return phases


def rehearse(phases: tuple[Phase, ...], example: Transitions) -> None:
    """Call what the engine will call of the first agent, where it is a user's own.

    `example` is a batch of one. Raises OwnAgentError for a method that raises, or returns something else than it must.
    """
    phase = next(phase for phase in phases if not isinstance(phase, Instant))
    agent = phase.agent
    if type(agent).__module__.startswith("moorl_jax."):
        return
    key, one = jax.random.key(0), jax.eval_shape(lambda: example)
    state = _called(agent.init, key, one)
    if phase.learns and not isinstance(phase.sampling, Balanced | Both):
        cycle = agent.cycle()
        if not (isinstance(cycle, tuple) and cycle and all(map(callable, cycle))):
            raise _wrong(agent.cycle, f"must return a tuple of updates, not {cycle!r:.80}")
        rows = jnp.zeros(agent.batch_size, int)
        batch = jax.eval_shape(lambda data: seen_by(agent, Experience(data, None)).offline.take(rows), one)
        for update in dict.fromkeys(cycle):
            returned = _called(update, state, batch, _called(agent.draw, key, batch))
            if not (isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], dict)):
                raise _wrong(update, f"must return a state and a dict of metrics, not {type(returned).__name__}")
            after, metrics = returned
            if changed := _difference(state, after):
                raise _wrong(update, f"must return a state like the one it is given: {changed}")
            if odd := [name for name, value in metrics.items() if getattr(value, "shape", None) != ()]:
                raise _wrong(update, f"must return metrics that are scalars: '{odd[0]}' is not")
    params = _called(agent.policy, state)
    at_once, (count, size) = agent.open_loop(), one.actions.shape
    shape = (count, at_once, size) if at_once > 1 else (count, size)
    for act in (agent.greedy, agent.act, agent.act_in_evaluation):
        keys = () if act == agent.greedy else (key,)
        actions = _called(act, params, one.observations, *keys)
        if getattr(actions, "shape", None) != shape:
            got = getattr(actions, "shape", type(actions).__name__)
            raise _wrong(act, f"must return actions {shape}, not {got}")


def _called(function: Callable[..., Any], *given: Any) -> Any:
    """Return the shapes of what a method returns."""
    try:
        return jax.eval_shape(function, *given)
    except Exception as error:
        fault = f"cannot be used: {type(error).__name__}: {one_line(error, 300)}"
        raise own_fault(error) or _wrong(function, fault) from error


def _wrong(method: Any, fault: str) -> OwnAgentError:
    """Return the fault of a method, by where it is written; one that is inherited by where its agent is."""
    written = inspect.unwrap(getattr(method, "func", method))  # of a partial, what it calls
    if not hasattr(written, "__code__"):
        written = type(written).__call__
    file, line = written.__code__.co_filename, written.__code__.co_firstlineno
    agent = getattr(written, "__self__", None)
    if isinstance(agent, Agent) and file != agent.written[0]:
        file, line = agent.written
    return OwnAgentError(file, line, f"{written.__qualname__} {fault}")


def _difference(before: Any, after: Any) -> str:
    """Say where the second state's arrays are not like the first's; nothing where all are."""
    structures: list[Any] = [jax.tree.structure(state) for state in (before, after)]
    if structures[0] != structures[1]:
        return "it is another pytree"
    for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            place = jax.tree_util.keystr(path)
            return f"{place} was {old.dtype}{list(old.shape)} and is {new.dtype}{list(new.shape)}"
    return ""
