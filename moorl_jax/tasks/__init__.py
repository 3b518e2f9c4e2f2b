"""The catalogue of tasks and suites, and their simulators."""

from moorl_jax.tasks.catalogue import SUITES, TASKS, Task, expand, find
from moorl_jax.tasks.environments import (
    make_environment,
    make_recording_environment,
    restore_environment,
    save_environment,
)

__all__ = [
    "SUITES",
    "TASKS",
    "Task",
    "expand",
    "find",
    "make_environment",
    "make_recording_environment",
    "restore_environment",
    "save_environment",
]
