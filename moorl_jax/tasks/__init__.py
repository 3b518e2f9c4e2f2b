"""The catalogue of tasks and suites, and their simulators."""

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
