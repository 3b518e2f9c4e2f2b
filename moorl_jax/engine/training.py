"""Training: an agent, a task and some seeds in; curves and final states out."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd

from moorl_jax import settings as families
from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.config import Bounds, Count, Steps, require_bounds
from moorl_jax.data import Dataset, Normalizer, Preparation, Prepared, choose, load
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine import provenance
from moorl_jax.engine.checkpoints import Checkpoint, Checkpoints
from moorl_jax.engine.devices import require_devices
from moorl_jax.engine.evaluation import Episodes, Evaluator
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.trainer import Trainer, length, needs_data, returns_rule, span_rule
from moorl_jax.errors import CheckpointsError, MoorlError
from moorl_jax.phases import Collect, Judge, Online, Phase
from moorl_jax.tasks import Task, find
from moorl_jax.types import Params

EVALUATIONS = 20  #: evenly spaced over each of a run's parts, offline and online, unless the caller says otherwise
MOST_SEEDS = 10_000  #: in one training
LARGEST_SEED = 2**32 - 1
UNJUDGED_UPDATES = 1_000  #: between reports of a phase that only prepares
LEADING = ["seed", "phase", "updates", "env_steps", "seconds", "return", "score"]


@dataclass(frozen=True)
class Plan:
    """How long a training is and how often it is evaluated."""

    updates: Steps  #: offline, per seed
    env_steps: Steps  #: online, per seed
    evaluate_every: Count  #: offline updates between evaluations
    evaluate_every_steps: Count  #: env steps between evaluations
    episodes: Annotated[int, Bounds(at_least=1, at_most=10_000)]  #: per seed and evaluation, each a simulator


@dataclass(frozen=True)
class Report:
    """What a progress display may want to know, after each part of a training."""

    phase: str
    done: int  #: updates or env steps of the phase so far
    total: int  #: of the phase
    unit: str  #: which of the two, or evaluations
    rate: float  #: of them a second, all seeds together; NaN of an evaluation alone
    score: OverSeeds  #: normalized, at the latest evaluation; of no seeds before the first


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
            online alone pass over them.
        env_steps: online environment steps per seed, after the offline updates.
        evaluate_every: offline updates between evaluations; a twentieth of all by default.
        evaluate_every_steps: env steps between evaluations; a twentieth of all by default.
        episodes: episodes per seed and evaluation; the task's own number by default.
        source: where the data comes from; `auto` takes the best at hand.
        policies: directory of the behaviour policies that a recipe rolls out.
        dataset: data to train on instead of the task's.
        preparation: what is done to the data first; by default what the agent's authors did.
        checkpoints: directory to keep the last two checkpoints in. Where it holds some of this same training, it goes
            on from them and, on a CPU with as many cores, ends exactly as if it had never stopped. It is left to the
            caller to delete.
        checkpoint_seconds: wall-clock seconds between checkpoints, which are written after an evaluation or at the
            end of a phase.
        resume_anyway: go on from checkpoints though other code, or other versions of packages, wrote them; the run
            tells where.
        report: called after every part of the training.
        warn: told of a damaged checkpoint, and of one that another number of devices or cores wrote.

    Raises:
        MoorlError: the task, the agent or the data is unknown, faulty or not to be had.
        CheckpointsError: the checkpoints are another training's, or none of them is whole.
    """
    require_devices()
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
        prepared = preparation.apply(dataset, returns_rule(phases), span_rule(phases))
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
    course = _Course(phases, task, prepared, seeds, plan, report)
    try:
        keeper = Checkpoints(checkpoints, identity, warn, resume_anyway) if checkpoints else None
        if keeper and (saved := keeper.latest()):
            try:
                course.restore(saved)
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
        while not course.finished:
            course.advance()
            if keeper and not course.finished and time.perf_counter() - written >= checkpoint_seconds:
                keeper.save(course.trainer.progress, *course.save())
                written = time.perf_counter()
        curves, states, seconds = course.finish()
    finally:
        course.close()
    normalizer, resumed = prepared.normalizer, course.resumed_anyway
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


