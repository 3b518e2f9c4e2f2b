"""The offline loop: many updates inside one compiled call, for the seeds of one device."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.engine.devices import lanes
from moorl_jax.types import Array, Metrics, Params, Transitions


class OfflineTrainer:
    """The states of all seeds, on their devices, and the compiled step that takes them forward.

    A seed's result depends on the seed, the agent and the data alone: each update's randomness is folded from the
    seed's key and the update's number, so neither the other seeds nor the length of a call changes it.
    """

    def __init__(self, agent: Agent, data: Transitions, seeds: tuple[int, ...]):
        self._agent = agent
        self._lanes = lanes(len(seeds))
        self._order = np.argsort([position for lane in self._lanes for position in lane.positions])
        # One seed after another, so that initial values are the same in any company.
        init, example = jax.jit(agent.init), jax.tree.map(lambda leaf: leaf[:1], data)
        keys = [jax.random.split(jax.random.key(seed)) for seed in seeds]
        initial = [init(init_key, example) for init_key, _ in keys]
        self._states: list[State] = []
        self._inputs: list[tuple[Agent, Array, Transitions]] = []
        for lane in self._lanes:
            states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(initial[p] for p in lane.positions))
            train_keys = jnp.stack([keys[p][1] for p in lane.positions])
            self._states.append(jax.device_put(states, lane.device))
            self._inputs.append(jax.device_put((agent, train_keys, data), lane.device))
        self._compiled: dict[int, list[Any]] = {}
        self.updates = 0
        self.compile_seconds = 0.0

    def run(self, updates: int) -> list[Metrics]:
        """Start `updates` updates of every seed and return at once; the result is ready when its metrics are.

        Metrics are means over the updates, one dict a lane with a leading seed axis. The count is rounded up to whole
        cycles of the agent.
        """
        cycles = -(-updates // len(self._agent.cycle()))
        programs = self._compile(cycles)
        first = np.int32(self.updates // len(self._agent.cycle()))
        results = [
            program(state, *inputs, first)
            for program, state, inputs in zip(programs, self._states, self._inputs, strict=True)
        ]
        self._states = [state for state, _ in results]
        self.updates += cycles * len(self._agent.cycle())
        return [metrics for _, metrics in results]

    def gather(self, parts: list[Any]) -> Any:
        """Return the lanes' pytrees as one on the host, the seed axis in the seeds' order."""
        host = jax.device_get(parts)
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[self._order], *host)

    def policies(self) -> Params:
        """Return what evaluation needs of all seeds' states, on the host."""
        return self.gather([jax.vmap(self._agent.policy)(state) for state in self._states])

    def states(self) -> State:
        """Return all seeds' states on the host, with a leading seed axis."""
        return self.gather(self._states)

    def _compile(self, cycles: int) -> list[Any]:
        if cycles not in self._compiled:
            started = time.perf_counter()
            program = jax.jit(partial(_train_lane, cycles=cycles), donate_argnums=0)

            def compile_lane(lane: int) -> Any:
                return program.lower(self._states[lane], *self._inputs[lane], np.int32(0)).compile()

            with ThreadPoolExecutor() as pool:
                self._compiled[cycles] = list(pool.map(compile_lane, range(len(self._lanes))))
            self.compile_seconds += time.perf_counter() - started
        return self._compiled[cycles]


def _train_lane(
    states: State, agent: Agent, keys: Array, data: Transitions, first: Array, *, cycles: int
) -> tuple[State, Metrics]:
    """Take every seed of a lane through `cycles` cycles of updates, from cycle number `first`."""
    train = partial(_train_seed, agent=agent, data=data, first=first, cycles=cycles)
    if jax.default_backend() == "cpu":
        # One seed after another keeps a seed's networks in the cache, and its arithmetic the same in any company.
        return jax.lax.map(lambda seed: train(*seed), (states, keys))
    return jax.vmap(train)(states, keys)


def _train_seed(
    state: State, key: Array, *, agent: Agent, data: Transitions, first: Array, cycles: int
) -> tuple[State, Metrics]:
    updates = agent.cycle()

    def one_cycle(state: State, cycle: Array) -> tuple[State, Metrics]:
        metrics: Metrics = {}
        for turn, update in enumerate(updates):
            sample_key, draw_key = jax.random.split(jax.random.fold_in(key, cycle * len(updates) + turn))
            rows = jax.random.randint(sample_key, (agent.batch_size,), 0, len(data))
            batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
            state, metrics = update(state, batch, agent.draw(draw_key, batch))
        return state, metrics

    state, metrics = jax.lax.scan(one_cycle, state, first + jnp.arange(cycles))
    return state, jax.tree.map(lambda values: values.mean(axis=0), metrics)
