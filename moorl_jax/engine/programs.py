"""The jitted programs that training runs: pure functions of a carry and read-only inputs.

Each takes a group of seeds, whose arrays have a leading axis over them. The computation is written for one seed;
`_over_seeds` maps it over the group.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State, Update
from moorl_jax.engine.recipes import seen_by
from moorl_jax.footage import Footage
from moorl_jax.replay import Buffer, Experience
from moorl_jax.types import Array, Metrics, Transitions


class Carry(struct.PyTreeNode):
    """A seed's state that updates change."""

    state: State  #: the agent's
    memory: Any  #: the sampling rule's state
    totals: Metrics  #: online metrics summed since they were last read and reset


class Inputs(struct.PyTreeNode):
    """Read-only inputs of a phase's programs. Agent and rule are the same for all seeds, or each seed has its `own`."""

    agent: Agent
    sampling: Any  #: a Sampling; None in a phase without updates
    data: Transitions | Footage | None
    update_key: Array  #: (seeds,)
    action_key: Array  #: (seeds,)
    own: tuple[Agent, Any] | None = None  #: each seed's agent and rule, every number (seeds,), where they differ

    @property
    def each(self) -> tuple[Array, Array, tuple[Agent, Any] | None]:
        """What of them has a leading seed axis."""
        return self.update_key, self.action_key, self.own

    def of(self, each: tuple[Array, Array, tuple[Agent, Any] | None]) -> "Inputs":
        """Return one seed's inputs, given its part of `each`."""
        update_key, action_key, own = each
        agent, sampling = own or (self.agent, self.sampling)
        return Inputs(agent, sampling, self.data, update_key, action_key)


@partial(jax.jit, donate_argnums=0, static_argnames="count")
def learn(carry: Carry, buffer: Buffer | None, inputs: Inputs, first: Array, *, count: int) -> tuple[Carry, Metrics]:
    """Run `count` updates (whole cycles), numbered from `first`; metrics are averaged over the cycles."""

    def one(carry: Carry, buffer: Buffer | None, each: Any) -> tuple[Carry, Metrics]:
        carry, metrics = _updates(carry, buffer, inputs.of(each), first, 0, count=count)
        return carry, jax.tree.map(lambda values: values.mean(axis=0), metrics)

    return _over_seeds(one, carry, buffer, inputs.each)


@partial(jax.jit, donate_argnums=0, static_argnames=("utd", "random"))
def env_step(
    carry: Carry,
    buffer: Buffer,
    inputs: Inputs,
    observations: Array,
    step: Array,
    first: Array,
    turn: Array,
    queue: tuple[Array, Array] | None,
    *,
    utd: int,
    random: bool,
) -> tuple[Carry, Array]:
    """Run `utd` updates, numbered from `first` and starting at position `turn` of the cycle; choose the next actions.

    `step` is the index of the env step that will take these actions. Of an agent that chooses several at once `queue`
    has those of each seed, the first of them taken, and whether new ones are to be chosen.
    """

    def one(carry: Carry, buffer: Buffer, each: Any, observation: Array, queue: Any) -> tuple[Carry, Any]:
        mine = inputs.of(each)
        if utd:
            memory = mine.sampling.stored(carry.memory, Experience(mine.data, buffer))
            carry = carry.replace(memory=memory)
            carry, metrics = _updates(carry, buffer, mine, first, turn, count=utd)
            totals = jax.tree.map(lambda total, values: total + values.sum(axis=0), carry.totals, metrics)
            carry = carry.replace(totals=totals)
        actions = _act(carry.state, mine, observation, step, random)
        if queue is not None:
            chosen, spent = queue
            actions = jnp.where(spent, actions, jnp.roll(chosen, -1, axis=0))
        return carry, actions

    return _over_seeds(one, carry, buffer, inputs.each, observations, queue)


@partial(jax.jit, static_argnames="random")
def first_actions(state: State, inputs: Inputs, observations: Array, step: Array, *, random: bool) -> Array:
    """Choose the actions of a phase's first env step, number `step`."""

    def one(state: State, each: Any, observation: Array) -> Array:
        return _act(state, inputs.of(each), observation, step, random)

    return _over_seeds(one, state, inputs.each, observations)


# Storing is a separate program. Fused with sampling, the CPU's gather becomes a loop that carries the whole buffer,
# which is also written and so would be copied at every env step.
@partial(jax.jit, donate_argnums=0, static_argnames="delayed")
def store(buffer: Buffer, transitions: Transitions, taken: Array, begins: Array, *, delayed: bool) -> Buffer:
    """Store each seed's transition if `taken`; if `delayed`, it cannot be sampled until its returns are known."""

    def one(buffer: Buffer, transition: Transitions, taken: Array, begins: Array) -> Buffer:
        if delayed:
            transition = transition.replace(mc_returns=jnp.zeros_like(transition.rewards))
        return buffer.store(transition, taken=taken, begins=begins, finished=not delayed)

    return _over_seeds(one, buffer, transitions, taken, begins)


@partial(jax.jit, donate_argnums=0)
def finish_episodes(buffer: Buffer, returns: Array, lengths: Array) -> Buffer:
    """Fill in the returns-to-go of the episodes that just ended."""
    return _over_seeds(Buffer.finish, buffer, returns, lengths)


