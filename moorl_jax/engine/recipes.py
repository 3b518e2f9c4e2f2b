"""Questions about a recipe, the phases that an agent goes through: what it needs, and what it ends with."""

from typing import Any

import jax
import jax.numpy as jnp

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Instant, Pause, Phase, Switch
from moorl_jax.replay import (
    Balanced,
    Both,
    Buffer,
    Chunks,
    Experience,
    FrameBuffer,
    FromBuffer,
    FromDataset,
    Mixed,
    OneSource,
    Sampling,
    Union,
)
from moorl_jax.tasks import Task
from moorl_jax.types import NStep, ReturnsToGo, Transitions


def taken(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Leave out the phases that a budget leaves no room for, and the instants that lead to nothing else."""
    kept = [phase for phase in phases if phase.length > 0 or isinstance(phase, Instant)]
    while kept and isinstance(kept[-1], Instant) and kept[-1] is not phases[-1]:
        kept.pop()
    return tuple(kept)


def agents(phases: tuple[Phase, ...]) -> list[Agent]:
    """Return the agent of each phase that is taken, in order."""
    return [phase.agent for phase in taken(phases) if not isinstance(phase, Instant)]


def first_agent(phases: tuple[Phase, ...]) -> Agent:
    """Return the agent whose state a recipe begins with, though its phase may have no length: a switch follows."""
    return next(phase.agent for phase in phases if not isinstance(phase, Instant))


def alike(one: tuple[Phase, ...], other: tuple[Phase, ...]) -> bool:
    """Tell whether two recipes differ in numbers of their agents and rules alone, so that one program can run both.

    Numbers that decide the data, as a discount does the returns to go, or a phase's length, make two recipes different.
    """
    return _described(one) == _described(other)


def _described(phases: tuple[Phase, ...]) -> tuple[Any, ...]:
    """Return all of a recipe but the numbers that its programs take as inputs."""

    def part(value: Any) -> Any:
        if isinstance(value, Agent | Sampling):
            return jax.tree.structure(value), [type(leaf) for leaf in jax.tree.leaves(value)]
        return None if callable(value) else value  # an instant's change is made of the agents

    data = returns_rule(phases), span_rule(phases), needs_next_actions(phases), needs_chunks(phases)
    parts = [(type(phase), {name: part(value) for name, value in vars(phase).items()}) for phase in phases]
    return *data, best_episodes(phases), parts


def env_steps(phases: tuple[Phase, ...]) -> int:
    """Return how many env steps a recipe takes."""
    return sum(phase.length for phase in phases if phase.acts)


def needs_data(phases: tuple[Phase, ...]) -> bool:
    """Tell whether a recipe draws from a dataset."""
    return any(phase.needs_dataset for phase in phases)


def returns_rule(phases: tuple[Phase, ...]) -> ReturnsToGo | None:
    """Return the returns to go that a recipe's agents need, None where they need none."""
    rules = {agent.returns_to_go() for agent in agents(phases)} - {None}
    if len(rules) > 1:
        raise MoorlError(f"the phases' agents ask for different returns to go: {rules}")
    if rules and any(isinstance(phase.sampling, Balanced) for phase in taken(phases)):
        raise MoorlError("balanced replay and Monte-Carlo returns cannot be combined")
    return next(iter(rules), None)


def needs_next_actions(phases: tuple[Phase, ...]) -> bool:
    """Tell whether a recipe's agents need next actions; raise MoorlError for one that draws online experience, too."""
    asking = [phase for phase in taken(phases) if phase.learns and phase.agent.needs_next_actions()]
    for phase in asking:
        if not isinstance(phase.sampling, FromDataset):
            raise MoorlError(
                f"the agent of the phase '{phase.name}' needs next actions, which the dataset alone has, but it draws "
                f"by {type(phase.sampling).__name__}: train it offline alone"
            )
    return bool(asking)


def best_episodes(phases: tuple[Phase, ...]) -> float:
    """Return the share of the dataset's episodes that a recipe learns from, those of the highest returns."""
    shares = {agent.best_episodes() for agent in agents(phases)}
    if len(shares) > 1:
        raise MoorlError(f"the phases' agents ask for different shares of the dataset's episodes: {shares}")
    return shares.pop()


def needs_chunks(phases: tuple[Phase, ...]) -> bool:
    """Tell whether a recipe's agents learn from chunks; raise MoorlError for one that cannot be given them."""
    asking = [phase for phase in taken(phases) if phase.learns and phase.agent.chunks()]
    for phase in asking:
        if not isinstance(phase.sampling, FromDataset | FromBuffer | Union | Mixed | OneSource | Both):
            raise MoorlError(
                f"the agent of the phase '{phase.name}' learns from chunks, which {type(phase.sampling).__name__} does "
                "not draw: choose another rule of replay, or another agent"
            )
    if asking and (returns_rule(phases) or needs_next_actions(phases)):
        raise MoorlError("chunks have neither returns to go nor next actions, which another agent of the recipe needs")
    if asking and any(isinstance(phase, Pause) for phase in taken(phases)):
        raise MoorlError("an agent that learns from chunks cannot be part of a subroutine, whose pauses cut episodes")
    return bool(asking)


def seen_by(agent: Agent, experience: Experience) -> Experience:
    """Return what an agent's batches are drawn from: without next actions, unless it needs them; chunks, if it asks.

    An episode's steps wait for its end only where returns to go are needed. The buffer's latest transitions do not
    begin a whole chunk yet.
    """
    data, buffer, span = experience.dataset, experience.buffer, agent.chunks()
    if buffer is not None and agent.returns_to_go() is None:
        buffer = buffer.replace(finished=buffer.written)
    if isinstance(data, Transitions):
        data = data if agent.needs_next_actions() else data.replace(next_actions=None)
        data = Chunks(data, span.steps, span.discount) if span else data.replace(ends=None)
    if buffer is not None and isinstance(buffer.rows, Transitions):
        rows = Chunks(buffer.rows, span.steps, span.discount) if span else buffer.rows.replace(ends=None)
        buffer = buffer.replace(rows=rows, finished=buffer.finished - (span.steps - 1 if span else 0))
    return Experience(data, buffer)


def span_rule(phases: tuple[Phase, ...]) -> NStep:
    """Return how many steps the transitions of a recipe's batches span, where observations are images."""
    rules = {agent.n_step_returns() for agent in agents(phases)}
    if len(rules) > 1:
        raise MoorlError(f"the phases' agents ask for transitions over different steps: {rules}")
    return rules.pop()


def example(phases: tuple[Phase, ...], task: Task, prepared: Prepared) -> Transitions:
    """Return a batch of one, for shapes and types."""
    if isinstance(prepared.transitions, Transitions):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), prepared.transitions)
    observation = jnp.zeros((1, *task.observation_shape), jnp.uint8 if task.pixels else jnp.float32)
    scalar = jnp.zeros(1, jnp.float32)
    action = jnp.zeros((1, task.action_size), jnp.float32)
    returns, ends = (scalar if asked else None for asked in (returns_rule(phases), needs_chunks(phases)))
    return Transitions(observation, action, scalar, observation, scalar, mc_returns=returns, ends=ends)


def empty_buffer(phases: tuple[Phase, ...], task: Task, example: Transitions) -> Buffer:
    """Return a seed's buffer before the first env step, large enough for all that a recipe takes."""
    steps = env_steps(phases)
    if not task.pixels:
        # One whole episode fits in any case: it is written before it is finished.
        return Buffer.create(max(steps, task.horizon), example.replace(next_actions=None))
    pauses = sum(isinstance(phase, Pause) for phase in taken(phases))
    episodes = steps // task.horizon + 1 + pauses  # they never end early
    return FrameBuffer.create_for(steps, episodes, example, span_rule(phases))


def final_state(phases: tuple[Phase, ...], task: Task, seeds: int) -> tuple[Agent, State]:
    """Return the last phase's agent, and shapes and types of the states a recipe ends with, seed axis first."""
    key = jax.random.key(0)
    no_data = Prepared(None, Normalizer.identity(task.observation_shape))
    one = example(phases, task, no_data)
    state = jax.eval_shape(first_agent(phases).init, key, one)
    for phase in taken(phases):
        if isinstance(phase, Switch):
            state = jax.eval_shape(phase.change, state, key, one)
    return agents(phases)[-1], jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((seeds, *leaf.shape), leaf.dtype), state)
