"""Simulators: one environment of a task, ready to step, and its state saved and restored exactly."""

import warnings
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.wrappers import TimeLimit

from moorl_jax.tasks.catalogue import Task

# All that MuJoCo's next step depends on, the solver's warm start among it.
PHYSICS = mujoco.mjtState.mjSTATE_INTEGRATION


def make_environment(task: Task) -> gymnasium.Env:
    """Make one simulator of the task; the horizon truncates its episodes.

    Locomotion uses the `-v4` environments: `-v5` changes Walker2d's friction and Hopper's last reward, `-v4` steps
    as the `-v2` that D4RL recorded in. Raises NotAvailableError for a task that does not run yet.
    """
    task.require()
    with warnings.catch_warnings():
        # gymnasium advises v5, which is not what D4RL's scores mean.
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        # Its checker of each step would cost as much as the step.
        return gymnasium.make(task.environment, max_episode_steps=task.horizon, disable_env_checker=True)


def save_environment(environment: gymnasium.Env) -> dict[str, np.ndarray]:
    """Return all that decides how the simulator goes on: its physics, and its clock in env steps."""
    model, data = _mujoco(environment)
    physics = np.empty(mujoco.mj_stateSize(model, PHYSICS))
    mujoco.mj_getState(model, data, physics, PHYSICS)
    return {"physics": physics, "clock": np.array(_time_limit(environment)._elapsed_steps)}


def restore_environment(environment: gymnasium.Env, saved: dict[str, np.ndarray]) -> None:
    """Put a simulator of the same task where another was when it was saved."""
    environment.reset(seed=0)  # it must have begun an episode before it steps
    mujoco.mj_setState(*_mujoco(environment), saved["physics"], PHYSICS)
    _time_limit(environment)._elapsed_steps = int(saved["clock"])


def _mujoco(environment: gymnasium.Env) -> tuple[mujoco.MjModel, mujoco.MjData]:
    inner: Any = environment.unwrapped
    return inner.model, inner.data


def _time_limit(environment: gymnasium.Env) -> Any:
    """Return the wrapper that holds the clock."""
    wrapper: Any = environment
    while not isinstance(wrapper, TimeLimit):
        wrapper = wrapper.env
    return wrapper
