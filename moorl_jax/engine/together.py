"""Trainings that differ in numbers of their agents alone, such as a sweep's settings: one program trains all of them.

Each has checkpoints and a result of its own, as if it had been trained alone, and can be resumed alone.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorl_jax.agents import Agent
from moorl_jax.data import Dataset, Normalizer, Preparation, Prepared
from moorl_jax.engine import provenance
from moorl_jax.engine.checkpoints import Checkpoint, Checkpoints
from moorl_jax.engine.extension import LAST
from moorl_jax.engine.recipes import best_episodes, needs_chunks, needs_next_actions, returns_rule, span_rule
from moorl_jax.engine.rehearsal import recipe
from moorl_jax.engine.run import Run
from moorl_jax.engine.training_loop import Plan, TrainingLoop
from moorl_jax.errors import CheckpointsError
from moorl_jax.phases import Phase
from moorl_jax.progress import Report
from moorl_jax.tasks import Task
from moorl_jax.tracking import Tracker

REST = 9  #: times as long as writing several trainings' checkpoints took, until they are written again


@dataclass(frozen=True)
class Training:
    """One of several trainings: its agent, and what is kept of it while it runs."""

    agent: Agent
    overrides: tuple[str, ...] = ()  #: the NAME=VALUE changes by hand that its settings are a result of
    checkpoints: Path | None = None  #: directory to keep the last two in
    extend: Path | None = None  #: the finished result that it goes on from
    trackers: Mapping[type[Tracker], Path] = field(default_factory=dict)  #: where each of them writes


@dataclass(frozen=True)
class Shared:
    """What all of the trainings have in common."""

    task: Task
    dataset: Dataset | None  #: None where the recipes draw from none
    preparation: Preparation
    seeds: tuple[int, ...]
    plan: Plan


@dataclass(frozen=True)
class _Begun:
    """A training and how far it is."""

    training: Training
    phases: tuple[Phase, ...]
    identity: dict[str, Any]  #: all that decides its result; empty where nothing is kept of it
    keeper: Checkpoints | None
    saved: Checkpoint | None

    @property
    def progress(self) -> list[int]:
        """The numbers of its last checkpoint that say how far it is; none at the beginning."""
        arrays = self.saved.arrays if self.saved else {}
        return [int(arrays[name]) for name in sorted(arrays) if name.startswith("progress.")]


def train_together(
    trainings: Sequence[Training],
    shared: Shared,
    *,
    checkpoint_seconds: float = 60.0,
    resume_anyway: bool = False,
    extendable: bool = False,
    callback: Callable[[Report], None],
    warn: Callable[[str], None],
) -> list[Run]:
    """Train agents whose recipes are alike (`recipes.alike`), every seed of each; return their runs, in order.

    Those whose checkpoints are equally far go on together. The options are those of `train`.
    """
    if dataset := shared.dataset:
        for oddity in dataset.noticed():
            warn(f"{dataset.source} data of {dataset.task.name}: {oddity}")
    begun = [_begin(training, shared, resume_anyway, warn) for training in trainings]
    prepared = _prepared(shared, begun[0].phases)

    def far(number: int) -> list[int]:
        return begun[number].progress

    runs: dict[int, Run] = {}
    for _, equally in itertools.groupby(sorted(range(len(begun)), key=far), key=far):
        numbers = list(equally)
        members = [begun[number] for number in numbers]
        ended = _go_on(members, shared, prepared, checkpoint_seconds, extendable, callback, warn)
        runs |= zip(numbers, ended, strict=True)
    return [runs[number] for number in range(len(begun))]


def _begin(training: Training, shared: Shared, resume_anyway: bool, warn: Callable[[str], None]) -> _Begun:
    agent, plan = training.agent, shared.plan
    for name, text in provenance.agent_files(agent).items():  # which keeps it as it is now
        if not text:
            warn(
                f"{name}: the agent's text is not known here, so a result is without it: evaluate it beside such a file"
            )
    identity = _identity(agent, shared) if training.checkpoints or training.trackers else {}
    keeper = None
    if training.checkpoints:
        before = training.extend / LAST if training.extend else None
        keeper = Checkpoints(training.checkpoints, identity, warn, resume_anyway, before)
    phases = recipe(agent, plan.updates, plan.env_steps)
    return _Begun(training, phases, identity, keeper, keeper.latest() if keeper else None)


def _go_on(
    members: list[_Begun],
    shared: Shared,
    prepared: Prepared,
    checkpoint_seconds: float,
    extendable: bool,
    callback: Callable[[Report], None],
    warn: Callable[[str], None],
) -> list[Run]:
    """Train those that are equally far, from there to the end."""
    keepers = {place: each.keeper for place, each in enumerate(members) if each.keeper}

    def report(news: Report) -> None:
        if "score" in news.rows:
            for place, keeper in keepers.items():
                keeper.write_curves(loop.curves(place))
        callback(news)
        for place, tracker in trackers:
            tracker.log(dataclasses.replace(news, rows=news.rows.iloc[loop.seeds_of(place)]))

    def save() -> dict[int, Path]:
        saved = enumerate(loop.save())
        number = loop.trainer.progress.number
        return {place: keepers[place].save(number, *parts) for place, parts in saved if place in keepers}

    with ExitStack() as opened:
        recipes = [each.phases for each in members]
        loop = TrainingLoop(recipes, shared.task, prepared, shared.seeds, shared.plan, report)
        opened.callback(loop.close)
        if _resume(loop, members):
            warn(
                f"{shared.task.name}: its simulators cannot be saved: episodes under way at the checkpoint end there "
                "as by a time-out, so this run is not the one that never stopped"
            )
        trackers = []
        for place, each in enumerate(members):
            if place in keepers:
                keepers[place].write_curves(loop.curves(place))
            name = f"{shared.task.name} {type(each.training.agent).__name__}"
            for kind, where in each.training.trackers.items():
                tracker = kind(where, name, shared.seeds, each.identity, loop.step)
                opened.callback(tracker.close)
                trackers.append((place, tracker))
        due = time.perf_counter() + checkpoint_seconds
        while not loop.finished:
            loop.advance()
            if keepers and not loop.finished and (began := time.perf_counter()) >= due:
                save()
                now = time.perf_counter()
                rest = (now - began) * REST if len(members) > 1 else 0.0
                due = now + max(checkpoint_seconds, rest)
        last = save() if extendable else {}
        ended = loop.finish()
    return [
        Run(
            each.training.agent,
            shared.task,
            shared.dataset,
            shared.preparation,
            prepared.normalizer,
            shared.seeds,
            shared.plan,
            *ended[place],
            loop.resumed_anyway[place],
            last.get(place),
            each.training.overrides,
            len(members),
        )
        for place, each in enumerate(members)
    ]


def _prepared(shared: Shared, phases: tuple[Phase, ...]) -> Prepared:
    """Return the data as the recipe's agents see it."""
    preparation = shared.preparation
    if not shared.dataset:
        unchanged = Normalizer.identity(shared.task.observation_shape)
        return Prepared(None, unchanged, preparation.reward_scale, preparation.reward_shift)
    return preparation.apply(
        shared.dataset,
        returns_rule(phases),
        span_rule(phases),
        next_actions=needs_next_actions(phases),
        chunks=needs_chunks(phases),
        best_episodes=best_episodes(phases),
    )


