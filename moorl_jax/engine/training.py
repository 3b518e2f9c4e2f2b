"""Training: an agent, a task and some seeds in; curves and final states out."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np

from moorl_jax import settings as families
from moorl_jax import tracking
from moorl_jax.agents import Agent
from moorl_jax.config import require_bounds
from moorl_jax.data import Dataset, Normalizer, Preparation, Prepared, choose, load
from moorl_jax.engine import provenance
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.engine.devices import prepare_jax
from moorl_jax.engine.evaluation import Episodes, Evaluator
from moorl_jax.engine.extension import LAST, plan_of, require_beginning
from moorl_jax.engine.recipes import (
    best_episodes,
    needs_chunks,
    needs_data,
    needs_next_actions,
    returns_rule,
    span_rule,
)
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.run import Run
from moorl_jax.engine.training_loop import Plan, TrainingLoop
from moorl_jax.errors import CheckpointsError, MoorlError
from moorl_jax.phases import Phase
from moorl_jax.progress import Display, Report, nowhere, terminal
from moorl_jax.tasks import Task, find
from moorl_jax.types import Params

EVALUATIONS = 20  #: evenly spaced over each of a run's parts, offline and online, unless the caller says otherwise
MOST_SEEDS = 10_000  #: in one training
LARGEST_SEED = 2**32 - 1


def train(
    agent: str | Agent,
    task: str | Task | None = None,
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
    checkpoints: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume_anyway: bool = False,
    extendable: bool = False,
    extend: str | Path | None = None,
    track: Mapping[str, str | Path] | None = None,
    progress: bool = True,
    callback: Callable[[Report], None] = lambda _: None,
    warn: Callable[[str], None] = print,
) -> Run:
    """Train an agent on a task, all seeds at once, evaluating as it goes.

    Args:
        agent: a name (`iql`, or `file.py:Class`), set as its authors did for the task's family, or an agent of your
            own making, taken as it is.
        task: a task of the catalogue, by name or as an object, or `Task.of` your own; by default the dataset's.
        seeds: how many (0, 1, ...), or which.
        updates: offline critic gradient steps per seed, rounded up to whole cycles of the agent. Agents that learn
            online alone ignore them.
        env_steps: online environment steps per seed, after the offline updates.
        evaluate_every: offline updates between evaluations; a twentieth of all by default.
        evaluate_every_steps: env steps between evaluations; a twentieth of all by default.
        episodes: episodes per seed and evaluation; the task's own number by default.
        source: where the data comes from; `auto` takes the best there is.
        policies: directory of the behaviour policies that a recipe rolls out.
        dataset: data to train on instead of the task's, such as your own: `Dataset.from_arrays`, `from_hdf5`,
            `from_minari`.
        preparation: what is done to the data first; by default what the agent's authors did.
        checkpoints: directory to keep the last two checkpoints in. Where it holds some of this same training, it is
            resumed and, on a CPU with as many cores, ends exactly as if it had never stopped. Its `curves.csv` grows
            with every evaluation. The caller deletes it.
        checkpoint_seconds: wall-clock seconds between checkpoints, which are written after an evaluation or at the
            end of a phase.
        resume_anyway: resume from checkpoints though other code, or other versions of packages, wrote them; the run
            says where.
        extendable: write a checkpoint at the end, too, from which the training can be given a larger budget; its result
            keeps it. It needs `checkpoints`.
        extend: directory of a finished result of this training within a smaller budget, to go on from. Its states, on
            a CPU, are those of a training that had this budget from the start. Intervals of evaluations that are not
            given are its own.
        track: what logs it too, while it runs, and in which directory: {"tensorboard": DIR}, {"wandb": DIR}.
        progress: show how far it is, as a bar on a terminal and as lines elsewhere.
        callback: called after every part of the training with its losses, returns and rates; to end the training
            early, raise an exception of your own.
        warn: called with what is to be said of a damaged checkpoint, or of one that another number of devices or cores
            wrote.

    Raises:
        MoorlError: the task, the agent or the data is unknown, faulty or not available; the result cannot be extended.
        CheckpointsError: the checkpoints are another training's, or none of them is whole.
    """
    prepare_jax()
    task, dataset = which_task(task, dataset)
    seeds = which_seeds(seeds)
    trackers = {tracking.find(name): Path(place) for name, place in (track or {}).items()}
    if extend:
        extend = Path(extend)
        shorter = plan_of(extend)
        evaluate_every, episodes = evaluate_every or shorter.evaluate_every, episodes or shorter.episodes
        if shorter.env_steps:
            evaluate_every_steps = evaluate_every_steps or shorter.evaluate_every_steps
    plan = make_plan(task, updates, env_steps, evaluate_every, evaluate_every_steps, episodes)
    if isinstance(agent, str):
        chosen = families.settings(agent, task, updates, env_steps)
        agent, preparation = chosen.agent, preparation or chosen.preparation
    preparation = preparation or Preparation()
    require_bounds(agent)
    with suppress(OSError, TypeError):  # an agent of a notebook has no file
        provenance.agent_files(agent)  # whoever edits it while it trains changes nothing of what is kept
    phases = recipe(agent, updates, env_steps)
    require_environment(task, phases)
    if extend:
        require_beginning(extend, agent, plan)
    if (extend or extendable) and not checkpoints:
        raise MoorlError("extend and extendable need a directory of checkpoints")
    with ExitStack() as opened:
        display = opened.enter_context(Display(terminal() if progress else nowhere()))
        if not needs_data(phases):
            dataset = None
        elif not dataset:
            source = choose(task, source, policies)
            dataset = load(task, source, policies, display.data(task.name), display.say)
        if dataset:
            for oddity in dataset.noticed():
                warn(f"{dataset.source} data of {dataset.task.name}: {oddity}")
        prepared = _prepared(dataset, preparation, phases, task)
        identity = _identity(agent, task, preparation, dataset, seeds, plan) if checkpoints or trackers else {}

        def report(news: Report) -> None:
            if keeper and "score" in news.rows:
                keeper.write_curves(loop.curves)
            for listener in listeners:
                listener(news)

        loop = TrainingLoop(phases, task, prepared, seeds, plan, report)
        opened.callback(loop.close)
        keeper = None
        if checkpoints:
            keeper = Checkpoints(
                Path(checkpoints), identity, warn, resume_anyway, Path(extend) / LAST if extend else None
            )
            if _resume(loop, keeper):
                warn(
                    f"{task.name}: its simulators cannot be saved: episodes under way at the checkpoint end there as "
                    "by a time-out, so this run is not the one that never stopped"
                )
            keeper.write_curves(loop.curves)
        name = f"{task.name} {type(agent).__name__}"
        listeners = [display.training(name), callback]
        for kind, place in trackers.items():
            tracker = kind(place, name, seeds, identity, loop.step)
            opened.callback(tracker.close)
            listeners.append(tracker.log)
        written, last = time.perf_counter(), None
        while not loop.finished:
            loop.advance()
            if keeper and not loop.finished and time.perf_counter() - written >= checkpoint_seconds:
                keeper.save(loop.trainer.progress.number, *loop.save())
                written = time.perf_counter()
        if keeper and extendable:
            last = keeper.save(loop.trainer.progress.number, *loop.save())
        curves, states, seconds = loop.finish()
    normalizer, resumed = prepared.normalizer, loop.resumed_anyway
    return Run(agent, task, dataset, preparation, normalizer, seeds, plan, curves, states, seconds, resumed, last)


def _prepared(dataset: Dataset | None, preparation: Preparation, phases: tuple[Phase, ...], task: Task) -> Prepared:
    """Return the data as the recipe's agents see it."""
    if not dataset:
        unchanged = Normalizer.identity(task.observation_shape)
        return Prepared(None, unchanged, preparation.reward_scale, preparation.reward_shift)
    return preparation.apply(
        dataset,
        returns_rule(phases),
        span_rule(phases),
        next_actions=needs_next_actions(phases),
        chunks=needs_chunks(phases),
        best_episodes=best_episodes(phases),
    )


