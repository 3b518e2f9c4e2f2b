"""What a training is asked for, with defaults filled in and checked: its task, seeds and plan."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from moorl_jax.config import require_bounds
from moorl_jax.data import Dataset
from moorl_jax.engine.training_loop import Plan
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Phase
from moorl_jax.tasks import Task, find

EVALUATIONS = 20  #: evenly spaced over each of a run's parts, offline and online, unless the caller says otherwise
MOST_SEEDS = 10_000  #: in one training
LARGEST_SEED = 2**32 - 1


def make_plan(
    task: Task,
    updates: int,
    env_steps: int,
    evaluate_every: int | None = None,
    evaluate_every_steps: int | None = None,
    episodes: int | None = None,
) -> Plan:
    """Return a plan; what is not given is a twentieth of the updates, or env steps, and the task's own episodes.

    Raises MoorlError where there is nothing to do, or a number is out of its bounds.
    """
    if updates == env_steps == 0:
        raise MoorlError("there must be updates or env steps: both are 0")
    every = max(1, updates // EVALUATIONS) if evaluate_every is None else evaluate_every
    every_steps = max(1, env_steps // EVALUATIONS) if evaluate_every_steps is None else evaluate_every_steps
    plan = Plan(updates, env_steps, every, every_steps, task.evaluation_episodes if episodes is None else episodes)
    require_bounds(plan)
    return plan


def which_task(task: str | Task | None, dataset: Dataset | None) -> tuple[Task, Dataset | None]:
    """Return the task, by default the dataset's, and the dataset as one of that task.

    Raises MoorlError where there is neither, or they do not fit.
    """
    if task is None:
        if not dataset:
            raise MoorlError("there is no task: name one, or give a dataset")
        return dataset.task, dataset
    task = find(task) if isinstance(task, str) else task
    if not dataset:
        return task, None
    of = dataset.task
    if (of.observation_shape, of.action_size) != (task.observation_shape, task.action_size):
        raise MoorlError(
            f"the dataset has observations {of.observation_shape} and {of.action_size} actions, {task.name} has "
            f"{task.observation_shape} and {task.action_size}"
        )
    if of.own:
        if of.action_range != task.action_range:
            raise MoorlError(
                f"the dataset's actions have another range than those of {task.name}; give it task= as well"
            )
        dataset = dataclasses.replace(dataset, task=dataclasses.replace(task, datasets=task.datasets or of.datasets))
        task = dataset.task
    return task, dataset


def require_environment(task: Task, phases: tuple[Phase, ...]) -> None:
    """Raise MoorlError where a recipe acts in an environment that the task does not have."""
    if not task.evaluated and any(phase.acts for phase in phases):
        raise MoorlError(f"{task.name} has no environment to act in; name one, Task.of(...) or --env")


def which_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds' numbers, given how many or which.

    Raises MoorlError where there are none or too many, two are the same, or one has more than the 32 bits that JAX's
    keys are made of: beyond them different seeds would be the same training.
    """
    numbers = range(min(seeds, MOST_SEEDS + 1)) if isinstance(seeds, int) else seeds
    if not 0 < len(numbers) <= MOST_SEEDS or len(set(numbers)) < len(numbers):
        raise MoorlError(f"seeds: how many, or which different ones, from 1 to {MOST_SEEDS:,}, not {seeds!r:.80}")
    for seed in numbers:
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not (whole and 0 <= seed <= LARGEST_SEED):
            raise MoorlError(f"seeds are whole numbers from 0 to {LARGEST_SEED}, not {seed}")
    return tuple(map(int, numbers))  # NumPy's are not for JSON