class _Course:
    """One training under way: the trainer, its evaluations, and what they have shown so far."""

    def __init__(
        self,
        phases: tuple[Phase, ...],
        task: Task,
        prepared: Prepared,
        seeds: tuple[int, ...],
        plan: Plan,
        report: Callable[[Report], None],
    ):
        self._beginning = time.perf_counter()
        self._task, self._seeds, self._plan, self._report = task, seeds, plan, report
        self.trainer = Trainer(phases, task, prepared, seeds)
        self._evaluator = Evaluator(task, prepared.normalizer, seeds, plan.episodes)
        self._records: list[pd.DataFrame] = []
        self.resumed_anyway: list[dict[str, Any]] = []
        self._spent = dict.fromkeys(("compile", "update", "simulate", "evaluate", "total"), 0.0)  # before a restart
        self._evaluating = 0.0
        # On an accelerator the next updates run while the host evaluates the last ones' policies; on a CPU they would
        # only take its cores away.
        self._overlap = jax.default_backend() != "cpu"
        self._waiting: Callable[[], None] = lambda: None

    @property
    def finished(self) -> bool:
        """Whether all is trained and evaluated."""
        return self.trainer.finished

    def advance(self) -> None:
        """Train up to the next evaluation or the end of the phase."""
        trainer = self.trainer
        if trainer.done >= length(trainer.current):
            trainer.next_phase()
            if trainer.finished:  # by an instant
                return
        phase = trainer.current
        if isinstance(phase, Collect | Online):
            every = self._plan.evaluate_every_steps
            count = min(every - trainer.env_steps % every, length(phase) - trainer.done)
            judged = isinstance(phase, Online) or trainer.phase == len(trainer.phases) - 1
            ends = judged and trainer.done + count == length(phase)
            evaluated = getattr(phase, "judged", True) and (ends or (trainer.env_steps + count) % every == 0)
        else:
            evaluated = getattr(phase, "judged", True)
            every = self._plan.evaluate_every if evaluated else UNJUDGED_UPDATES
            count = min(every, length(phase) - trainer.done)
        before = self._busy
        wait = trainer.start(count)
        self._judge_waiting()
        metrics = wait()
        seconds = self._busy - before
        unit = {Collect: "env steps", Online: "env steps", Judge: "evaluations"}.get(type(phase), "updates")
        name = type(phase).__name__.lower()
        score = OverSeeds.of(self._records[-1]["score"] if self._records else [])
        rate = len(self._seeds) * count / seconds if seconds else np.nan
        news = Report(name, trainer.done, length(phase), unit, rate, score)
        if not evaluated:
            self._report(news)
            return
        leading = {
            "seed": self._seeds,
            "phase": name,
            "updates": trainer.updates,
            "env_steps": trainer.env_steps,
            "seconds": self._elapsed(),
        }
        scalars = {metric: np.asarray(value, float) for metric, value in metrics.items()}
        self._judge(pd.DataFrame(leading | scalars), news)

    def save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and record of a checkpoint."""
        self._judge_waiting()
        curves = [record.to_dict("list") for record in self._records]
        record = {"curves": curves, "seconds": self._seconds(), "resumed_anyway": self.resumed_anyway}
        return self.trainer.save(), record

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint; raises what `Trainer.restore` does."""
        self.trainer.restore(saved.arrays)
        self._records = [pd.DataFrame(columns) for columns in saved.record["curves"]]
        self._spent, self.resumed_anyway = saved.record["seconds"], saved.record["resumed_anyway"]
        if saved.then:
            at = {"updates": self.trainer.updates, "env_steps": self.trainer.env_steps}
            self.resumed_anyway.append(at | {"then": saved.then, "now": saved.now})

    def finish(self) -> tuple[pd.DataFrame, State, dict[str, float]]:
        """Return curves, final states and wall-clock by use."""
        self._judge_waiting()
        curves = pd.concat(self._records, ignore_index=True)
        curves = curves[LEADING + [column for column in curves if column not in LEADING]]
        return curves, self.trainer.states(), self._seconds()

    def close(self) -> None:
        """Close all simulators."""
        self._evaluator.close()
        self.trainer.close()

    def _judge(self, record: pd.DataFrame, news: Report) -> None:
        agent, round_ = self.trainer.agent, len(self._records)
        policies = self._evaluator.snapshot(self.trainer.policies())

        def judge() -> None:
            started = time.perf_counter()
            played = self._evaluator.evaluate(agent, policies, round_)
            record["return"] = played.returns.mean(axis=1)
            record["score"] = [self._task.score(value) for value in record["return"]]
            if (rates := played.success_rates()) is not None:
                record["success"] = rates
            self._evaluating += time.perf_counter() - started
            self._records.append(record)
            self._report(dataclasses.replace(news, score=OverSeeds.of(record["score"])))

        self._waiting = judge
        if not self._overlap:
            self._judge_waiting()

    def _judge_waiting(self) -> None:
        waiting, self._waiting = self._waiting, lambda: None
        waiting()

    @property
    def _busy(self) -> float:
        """Seconds that the lanes have trained, compilation and evaluation left out."""
        return float(np.mean([clock.total - clock.compile for clock in self.trainer.clocks]))

    def _elapsed(self) -> float:
        return self._spent["total"] + time.perf_counter() - self._beginning

    def _seconds(self) -> dict[str, float]:
        """Return wall-clock by use; of what the lanes do side by side, the mean over them."""
        clocks = self.trainer.clocks
        here = {
            use: float(np.mean([getattr(clock, use) for clock in clocks])) for use in ("compile", "update", "simulate")
        }
        here |= {"evaluate": self._evaluating, "total": time.perf_counter() - self._beginning}
        return {use: self._spent[use] + value for use, value in here.items()}


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