def _identity(
    agent: Agent, task: Task, preparation: Preparation, dataset: Dataset | None, seeds: tuple[int, ...], plan: Plan
) -> dict[str, Any]:
    """Return all that decides a training's result."""
    return {
        "task": task.name,
        **provenance.own_task(task),
        "agent": provenance.agent_name(agent),
        "agent_config": provenance.agent_fields(agent),
        "preparation": dataclasses.asdict(preparation),
        "dataset_sha256": dataset.fingerprint if dataset else None,
        "seeds": seeds,
        "plan": dataclasses.asdict(plan),
        "code": provenance.code(agent),
        "versions": provenance.versions(task),
        "backend": provenance.backend(),
    }


def _resume(loop: TrainingLoop, keeper: Checkpoints) -> bool:
    """Resume from the last checkpoint, if there is one, and return whether that cut episodes short.

    Raises CheckpointsError where it does not fit.
    """
    if not (saved := keeper.latest()):
        return False
    try:
        return loop.restore(saved)
    except (KeyError, IndexError, ValueError) as error:
        if not saved.then:
            raise
        raise CheckpointsError(
            keeper.directory,
            "of-other-code",
            f"holds checkpoints that do not fit this code ({error})",
            "finish with the code that wrote them, or move the directory away to begin anew",
        ) from error


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
