"""What the engine does, on one page: one seed, in plain JAX and NumPy.

This is the documentation of the engine: `Trainer` and `Evaluator` produce the same numbers, on an accelerator but for
rounding; many seeds, several devices, compiled loops and resuming only make them faster. Not covered: images, seeds
that diverge, and what subroutines do between phases (`Pause`, `Review`).
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.data.returns import returns_to_go
from moorl_jax.engine import evaluation, recipes, simulators
from moorl_jax.engine.keys import ACTIONS, INITIAL, RULES, SWITCHES, UPDATES, episode_start, stream
from moorl_jax.phases import Phase, Switch
from moorl_jax.replay import Experience, Sampling
from moorl_jax.tasks import Task, make_environment
from moorl_jax.types import Array, Transitions


def train(phases: tuple[Phase, ...], task: Task, prepared: Prepared, seed: int) -> State:
    """Take one seed through a recipe on a task and return the agent's final state.

    `prepared` holds the dataset and the transforms applied to observations and rewards before the agent sees them.
    """
    returns = recipes.returns_rule(phases)  # how returns-to-go are computed, for Cal-QL; None for other agents
    chunks = recipes.needs_chunks(phases)  # whether transitions say that they are their episode's last, for QC
    example = recipes.example(phases, task, prepared)
    data, buffer = jax.tree.map(jnp.asarray, prepared.transitions), recipes.empty_buffer(phases, task, example)
    environment = make_environment(task, as_data=data is not None)  # with data, it pays and ends as the data does
    observation: Array | None = None  # the current one; None between episodes
    rewards: list[np.float32] = []  # of the current episode
    # Counters of all phases together; each update, env step and episode has its own random key.
    updates = env_steps = episodes = 0
    state = recipes.first_agent(phases).init(stream(seed, INITIAL), example)

    for number, phase in enumerate(recipes.taken(phases)):
        if isinstance(phase, Switch):
            state = phase.change(state, jax.random.fold_in(stream(seed, SWITCHES), number), example)
            continue
        agent, sampling, memory = phase.agent, phase.sampling, None  # a sampling rule may remember, in `memory`
        cycle, turn = agent.cycle(), 0  # cycle through the agent's updates, from the first in each phase
        if sampling:
            key = jax.random.fold_in(stream(seed, RULES), number)
            memory = sampling.init(key, Experience(data, buffer), agent.batch_size)

        # Without env steps, round the updates up to whole cycles.
        length = phase.length if phase.acts else math.ceil(phase.length / len(cycle)) * len(cycle)
        for step in range(length):
            if phase.acts:
                if observation is None:  # an episode begins
                    raw, _ = environment.reset(seed=episode_start(simulators.STREAM, seed, episodes))
                    observation, rewards, episodes = jnp.asarray(prepared.normalizer(raw)), [], episodes + 1

                # Act. An agent that chooses several actions at once, a queue, is asked again when they are taken.
                if step == 0 or len(rewards) % agent.open_loop() == 0:
                    key = jax.random.fold_in(stream(seed, ACTIONS), env_steps)
                    chosen = _act(agent, state, observation, key, random=phase.random)
                    queue = list(chosen) if agent.open_loop() > 1 else [chosen]
                action = queue.pop(0)
                raw, reward, terminal, timeout, _ = environment.step(np.asarray(action))
                env_steps += 1

                # Store. A time-out is not a terminal: targets bootstrap past it.
                rewards.append(np.float32(float(reward) * prepared.reward_scale + prepared.reward_shift))
                transition = Transitions(
                    observations=observation,
                    actions=action,
                    rewards=jnp.asarray(rewards[-1]),
                    next_observations=jnp.asarray(prepared.normalizer(raw)),
                    terminals=jnp.float32(terminal),
                    mc_returns=jnp.float32(0.0) if returns else None,
                    ends=jnp.float32(terminal or timeout) if chunks else None,
                )
                # With returns-to-go, an episode cannot be sampled until it has ended and they are known.
                buffer = buffer.store(transition, finished=returns is None)
                observation = transition.next_observations
                if terminal or timeout:
                    observation = None
                    if returns:
                        terminals = np.append(np.zeros(len(rewards) - 1), terminal)
                        to_go = returns_to_go(np.array(rewards), terminals, returns)
                        buffer = buffer.finish(jnp.asarray(to_go), jnp.int32(len(rewards)))
                if sampling:
                    memory = sampling.stored(memory, Experience(data, buffer))

            for _ in range(phase.utd):
                # Sample and update.
                key = jax.random.fold_in(stream(seed, UPDATES), updates)
                update = cycle.index(cycle[turn % len(cycle)])  # turns with the same update share a compiled program
                # With the data's next actions, or in chunks, for agents that ask for them, as ReBRAC and QC do.
                experience = recipes.seen_by(agent, Experience(data, buffer))
                state, memory = _update(agent, sampling, state, memory, experience, key, update=update)
                updates, turn = updates + 1, turn + 1
    environment.close()
    return state


def evaluate(agent: Agent, state: State, task: Task, normalizer: Normalizer, seed: int, round_: int) -> float:
    """Run one episode with the evaluation policy and return its undiscounted, unnormalized return.

    `round_` is the number of the evaluation, from 0; each has its own starts and random keys.
    """
    environment, total, step, ended = make_environment(task), 0.0, 0, False
    raw, _ = environment.reset(seed=episode_start(evaluation.STREAM, seed, round_, 0))
    key = jax.random.fold_in(jax.random.key(seed + evaluation.STREAM), round_)
    while not ended:
        if step % agent.open_loop() == 0:
            step_key = jax.random.fold_in(key, step)
            chosen = _act_evaluated(agent, state, jnp.asarray(normalizer(raw)), step_key)
            queue = list(chosen) if agent.open_loop() > 1 else [chosen]
        action = queue.pop(0)
        raw, reward, terminal, timeout, _ = environment.step(np.asarray(action))
        total, step, ended = total + float(reward), step + 1, terminal or timeout
    environment.close()
    return total


@partial(jax.jit, static_argnames="update")
def _update(
    agent: Agent, sampling: Sampling, state: State, memory: Any, experience: Experience, key: Array, update: int
) -> tuple[State, Any]:
    """Draw a batch and the noise of one of the agent's updates, and perform it."""
    batch_key, noise_key = jax.random.split(key)
    memory, batch = sampling.sample(memory, batch_key, experience, agent.batch_size)
    state, _ = agent.cycle()[update](state, batch, agent.draw(noise_key, batch))
    return state, memory


@partial(jax.jit, static_argnames="random")
def _act(agent: Agent, state: State, observation: Array, key: Array, random: bool) -> Array:
    """Choose an action, or several: the agent's, with its exploration, or uniform random ones."""
    actions = agent.act(agent.policy(state), observation[None], key)[0]
    return jax.random.uniform(key, actions.shape, actions.dtype, -1.0, 1.0) if random else actions


@jax.jit
def _act_evaluated(agent: Agent, state: State, observation: Array, key: Array) -> Array:
    """Choose an action, or several, with the evaluation policy."""
    return agent.act_in_evaluation(agent.policy(state), observation[None], key)[0]
