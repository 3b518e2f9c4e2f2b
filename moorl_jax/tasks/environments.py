"""Make a task's environment; save and restore its state exactly."""

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
from moorl_jax.tasks import own
from moorl_jax.tasks.antmaze import AntMaze
from moorl_jax.tasks.catalogue import ONCE, STAGES, SUCCESSFUL
from moorl_jax.tasks.ogbench_sets import UNSOLVED
from moorl_jax.tasks.task import Task

# Everything MuJoCo's next step depends on, with the solver's warm start.
PHYSICS = mujoco.mjtState.mjSTATE_INTEGRATION
# Positions of bodies and centres of mass at the last step, from which Ant's and Humanoid's next reward is measured.
SEEN = ("xpos", "xipos")
EXTRAS = {
    "gymnasium_robotics": "robotics",
    "metaworld": "metaworld",
    "dm_control": "pixels",
    "ogbench": "ogbench",
}  #: package -> the extra that installs it


def _warned(message: str) -> None:
    """Raise MuJoCo's warnings in Python, once each; MuJoCo would write them to a file in the working directory."""
    warnings.warn(f"MuJoCo: {message.partition(' Time =')[0]}", stacklevel=2)


def make_environment(task: Task, as_data: bool = False) -> gymnasium.Env:
    """Make one simulator of the task; the horizon truncates its episodes.

    `as_data` gives rewards and ends as they are in the task's data, for agents that learn from both. Kitchen's data
    pays at every step for the sub-tasks that are complete (D4RL for the current observation, Minari for the next one)
    and goes on when all four are; the environment that scores are from pays once for each and ends. The end of a
    demonstration is terminal in D4RL's rows, but never here. OGBench's data pays -1 or less until the goal, the
    environment that scores are from 1 for the goal.

    Locomotion uses the `-v4` environments: `-v5` changes Walker2d's friction and Hopper's last reward, `-v4` steps
    as the `-v2` that D4RL recorded in. AntMaze, Adroit and Kitchen are D4RL's, made here. Minari's tasks run in the
    environments that their data was recorded in, Sawyer's in Meta-World's, V-D4RL's and `walker-walk` in dm_control's,
    OGBench's in its own, a user's own in hers.
    Actions lie in [-1, 1] everywhere.
    Raises NotAvailableError if a package is missing, or cannot render here.
    """
    mujoco.set_mju_user_warning(_warned)  # every time, because dm_control installs its own
    if task.own:
        return own.make(task)
    if "minari" in task.datasets and task.family != "locomotion":
        return optional("minari_environments").make(task, as_data)
    if task.family == "antmaze":
        return TimeLimit(AntMaze(task.subject), task.horizon)
    if task.family == "adroit":
        return TimeLimit(optional("adroit").HANDS[task.subject](), task.horizon)
    if task.family == "kitchen":
        rewards = ONCE if task.rewards == STAGES and not as_data else task.rewards
        return TimeLimit(optional("kitchen").Kitchen(task.level, rewards), task.horizon)
    if task.family == "sawyer":
        return TimeLimit(optional("sawyer").ROBOTS[task.subject](sparse=task.rewards == SUCCESSFUL), task.horizon)
    if task.family == "vd4rl":
        return TimeLimit(optional("control").Pixels(task.subject, task.observation_shape[0]), task.horizon)
    if task.family == "ogbench":
        return TimeLimit(
            optional("ogbench").Single(task.environment, as_data, sparse=task.rewards == UNSOLVED), task.horizon
        )
    if task.family == "control":
        return TimeLimit(optional("control").Control(task.subject), task.horizon)
    with warnings.catch_warnings():
        # gymnasium recommends v5, but D4RL's scores need v4.
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        # Its checker of each step would cost as much as the step.
        environment = gymnasium.make(task.environment, max_episode_steps=task.horizon, disable_env_checker=True)
    if task.subject == "ant" and task.datasets:
        environment = _with_contacts(environment, task)
    if task.subject == "humanoid":  # whose actions lie in [-0.4, 0.4]
        environment = RescaleAction(environment, np.float32(-1.0), np.float32(1.0))
    return environment


def _with_contacts(environment: gymnasium.Env, task: Task) -> gymnasium.Env:
    """Append the contact forces of D4RL's ant observation, all zero because of a bug in its MuJoCo."""
    whole = spaces.Box(-np.inf, np.inf, task.observation_shape, np.float64)
    (seen,) = environment.observation_space.shape or ()
    contacts = np.zeros(task.observation_shape[0] - seen)
    return TransformObservation(environment, lambda observation: np.concatenate([observation, contacts]), whole)


def make_recording_environment(task: Task) -> gymnasium.Env:
    """Make the environment in which a recipe records the task's data.

    AntMaze's episodes go on after the goal there, and are longer than the task's.
    """
    if task.family == "antmaze":
        return TimeLimit(AntMaze(task.subject, ends_at_goal=False), task.recorded_horizon)
    return make_environment(task)


def save_environment(environment: gymnasium.Env) -> dict[str, np.ndarray]:
    """Return everything the simulator's future depends on: physics, clock in env steps, extra state.

    Nothing for an environment of a user's own that cannot be saved.
    """
    if isinstance(environment, own.Unsaved):
        return {}
    inner: Any = environment.unwrapped
    physics = np.empty(mujoco.mj_stateSize(inner.model, PHYSICS))
    mujoco.mj_getState(inner.model, inner.data, physics, PHYSICS)
    extra = inner.extra_state() if hasattr(inner, "extra_state") else {}
    seen = {name: getattr(inner.data, name).copy() for name in SEEN}
    return {"physics": physics, "clock": np.array(time_limit(environment)._elapsed_steps), **seen, **extra}


def restore_environment(environment: gymnasium.Env, saved: dict[str, np.ndarray]) -> None:
    """Restore the state of a saved simulator of the same task."""
    inner: Any = environment.unwrapped
    environment.reset(seed=0)  # it must be reset before it can step
    if hasattr(inner, "set_extra_state"):
        inner.set_extra_state(saved)
    mujoco.mj_setState(inner.model, inner.data, saved["physics"], PHYSICS)
    if hasattr(inner, "recompute"):
        inner.recompute()
    for name in SEEN:
        getattr(inner.data, name)[:] = saved[name]
    time_limit(environment)._elapsed_steps = int(saved["clock"])


def optional(module: str) -> Any:
    """Import a module of this package that needs an optional package."""
    try:
        # On import gymnasium-robotics warns that its hands' rewards have changed; they are not used here.
        with contextlib.redirect_stderr(io.StringIO()):
            return importlib.import_module(f"moorl_jax.tasks.{module}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        message = f"this task needs {package}: pip install 'moorl_jax[{extra}]' ({error})"
        raise NotAvailableError(message) from error


def time_limit(environment: gymnasium.Env) -> Any:
    """Return a simulator's wrapper that counts env steps."""
    wrapper: Any = environment
    while not isinstance(wrapper, TimeLimit):
        wrapper = wrapper.env
    return wrapper