def _identity(agent: Agent, shared: Shared) -> dict[str, Any]:
    """Return all that decides a training's result."""
    return {
        "task": shared.task.name,
        **provenance.own_task(shared.task),
        "agent": provenance.agent_name(agent),
        "agent_config": provenance.agent_fields(agent),
        "preparation": dataclasses.asdict(shared.preparation),
        "dataset_sha256": shared.dataset.fingerprint if shared.dataset else None,
        "seeds": shared.seeds,
        "plan": dataclasses.asdict(shared.plan),
        "code": provenance.code(agent),
        "versions": provenance.versions(shared.task),
        "backend": provenance.backend(),
    }


def _resume(loop: TrainingLoop, members: list[_Begun]) -> bool:
    """Resume from the last checkpoints, if there are any, and return whether that cut episodes short.

    Raises CheckpointsError where one does not fit.
    """
    saved = [each.saved for each in members if each.saved]
    if not saved:
        return False
    try:
        return loop.restore(saved)
    except (KeyError, IndexError, ValueError) as error:
        older = [each.keeper for each in members if each.keeper and each.saved and each.saved.then]
        if not older:
            raise
        raise CheckpointsError(
            older[0].directory,
            "of-other-code",
            f"holds checkpoints that do not fit this code ({error})",
            "finish with the code that wrote them, or move the directory away to begin anew",
        ) from error
