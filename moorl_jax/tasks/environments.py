"""Simulators: one environment of a task, ready to step, and its state saved and restored exactly."""

import contextlib
import importlib
import io
import warnings
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import RescaleAction, TimeLimit, TransformObservation

from moorl_jax.errors import NotAvailableError
from moorl_jax.tasks.antmaze import AntMaze
from moorl_jax.tasks.catalogue import ONCE, STAGES, SUCCESSFUL, Task

# All that MuJoCo's next step depends on, the solver's warm start among it.
PHYSICS = mujoco.mjtState.mjSTATE_INTEGRATION
# Where the last step saw the bodies and their centres of mass: Ant's and Humanoid's next reward is measured from there.
SEEN = ("xpos", "xipos")
EXTRAS = {
    "gymnasium_robotics": "robotics",
    "metaworld": "metaworld",
    "dm_control": "pixels",
}  #: package: the extra that brings it


def _warned(message: str) -> None:
    """Pass a warning of MuJoCo's on, once; by itself it would write each to a file in the working directory."""
    warnings.warn(f"MuJoCo: {message.partition(' Time =')[0]}", stacklevel=2)


def make_environment(task: Task, as_data: bool = False) -> gymnasium.Env:
    """Make one simulator of the task; the horizon truncates its episodes.

    `as_data` is for what learns from the task's data too: it pays and ends as the environment that labelled the data.
    Kitchen's pays at every step for the sub-tasks that are complete (D4RL's for those of the observation acted on,
    Minari's of the next one) and goes on with all four, where the one that scores are of pays once for each and ends.
    The end of a demonstration is terminal in D4RL's rows, never here.

    Locomotion uses the `-v4` environments: `-v5` changes Walker2d's friction and Hopper's last reward, `-v4` steps
    as the `-v2` that D4RL recorded in. AntMaze, Adroit and Kitchen are D4RL's, made here. Minari's tasks run in the
    environments that their data was recorded in, Sawyer's in Meta-World's, V-D4RL's and `walker-walk` in dm_control's.
    Actions lie in [-1, 1] everywhere.
    Raises NotAvailableError where a package is needed that is not installed, or that cannot render here.
    """
    mujoco.set_mju_user_warning(_warned)  # each time, for dm_control sets its own
    if "minari" in task.datasets and task.family != "locomotion":
        return _optional("minari_environments").make(task, as_data)
    if task.family == "antmaze":
        return TimeLimit(AntMaze(task.subject), task.horizon)
    if task.family == "adroit":
        return TimeLimit(_optional("adroit").HANDS[task.subject](), task.horizon)
    if task.family == "kitchen":
        rewards = ONCE if task.rewards == STAGES and not as_data else task.rewards
        return TimeLimit(_optional("kitchen").Kitchen(task.level, rewards), task.horizon)
    if task.family == "sawyer":
        return TimeLimit(_optional("sawyer").ROBOTS[task.subject](sparse=task.rewards == SUCCESSFUL), task.horizon)
    if task.family == "vd4rl":
        return TimeLimit(_optional("control").Pixels(task.subject, task.observation_shape[0]), task.horizon)
    if task.family == "control":
        return TimeLimit(_optional("control").Control(task.subject), task.horizon)
    with warnings.catch_warnings():
        # gymnasium advises v5, which is not what D4RL's scores mean.
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        # Its checker of each step would cost as much as the step.
        environment = gymnasium.make(task.environment, max_episode_steps=task.horizon, disable_env_checker=True)
    if task.subject == "ant" and task.datasets:
        environment = _with_contacts(environment, task)
    if task.subject == "humanoid":  # whose actions lie in [-0.4, 0.4]
        environment = RescaleAction(environment, np.float32(-1.0), np.float32(1.0))
    return environment


def _with_contacts(environment: gymnasium.Env, task: Task) -> gymnasium.Env:
    """Append the contact forces that D4RL's ant observes, all of them 0: its MuJoCo had left them out of account."""
    whole = spaces.Box(-np.inf, np.inf, task.observation_shape, np.float64)
    (seen,) = environment.observation_space.shape or ()
    contacts = np.zeros(task.observation_shape[0] - seen)
    return TransformObservation(environment, lambda observation: np.concatenate([observation, contacts]), whole)


def make_recording_environment(task: Task) -> gymnasium.Env:
    """Make the simulator a recipe records the task's data in.

    AntMaze's data was recorded by walking on after the goal, in episodes longer than the task's own.
    """
    if task.family == "antmaze":
        return TimeLimit(AntMaze(task.subject, ends_at_goal=False), task.recorded_horizon)
    return make_environment(task)


def save_environment(environment: gymnasium.Env) -> dict[str, np.ndarray]:
    """Return all that decides how the simulator goes on: its physics, its clock in env steps, its own extra state."""
    inner: Any = environment.unwrapped
    physics = np.empty(mujoco.mj_stateSize(inner.model, PHYSICS))
    mujoco.mj_getState(inner.model, inner.data, physics, PHYSICS)
    extra = inner.extra_state() if hasattr(inner, "extra_state") else {}
    seen = {name: getattr(inner.data, name).copy() for name in SEEN}
    return {"physics": physics, "clock": np.array(_time_limit(environment)._elapsed_steps), **seen, **extra}


def restore_environment(environment: gymnasium.Env, saved: dict[str, np.ndarray]) -> None:
    """Put a simulator of the same task where another was when it was saved."""
    inner: Any = environment.unwrapped
    environment.reset(seed=0)  # it must have begun an episode before it steps
    if hasattr(inner, "set_extra_state"):
        inner.set_extra_state(saved)
    mujoco.mj_setState(inner.model, inner.data, saved["physics"], PHYSICS)
    if hasattr(inner, "recompute"):
        inner.recompute()
    for name in SEEN:
        getattr(inner.data, name)[:] = saved[name]
    _time_limit(environment)._elapsed_steps = int(saved["clock"])


def _optional(module: str) -> Any:
    """Import a module of this package that builds on a package which locomotion does without."""
    try:
        # On import gymnasium-robotics says that its hands' rewards have changed: they are not the ones taken here.
        with contextlib.redirect_stderr(io.StringIO()):
            return importlib.import_module(f"moorl_jax.tasks.{module}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        message = f"this task needs {package}, the extra '{extra}': pip install -e '.[{extra}]' ({error})"
        raise NotAvailableError(message) from error


def _time_limit(environment: gymnasium.Env) -> Any:
    """Return the wrapper that holds the clock."""
    wrapper: Any = environment
    while not isinstance(wrapper, TimeLimit):
        wrapper = wrapper.env
    return wrapper
