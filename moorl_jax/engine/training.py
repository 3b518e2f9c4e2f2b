"""Training: an agent, a task and some seeds in; curves and final states out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from moorl_jax import settings as families
from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Dataset, Normalizer, Preparation, choose, load
from moorl_jax.engine.evaluation import Evaluator
from moorl_jax.engine.offline import OfflineTrainer
from moorl_jax.errors import MoorlError
from moorl_jax.tasks import Task, find
from moorl_jax.types import Params

EVALUATIONS = 20  #: evenly spaced over a run, unless `evaluate_every` says otherwise


@dataclass(frozen=True)
class Report:
    """What a progress display may want to know, after each evaluation."""

    phase: str
    done: int  #: updates so far
    total: int  #: updates in all
    rate: float  #: updates a second, all seeds together
    score: float  #: mean normalized score over the seeds at the latest evaluation


@dataclass(frozen=True)
class Run:
    """A finished training: everything a result is made of."""

    agent: Agent
    task: Task
    dataset: Dataset
    preparation: Preparation
    normalizer: Normalizer  #: what the policies' observations pass through
    seeds: tuple[int, ...]
    updates: int
    evaluate_every: int
    episodes: int
    curves: pd.DataFrame  #: one row per seed and evaluation
    states: State  #: final states on the host, with a leading seed axis
    seconds: dict[str, float] = field(default_factory=dict)  #: wall-clock by use: compile, train, simulate, evaluate


def train(
    agent: str | Agent,
    task: str | Task,
    *,
    seeds: int | Sequence[int] = 4,
    updates: int = 100_000,
    evaluate_every: int | None = None,
    episodes: int | None = None,
    source: str = "auto",
    policies: Path | None = None,
    dataset: Dataset | None = None,
    preparation: Preparation | None = None,
    report: Callable[[Report], None] = lambda _: None,
) -> Run:
    """Train an agent offline on a task's data, all seeds at once, evaluating as it goes.

    Args:
        agent: a name (`iql`, or `file.py:Class`), set as its authors did for the task's family, or an agent of your
            own making, taken as it is.
        task: a task of the catalogue, by name or as an object.
        seeds: how many (0, 1, ...), or which.
        updates: critic gradient steps per seed, rounded up to whole cycles of the agent.
        evaluate_every: updates between evaluations; a twentieth of the run by default.
        episodes: episodes per seed and evaluation; the task's own number by default.
        source: where the data comes from; `auto` takes the best at hand.
        policies: directory of the behaviour policies that a recipe rolls out.
        dataset: data to train on instead of the task's.
        preparation: what is done to the data first; by default what the agent's authors did.
        report: called after every evaluation.

    Raises:
        MoorlError: the task, the agent or the data is unknown, faulty or not to be had.
    """
    task = find(task) if isinstance(task, str) else task
    task.require()
    seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise MoorlError(f"seeds must be different whole numbers from 0 on, at least one, not {list(seeds)}")
    if updates < 1:
        raise MoorlError(f"updates must be at least 1, not {updates}")
    if isinstance(agent, str):
        chosen = families.settings(agent, task, updates)
        agent, preparation = chosen.agent, preparation or chosen.preparation
    preparation = preparation or Preparation()
    dataset = dataset or load(task, choose(task, source, policies), policies)
    episodes = episodes or task.evaluation_episodes
    evaluate_every = evaluate_every or max(1, updates // EVALUATIONS)

    data, normalizer = preparation.apply(dataset.transitions)
    (offline,) = agent.phases(updates)
    trainer = OfflineTrainer(agent, data, seeds)
    evaluator = Evaluator(agent, task, normalizer, seeds, episodes)
    records: list[pd.DataFrame] = []
    training = evaluating = 0.0

    def judge(policies: Params, record: pd.DataFrame, rate: float) -> None:
        nonlocal evaluating
        started = time.perf_counter()
        record["return"] = evaluator.evaluate(policies, round_=len(records)).mean(axis=1)
        record["score"] = [task.score(value) for value in record["return"]]
        records.append(record)
        evaluating += time.perf_counter() - started
        done = int(record["updates"].iloc[0])
        report(Report("offline", done, offline.updates, rate, float(record["score"].mean())))

    # On an accelerator the next updates run while the host evaluates the last ones' policies; on a CPU they would
    # only take its cores away. What the host spends on evaluation is never counted as training.
    overlap = jax.default_backend() != "cpu"
    waiting: list[tuple[Params, pd.DataFrame, float]] = []
    beginning = time.perf_counter()
    while trainer.updates < offline.updates:
        started, elsewhere = time.perf_counter(), trainer.compile_seconds + evaluating
        in_flight = trainer.run(min(evaluate_every, offline.updates - trainer.updates))
        if waiting:
            judge(*waiting.pop())
        scalars = trainer.gather(in_flight)
        training += time.perf_counter() - started - (trainer.compile_seconds + evaluating - elsewhere)
        elapsed = time.perf_counter() - beginning
        columns = {"seed": seeds, "updates": trainer.updates, "env_steps": 0, "seconds": elapsed}
        rate = len(seeds) * trainer.updates / (elapsed - evaluating - trainer.compile_seconds)
        waiting.append((evaluator.snapshot(trainer.policies()), pd.DataFrame({**columns, **scalars}), rate))
        if not overlap or trainer.updates >= offline.updates:
            judge(*waiting.pop())
    evaluator.close()

    curves = pd.concat(records, ignore_index=True)
    leading = ["seed", "updates", "env_steps", "seconds", "return", "score"]
    return Run(
        agent=agent,
        task=task,
        dataset=dataset,
        preparation=preparation,
        normalizer=normalizer,
        seeds=seeds,
        updates=offline.updates,
        evaluate_every=evaluate_every,
        episodes=episodes,
        curves=curves[leading + [column for column in curves if column not in leading]],
        states=trainer.states(),
        seconds={
            "compile": trainer.compile_seconds,
            "train": training,
            "simulate": 0.0,
            "evaluate": evaluating,
            "total": time.perf_counter() - beginning,
        },
    )


def evaluate(
    agent: Agent,
    task: Task,
    normalizer: Normalizer,
    states: State,
    seeds: tuple[int, ...],
    episodes: int,
    round_: int,
) -> np.ndarray:
    """Return the raw returns, (seeds, episodes), of the greedy policies of trained states."""
    evaluator = Evaluator(agent, task, normalizer, seeds, episodes)
    policies = jax.device_get(jax.vmap(agent.policy)(states))
    returns = evaluator.evaluate(policies, round_)
    evaluator.close()
    return returns
