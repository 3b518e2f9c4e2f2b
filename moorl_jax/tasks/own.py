"""Environments of users' own: any of gymnasium's, what a function makes, or none."""

import contextlib
import importlib
import math
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TimeLimit, TransformAction

from moorl_jax.config import require_bounds
from moorl_jax.errors import MoorlError, NotAvailableError, one_line
from moorl_jax.tasks.catalogue import DENSE, TASKS
from moorl_jax.tasks.task import OWN, PLAIN, ActionRange, Range, Task

HORIZON = 1000  #: env steps of an episode where neither the user nor the environment says
FUNCTION = "function "  #: begins what an environment is called that a function made
KEPT_WHOLE = "gymnasium.envs.mujoco."  #: modules of environments that hold nothing beside MuJoCo's state


class Unsaved(gymnasium.Wrapper):
    """An environment whose state cannot be saved, for nobody here knows all that it holds."""


def describe(
    environment: str | Callable[[], Any] | None,
    package: str,
    name: str,
    horizon: int | None,
    score: tuple[float, float] | None,
    episodes: int,
    sizes: tuple[int | None, int | None],
    action_range: ActionRange | None,
) -> Task:
    """Return a task of one's own, as `Task.of` says; `sizes` are those of observations and actions."""
    called, make = "", None
    if isinstance(environment, str):
        before, colon, called = environment.rpartition(":")
        package = before if colon else package
    elif environment:
        kind = environment if hasattr(environment, "__qualname__") else type(environment)
        make, called = environment, f"{FUNCTION}{kind.__module__}.{kind.__qualname__}"
    if called:
        with contextlib.closing(_made(called, package, make, None)) as made:
            seen, size, bounds = _spaces(made, called)
            limit = _limit(made) or HORIZON
        if not (bounds or action_range):
            raise MoorlError(f"{called}: its actions have no bounds; give some, action_range=(low, high)")
    elif sizes[0] and sizes[1]:
        seen, size, bounds, limit = sizes[0], sizes[1], None, HORIZON
    else:
        raise MoorlError("a task without an environment needs its observation_size and its action_size")
    if action_range:
        bounds = action_limits(action_range, size)
    if bounds == action_limits((-1, 1), size):
        bounds = None
    low, high = score or PLAIN
    if not low < high:
        raise MoorlError(f"score: the return of score 0 must be below that of score 100, not {score}")
    name = name or named(called.removeprefix(FUNCTION))
    if name in TASKS or name != named(name):
        taken = "is a task of the catalogue" if name in TASKS else "has other signs than letters, digits and -_.+"
        raise MoorlError(f"a task's own name, '{one_line(name, 80)}', {taken}; give another, name=")
    horizon = limit if horizon is None else horizon
    task = Task(name, OWN, name, "", called, horizon, (seen,), size, float(low), float(high), DENSE, episodes,
                package=package, action_range=bounds, make=make)  # fmt: skip
    require_bounds(task)
    return task


def named(text: str) -> str:
    """Return a text as a task's name, which is a folder's name, too."""
    return re.sub(r"[^\w.+-]", "-", text).lstrip("-.+") or "own"


def action_limits(action_range: ActionRange, size: int) -> Range:
    """Return the lowest and highest actions as vectors; raise MoorlError where they are none."""
    try:
        low, high = (np.broadcast_to(np.asarray(side, float), (size,)).tolist() for side in action_range)
    except (TypeError, ValueError):
        raise MoorlError(
            f"action_range is (low, high), numbers or vectors of {size}, not {action_range!r:.80}"
        ) from None
    if not all(-math.inf < least < most < math.inf for least, most in zip(low, high, strict=True)):
        raise MoorlError(f"action_range: each low must be below its high, both finite, not {action_range!r:.80}")
    return tuple(low), tuple(high)


def make(task: Task, render_mode: str | None = None) -> gymnasium.Env:
    """Make one simulator of a task of one's own; its horizon truncates episodes, and actions lie in [-1, 1].

    Dictionaries of observations are flattened in the order of their keys. A function chooses its `render_mode` itself.
    """
    if not task.evaluated:
        raise NotAvailableError(f"{task.name} has no environment: name one, Task.of(...) or --env")
    environment = _made(task.environment, task.package, task.make, task.horizon, render_mode)
    if isinstance(environment.observation_space, spaces.Dict):
        environment = FlattenObservation(environment)
    if task.action_range:
        environment = _within(environment, task)
    whole = not task.make and type(environment.unwrapped).__module__.startswith(KEPT_WHOLE)
    return environment if whole else Unsaved(environment)


def _within(environment: gymnasium.Env, task: Task) -> gymnasium.Env:
    """Map actions in [-1, 1] to the task's range."""
    unit = spaces.Box(-1.0, 1.0, (task.action_size,), np.float32)
    return TransformAction(environment, task.in_range, unit)


def _made(
    called: str, package: str, make: Callable[[], Any] | None, horizon: int | None, render_mode: str | None = None
) -> gymnasium.Env:
    """Make an environment as its user does, under a time limit where the horizon is known."""
    with _named(called, package), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        if package:
            importlib.import_module(package)
        if make:
            made = make()
            if not isinstance(made, gymnasium.Env):
                raise MoorlError(f"{called} returns {type(made).__name__}, not a gymnasium.Env")
            return TimeLimit(made, horizon) if horizon else made
        if called.startswith(FUNCTION):
            raise NotAvailableError(f"{called} made the environment, and is not kept: name an environment, --env ID")
        how = {"render_mode": render_mode} if render_mode else {}  # not all environments take one
        return gymnasium.make(called, max_episode_steps=horizon, disable_env_checker=True, **how)


@contextlib.contextmanager
def _named(called: str, package: str) -> Iterator[None]:
    """Raise what goes wrong while an environment is made as NotAvailableError."""
    try:
        yield
    except MoorlError:
        raise
    except Exception as error:
        hint = "" if package else "; --env-package (package=) names a package that registers it"
        hint = hint if isinstance(error, gymnasium.error.UnregisteredEnv) else ""
        kind = "" if isinstance(error, gymnasium.error.Error | ImportError) else f"{type(error).__name__}: "
        raise NotAvailableError(f"{called} cannot be made: {kind}{one_line(error)}{hint}") from error


def _spaces(environment: gymnasium.Env, called: str) -> tuple[int, int, Range | None]:
    """Return the size of observations, the size of actions, and their range where they have one.

    Raises MoorlError for what no agent can see or do.
    """
    actions, seen = environment.action_space, environment.observation_space
    if not (isinstance(actions, spaces.Box) and len(actions.shape) == 1):
        raise MoorlError(
            f"{called}: its actions are {one_line(actions, 80)}; agents act with a vector of numbers, a Box"
        )
    if isinstance(seen, spaces.Dict) and seen.is_np_flattenable:
        seen = spaces.flatten_space(seen)
    if not (isinstance(seen, spaces.Box) and len(seen.shape) == 1):
        raise MoorlError(
            f"{called}: its observations are {one_line(seen, 80)}; agents see a vector of numbers: flatten them by a "
            "wrapper, in a function that makes the environment (images are seen in V-D4RL's tasks alone)"
        )
    bounded = np.isfinite(actions.low).all() and np.isfinite(actions.high).all()
    within = action_limits((actions.low, actions.high), actions.shape[0]) if bounded else None
    return seen.shape[0], actions.shape[0], within


def _limit(environment: gymnasium.Env) -> int | None:
    """Return after how many env steps an environment times out by itself, where it says."""
    return environment.spec.max_episode_steps if environment.spec else None
