"""Ways of stepping simulators together, by what they reach here."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mujoco
import numpy as np
from mujoco import rollout
from rich.table import Table

from moorl_jax.cores import usable_cores
from moorl_jax.tasks import Task, find, make_environment


def compare() -> Table:
    """Return env steps a second of some simulators stepped together, by the way they are stepped."""
    table = Table("environment", "simulators", "gymnasium", "gymnasium, threads", "mujoco.rollout, physics only")
    for name in ("hopper-medium-v2", "halfcheetah-medium-v2", "walker2d-medium-v2"):
        task = find(name)
        for count in (1, 4, 8):
            rates = [_rate(way(task, count), count) for way in (_in_turn, _in_threads, _by_rollout)]
            table.add_row(task.environment, str(count), *(f"{rate:,.0f}" for rate in rates))
    return table


def _rate(step: Callable[[], None], count: int, steps: int = 500) -> float:
    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return count * steps / (time.perf_counter() - started)


def _one(task: Task) -> Callable[[], None]:
    """Return a function that takes a random step of a simulator of its own."""
    environment, rng = make_environment(task), np.random.default_rng(0)
    environment.reset(seed=0)

    def step() -> None:
        _, _, terminal, timeout, _ = environment.step(rng.uniform(-1.0, 1.0, task.action_size).astype(np.float32))
        if terminal or timeout:
            environment.reset()

    return step


def _in_turn(task: Task, count: int) -> Callable[[], None]:
    simulators = [_one(task) for _ in range(count)]

    def step() -> None:
        for simulator in simulators:
            simulator()

    return step


def _in_threads(task: Task, count: int) -> Callable[[], None]:
    simulators, pool = [_one(task) for _ in range(count)], ThreadPoolExecutor(usable_cores())

    def step() -> None:
        list(pool.map(lambda simulator: simulator(), simulators))

    return step


def _by_rollout(task: Task, count: int) -> Callable[[], None]:
    """Step MuJoCo's own batch: no observation, no reward, no reset, which would be ours to write for each task."""
    environment = make_environment(task)
    environment.reset(seed=0)
    inner: Any = environment.unwrapped  # one of MuJoCo's
    model, skip = inner.model, inner.frame_skip
    datas, rng = [mujoco.MjData(model) for _ in range(usable_cores())], np.random.default_rng(0)
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    start = np.zeros(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, inner.data, start, kind)
    states, batch = np.tile(start, (count, 1)), rollout.Rollout(nthread=usable_cores())

    def step() -> None:
        control = np.repeat(rng.uniform(-1.0, 1.0, (count, 1, model.nu)), skip, axis=1)
        after, _ = batch.rollout([model] * count, datas, states, control)
        states[:] = after[:, -1]

    return step
