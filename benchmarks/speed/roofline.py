"""What an update costs in arithmetic, and how much of it the machine can do."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.devices import evaluation_device
from moorl_jax.nets import matmul_precision
from moorl_jax.tasks import Task
from moorl_jax.types import ReturnsToGo, Transitions

Clock = Callable[[], float]  #: seconds, on the wall or of the processor

ROWS = 1_000_000  #: of the random dataset, as D4RL's
SIZES = {"cpu": 256}  #: of the square matrices multiplied, the width of the agents' layers; elsewhere 4096


def roofline(seconds: float = 0.4, clock: Clock = time.perf_counter) -> float:
    """Return the GFLOP/s of products of square matrices on all devices at once, over about so many seconds.

    They are as precise as the networks' products: of full float32 unless JAX is told otherwise. By `time.process_time`
    they are GFLOP a second of one core.
    """
    size = SIZES.get(jax.default_backend(), 4096)
    left, right = jnp.full((size, size), 1.0 / size), jnp.full((size, size), 0.5)  # whose product is 0.5 again

    @jax.jit
    def products(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 200, lambda _, x: jnp.matmul(x, left, precision=matmul_precision()), right)

    devices = jax.local_devices()
    placed = [jax.device_put((left, right), device) for device in devices]
    rounds = 1
    with ThreadPoolExecutor(len(devices)) as pool:

        def run(count: int) -> float:
            def work(pair: Any) -> None:
                for _ in range(count):
                    products(*pair).block_until_ready()

            started = clock()
            list(pool.map(work, placed))
            return clock() - started

        run(1)  # compiles
        while (spent := run(rounds)) < seconds:
            rounds = max(rounds + 1, int(1.2 * rounds * seconds / spent))
    return 2 * size**3 * 200 * rounds * len(devices) / spent / 1e9


def plain_loop(agent: Agent, state: Any, prepared: Prepared, updates: int, clock: Clock = time.perf_counter) -> float:
    """Return the updates a second of an agent in a plain Python loop: one seed, one jitted call after another.

    Batches are drawn in NumPy and handed over, as in most published code.
    """
    data, rng = jax.tree.map(np.asarray, prepared.transitions), np.random.default_rng(0)
    steps = [jax.jit(lambda s, b, k, update=update: update(s, b, agent.draw(k, b))) for update in agent.cycle()]
    key = jax.random.key(1)

    def run(count: int) -> None:
        nonlocal state, key
        for number in range(count):
            key, own = jax.random.split(key)
            rows = rng.integers(len(data.rewards), size=agent.batch_size)
            batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], data)
            state, _ = steps[number % len(steps)](state, batch, own)
        jax.block_until_ready(state)

    run(len(steps))  # compiles
    started = clock()
    run(updates)
    return updates / (clock() - started)


def gigaflops(agent: Agent, state: Any, prepared: Prepared) -> float:
    """Return the GFLOP of an update, the mean over the agent's cycle, as XLA counts them.

    Of a loop it counts one turn, so the update is the one that an accelerator is given, without a CPU's loops over
    blocks and members. It is lowered for a CPU: of a GPU's programs nothing is counted before they are compiled.
    """
    assert prepared.transitions is not None
    batch = jax.tree.map(lambda leaf: leaf[: agent.batch_size], prepared.transitions)
    with jax.default_device(evaluation_device()), patch("jax.default_backend", return_value="gpu"):
        draws = agent.draw(jax.random.key(0), batch)
        counted: list[Any] = [jax.jit(update).lower(state, batch, draws).cost_analysis() for update in agent.cycle()]
    return float(np.mean([costs["flops"] for costs in counted])) / 1e9


def random_data(task: Task, returns: ReturnsToGo | None, next_actions: bool) -> Prepared:
    """Return a dataset of random numbers in the task's sizes."""
    rng = np.random.default_rng(0)
    observation, action = task.observation_shape, (task.action_size,)
    columns: dict[str, Any] = {
        "observations": rng.standard_normal((ROWS, *observation), np.float32),
        "actions": rng.uniform(-0.99, 0.99, (ROWS, *action)).astype(np.float32),
        "rewards": rng.standard_normal(ROWS, np.float32),
        "next_observations": rng.standard_normal((ROWS, *observation), np.float32),
        "terminals": np.zeros(ROWS, np.float32),
        "mc_returns": np.zeros(ROWS, np.float32) if returns else None,
        "next_actions": rng.uniform(-0.99, 0.99, (ROWS, *action)).astype(np.float32) if next_actions else None,
    }
    return Prepared(Transitions(**columns), Normalizer.identity(observation))
