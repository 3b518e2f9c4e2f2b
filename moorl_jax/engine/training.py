"""Training: an agent, a task and some seeds in; curves and final states out."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moorl_jax import settings as families
from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.config import require_bounds
from moorl_jax.data import Dataset, Normalizer, Preparation, Prepared, choose, load
from moorl_jax.engine import provenance
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.engine.devices import prepare_jax
from moorl_jax.engine.evaluation import Episodes, Evaluator
from moorl_jax.engine.recipes import (
    best_episodes,
    needs_chunks,
    needs_data,
    needs_next_actions,
    returns_rule,
    span_rule,
)
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.training_loop import Plan, Report, TrainingLoop
from moorl_jax.errors import CheckpointsError, MoorlError
from moorl_jax.tasks import Task, find
from moorl_jax.types import Params

EVALUATIONS = 20  #: evenly spaced over each of a run's parts, offline and online, unless the caller says otherwise
MOST_SEEDS = 10_000  #: in one training
LARGEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class Run:
    """A finished training: everything a result is made of."""

    agent: Agent
    task: Task
    dataset: Dataset | None  #: None where the agent learned from its own experience alone
    preparation: Preparation
    normalizer: Normalizer  #: what the policies' observations pass through
    seeds: tuple[int, ...]
    plan: Plan
    #: one row per seed and evaluation; a `success` rate where the environment tells; NaN for a seed that diverged
    curves: pd.DataFrame
    states: State  #: final states on the host, with a leading seed axis
    seconds: dict[str, float]  #: wall-clock by use: compile, update, simulate, evaluate, total
    resumed_anyway: list[dict[str, Any]]  #: where newer code or another machine took over: what was, and is


def train(
    agent: str | Agent,
    task: str | Task,
    *,
    seeds: int | Sequence[int] = 4,
    updates: int = 100_000,
    env_steps: int = 0,
    evaluate_every: int | None = None,
    evaluate_every_steps: int | None = None,
    episodes: int | None = None,
    source: str = "auto",
    policies: Path | None = None,
    dataset: Dataset | None = None,
    preparation: Preparation | None = None,
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume_anyway: bool = False,
    report: Callable[[Report], None] = lambda _: None,
    warn: Callable[[str], None] = print,
) -> Run:
    """Train an agent on a task, all seeds at once, evaluating as it goes.

    Args:
        agent: a name (`iql`, or `file.py:Class`), set as its authors did for the task's family, or an agent of your
            own making, taken as it is.
        task: a task of the catalogue, by name or as an object.
        seeds: how many (0, 1, ...), or which.
        updates: offline critic gradient steps per seed, rounded up to whole cycles of the agent. Agents that learn
            online alone ignore them.
        env_steps: online environment steps per seed, after the offline updates.
        evaluate_every: offline updates between evaluations; a twentieth of all by default.
        evaluate_every_steps: env steps between evaluations; a twentieth of all by default.
        episodes: episodes per seed and evaluation; the task's own number by default.
        source: where the data comes from; `auto` takes the best there is.
        policies: directory of the behaviour policies that a recipe rolls out.
        dataset: data to train on instead of the task's.
        preparation: what is done to the data first; by default what the agent's authors did.
        checkpoints: directory to keep the last two checkpoints in. Where it holds some of this same training, it is
            resumed and, on a CPU with as many cores, ends exactly as if it had never stopped. The caller deletes it.
        checkpoint_seconds: wall-clock seconds between checkpoints, which are written after an evaluation or at the
            end of a phase.
        resume_anyway: resume from checkpoints though other code, or other versions of packages, wrote them; the run
            says where.
        report: called after every part of the training.
        warn: called with what is to be said of a damaged checkpoint, or of one that another number of devices or cores
            wrote.

    Raises:
        MoorlError: the task, the agent or the data is unknown, faulty or not available.
        CheckpointsError: the checkpoints are another training's, or none of them is whole.
    """
    prepare_jax()
    task = find(task) if isinstance(task, str) else task
    seeds = which_seeds(seeds)
    plan = make_plan(task, updates, env_steps, evaluate_every, evaluate_every_steps, episodes)
    if isinstance(agent, str):
        chosen = families.settings(agent, task, updates, env_steps)
        agent, preparation = chosen.agent, preparation or chosen.preparation
    preparation = preparation or Preparation()
    require_bounds(agent)
    phases = recipe(agent, updates, env_steps)
    if needs_data(phases):
        dataset = dataset or load(task, choose(task, source, policies), policies)
        prepared = preparation.apply(
            dataset,
            returns_rule(phases),
            span_rule(phases),
            next_actions=needs_next_actions(phases),
            chunks=needs_chunks(phases),
            best_episodes=best_episodes(phases),
        )
    else:
        unchanged = Normalizer.identity(task.observation_shape)
        dataset, prepared = None, Prepared(None, unchanged, preparation.reward_scale, preparation.reward_shift)

    identity = {}
    if checkpoints:
        identity = {
            "task": task.name,
            "agent": provenance.agent_name(agent),
            "agent_config": provenance.agent_fields(agent),
            "preparation": dataclasses.asdict(preparation),
            "dataset_sha256": dataset.fingerprint if dataset else None,
            "seeds": seeds,
            "plan": dataclasses.asdict(plan),
            "code": provenance.code(agent),
            "versions": provenance.versions(),
            "backend": provenance.backend(),
        }
    loop = TrainingLoop(phases, task, prepared, seeds, plan, report)
    try:
        keeper = Checkpoints(checkpoints, identity, warn, resume_anyway) if checkpoints else None
        if keeper and (saved := keeper.latest()):
            try:
                loop.restore(saved)
            except (KeyError, IndexError, ValueError) as error:
                if not saved.then:
                    raise
                raise CheckpointsError(
                    keeper.directory,
                    "of-other-code",
                    f"holds checkpoints that do not fit this code ({error})",
                    "finish with the code that wrote them, or move the directory away to begin anew",
                ) from error
        written = time.perf_counter()
        while not loop.finished:
            loop.advance()
            if keeper and not loop.finished and time.perf_counter() - written >= checkpoint_seconds:
                keeper.save(loop.trainer.progress.number, *loop.save())
                written = time.perf_counter()
        curves, states, seconds = loop.finish()
    finally:
        loop.close()
    normalizer, resumed = prepared.normalizer, loop.resumed_anyway
    return Run(agent, task, dataset, preparation, normalizer, seeds, plan, curves, states, seconds, resumed)


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
    every = evaluate_every or max(1, updates // EVALUATIONS)
    every_steps = evaluate_every_steps or max(1, env_steps // EVALUATIONS)
    plan = Plan(updates, env_steps, every, every_steps, episodes or task.evaluation_episodes)
    require_bounds(plan)
    return plan


def which_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds' numbers, given how many or which.

    Raises MoorlError where there are none or too many, two are one, or one has more than the 32 bits that JAX's keys
    are made of: beyond them different seeds would be the same training.
    """
    numbers = range(min(seeds, MOST_SEEDS + 1)) if isinstance(seeds, int) else seeds
    if not 0 < len(numbers) <= MOST_SEEDS or len(set(numbers)) < len(numbers):
        raise MoorlError(f"seeds: how many, or which different ones, from 1 to {MOST_SEEDS:,}, not {seeds!r:.80}")
    for seed in numbers:
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not (whole and 0 <= seed <= LARGEST_SEED):
            raise MoorlError(f"seeds are whole numbers from 0 to {LARGEST_SEED}, not {seed}")
    return tuple(map(int, numbers))  # NumPy's are not for JSON


def evaluate(
    agent: Agent,
    task: Task,
    normalizer: Normalizer,
    policies: Params,
    seeds: tuple[int, ...],
    episodes: int,
    round_: int,
) -> Episodes:
    """Play episodes of trained policies; `agent` is the one of the last phase."""
    evaluator = Evaluator(task, normalizer, seeds, episodes)
    played = evaluator.evaluate(agent, evaluator.snapshot(policies), round_)
    evaluator.close()
    return played