def metrics_of(carry: Carry, buffer: Buffer | None, inputs: Inputs) -> list[Metrics]:
    """Return names, shapes and types of the metrics of each update of the agent's cycle."""

    def one(carry: Carry, buffer: Buffer | None, each: Any) -> list[Metrics]:
        mine = inputs.of(each)
        agent, key = mine.agent, mine.update_key
        _, batch = mine.sampling.sample(carry.memory, key, _experience(mine, buffer), agent.batch_size)
        metrics = _metrics_of_each(agent.cycle(), carry.state, batch, agent.draw(key, batch))
        return jax.tree.map(jnp.zeros_like, metrics)

    return jax.eval_shape(partial(_over_seeds, one), carry, buffer, inputs.each)


def _over_seeds(function: Callable[..., Any], *grouped: Any) -> Any:
    """Map a single-seed function over a group: called directly for one seed, vmapped over several."""
    if jax.tree.leaves(grouped)[0].shape[0] == 1:
        # Drop the axis by reshaping, which is free; indexing would copy the buffer at every step.
        alone = function(*jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), grouped))
        return jax.tree.map(lambda leaf: jnp.reshape(leaf, (1, *jnp.shape(leaf))), alone)
    return jax.vmap(function)(*grouped)


def _updates(
    carry: Carry,
    buffer: Buffer | None,
    inputs: Inputs,
    first: Array | int,
    turn: Array | int,
    *,
    count: int,
) -> tuple[Carry, Metrics]:
    """Perform `count` updates of one seed; `first` is the number of the first, `turn` its place in the agent's cycle.

    Update n draws its batch and noise with fold_in(update key, n). If `count` is a multiple of the cycle, metrics have
    one row per cycle, each of them that of the last update that has it. Otherwise updates may start mid-cycle, and
    there is one row per update, 0 but for the metrics that the cycle has of it.
    """
    agent, cycle = inputs.agent, inputs.agent.cycle()
    experience = _experience(inputs, buffer)

    def one(carry: Carry, number: Array, update: Update) -> tuple[Carry, Metrics]:
        sample_key, draw_key = jax.random.split(jax.random.fold_in(inputs.update_key, number))
        memory, batch = inputs.sampling.sample(carry.memory, sample_key, experience, agent.batch_size)
        state, metrics = update(carry.state, batch, agent.draw(draw_key, batch))
        return carry.replace(state=state, memory=memory), metrics

    def whole_cycle(carry: Carry, number: Array) -> tuple[Carry, Metrics]:
        metrics: Metrics = {}
        # Equal updates in a row are scanned: unrolled, twenty of them would take a minute to compile.
        for _, run in itertools.groupby(cycle):
            same = list(run)
            if len(same) == 1:
                carry, latest = one(carry, number, same[0])
            else:
                carry, each = jax.lax.scan(partial(one, update=same[0]), carry, number + jnp.arange(len(same)))
                latest = jax.tree.map(lambda values: values[-1], each)
            metrics |= latest
            number = number + len(same)
        return carry, metrics

    if count % len(cycle) == 0:  # phases start at a cycle boundary, so `turn` is 0 here
        return jax.lax.scan(whole_cycle, carry, first + len(cycle) * jnp.arange(count // len(cycle)))
    update_at = _update_at(cycle)

    def by_turn(carry: Carry, number: Array) -> tuple[Carry, Metrics]:
        return one(carry, number, lambda *given: update_at((turn + number - first) % len(cycle), *given))

    return jax.lax.scan(by_turn, carry, first + jnp.arange(count))


def reporting_places(each: list[Metrics]) -> dict[str, int]:
    """Return each metric's place in a cycle: that of the last update that has it."""
    return {name: place for place, metrics in enumerate(each) for name in metrics}


def _metrics_of_each(cycle: tuple[Update, ...], state: State, batch: Any, draws: Any) -> list[Metrics]:
    """Return names, shapes and types of the metrics of each update of a cycle."""
    kinds: dict[Update, Metrics] = {
        update: jax.eval_shape(update, state, batch, draws)[1] for update in dict.fromkeys(cycle)
    }
    return [kinds[update] for update in cycle]


def _experience(inputs: Inputs, buffer: Buffer | None) -> Experience:
    """Return what the agent's batches are drawn from."""
    return seen_by(inputs.agent, Experience(inputs.data, buffer))


def _update_at(cycle: tuple[Update, ...]) -> Callable[..., tuple[State, Metrics]]:
    """Return a function that runs the update at a cycle position known only at run time.

    Its metrics are 0 except at their places. One unrolled program per position is no faster on a CPU, and took half a
    minute to compile for OPT.
    """
    kinds = list(dict.fromkeys(cycle))
    kind = jnp.array([kinds.index(update) for update in cycle])

    def update_at(place: Array, state: State, batch: Any, draws: Any) -> tuple[State, Metrics]:
        each = _metrics_of_each(cycle, state, batch, draws)
        places = reporting_places(each)
        nothing = {name: jnp.zeros_like(each[at][name]) for name, at in places.items()}

        def reporting(update: Update) -> Update:
            def reported(*given: Any) -> tuple[State, Metrics]:
                after, metrics = update(*given)
                return after, nothing | {name: metrics[name] for name, at in places.items() if cycle[at] == update}

            return reported

        state, metrics = jax.lax.switch(kind[place], list(map(reporting, kinds)), state, batch, draws)
        return state, {name: jnp.where(place == places[name], value, 0) for name, value in metrics.items()}

    return update_at


def _act(state: State, inputs: Inputs, observation: Array, step: Array, random: bool) -> Array:
    """Choose one seed's actions."""
    agent, key = inputs.agent, jax.random.fold_in(inputs.action_key, step)
    actions = agent.act(agent.policy(state), observation[None], key)[0]
    return jax.random.uniform(key, actions.shape, actions.dtype, -1.0, 1.0) if random else actions
