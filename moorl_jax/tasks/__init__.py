"""The catalogue of tasks and suites, and their simulators."""

import os
from importlib import import_module

from moorl_jax.errors import NotAvailableError, one_line

try:
    import_module("mujoco")  # which loads what MUJOCO_GL names
except Exception as error:  # each way to render has kinds of its own
    if "MUJOCO_GL" not in os.environ:
        raise
    raise NotAvailableError(
        f"MUJOCO_GL={os.environ['MUJOCO_GL']}: MuJoCo cannot render so here ({one_line(error, 80)}); unset it, or set "
        "another of egl, osmesa, glfw"
    ) from error

from moorl_jax.tasks.catalogue import SUITES, TASKS, expand, find
from moorl_jax.tasks.environments import (
    make_environment,
    make_recording_environment,
    restore_environment,
    save_environment,
)
from moorl_jax.tasks.own import action_limits, named
from moorl_jax.tasks.stepping import Environments, InTurn, Steps
from moorl_jax.tasks.task import ActionRange, Task
from moorl_jax.tasks.together import make_environments

__all__ = [
    "SUITES",
    "TASKS",
    "ActionRange",
    "Environments",
    "InTurn",
    "Steps",
    "Task",
    "action_limits",
    "expand",
    "find",
    "make_environment",
    "make_environments",
    "make_recording_environment",
    "named",
    "restore_environment",
    "save_environment",
]
