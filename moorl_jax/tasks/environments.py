"""Simulators: one environment of a task, ready to step."""

import warnings

import gymnasium

from moorl_jax.tasks.catalogue import Task


def make_environment(task: Task) -> gymnasium.Env:
    """Make one simulator of the task; the horizon truncates its episodes.

    Locomotion uses the `-v4` environments: `-v5` changes Walker2d's friction and Hopper's last reward, `-v4` steps
    as the `-v2` that D4RL recorded in. Raises NotAvailableError for a task that does not run yet.
    """
    task.require()
    with warnings.catch_warnings():
        # gymnasium advises v5, which is not what D4RL's scores mean.
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        return gymnasium.make(task.environment, max_episode_steps=task.horizon)
