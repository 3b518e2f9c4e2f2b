"""Trainings with evaluations on the way: a trainer, learning curves, and what a checkpoint holds of both."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd

from moorl_jax.agents.contract import State
from moorl_jax.config import Bounds, Count, Steps
from moorl_jax.data import Prepared
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine import snapshots
from moorl_jax.engine.checkpoints import Checkpoint
from moorl_jax.engine.coverage import Coverage
from moorl_jax.engine.curves import joined
from moorl_jax.engine.evaluation import Evaluator
from moorl_jax.engine.trainer import Trainer
from moorl_jax.phases import Phase
from moorl_jax.progress import Report
from moorl_jax.tasks import Task

PREPARING_UPDATES = 1_000  #: between reports of a phase that only prepares


@dataclass(frozen=True)
class Plan:
    """How long a training is and how often it is evaluated."""

    updates: Steps  #: offline, per seed
    env_steps: Steps  #: online, per seed
    evaluate_every: Count  #: offline updates between evaluations
    evaluate_every_steps: Count  #: env steps between evaluations
    episodes: Annotated[int, Bounds(at_least=1, at_most=10_000)]  #: per seed and evaluation, each a simulator


class TrainingLoop:
    """Trainings under way, all seeds of each: the trainer, its evaluations, and what they have shown so far.

    Of several trainings each has curves, states and checkpoints of its own, the same as alone.
    """

    def __init__(
        self,
        recipes: Sequence[tuple[Phase, ...]],
        task: Task,
        prepared: Prepared,
        seeds: tuple[int, ...],
        plan: Plan,
        report: Callable[[Report], None],
    ):
        self._began = time.perf_counter()
        self._task, self._seeds, self._plan, self._report = task, seeds, plan, report
        self._places = range(len(recipes))
        self.trainer = Trainer(recipes, task, prepared, seeds)
        self._evaluator = Evaluator(task, prepared.normalizer, seeds, plan.episodes) if task.evaluated else None
        self._coverage = Coverage.of(task, prepared)
        # Each is a list over trainings: a record per evaluation, the resumes by other code, seconds before a restart.
        self._records: list[list[pd.DataFrame]] = [[] for _ in recipes]
        # Of the last evaluation's episodes, seed by seed.
        self._returns: list[list[list[float]]] = [[[]] * len(seeds) for _ in recipes]
        self.resumed_anyway: list[list[dict[str, Any]]] = [[] for _ in recipes]
        self._spent = [dict.fromkeys(("compile", "update", "simulate", "evaluate", "total"), 0.0) for _ in recipes]
        self._evaluating = 0.0
        # On an accelerator the next updates run while the host evaluates the last ones' policies; on a CPU they would
        # only take its cores away.
        self._overlap = jax.default_backend() != "cpu"
        self._pending: Callable[[], None] = lambda: None  # the evaluation that waits for the next updates to start

    @property
    def finished(self) -> bool:
        """Whether all is trained and evaluated."""
        return self.trainer.finished

    def curves(self, place: int = 0) -> pd.DataFrame:
        """Return a training's learning curves so far."""
        return joined(self._records[place])

    def seeds_of(self, place: int) -> slice:
        """Return where a training's seeds stand among all."""
        return slice(place * len(self._seeds), (place + 1) * len(self._seeds))

    @property
    def step(self) -> int:
        """Updates of phases without env steps, and env steps, so far."""
        before = sum(phase.length for phase in self.trainer.phases[: self.trainer.progress.phase])
        return before + min(self.trainer.progress.done, self.trainer.current.length)  # whole cycles may go beyond

    def advance(self) -> None:
        """Train up to the next evaluation or the end of the phase."""
        trainer = self.trainer
        if trainer.left <= 0:
            trainer.next_phase()
            if trainer.finished:  # by an instant
                return
        phase = trainer.current
        count, evaluated = self._next_part()
        before = self._busy
        wait = trainer.start(count)
        self._evaluate_pending()
        metrics = wait()
        seconds = self._busy - before
        rate = len(self._places) * len(self._seeds) * count / seconds if seconds else np.nan
        scalars = {metric: np.asarray(value, float) for metric, value in metrics.items()}
        records = []
        for place in self._places:
            leading = {
                "seed": self._seeds,
                "phase": phase.name,
                "updates": trainer.progress.updates,
                "env_steps": trainer.progress.env_steps,
                "seconds": self._seconds(place)["total"],
            }
            records.append(pd.DataFrame(leading | self._of(place, scalars)))
        rows, score = pd.concat(records, ignore_index=True), self._score()
        news = Report(phase.name, trainer.progress.done, phase.length, phase.unit, self.step, rate, score, rows)
        if evaluated:
            if self._coverage and trainer.progress.env_steps:
                visits = pd.DataFrame(map(self._coverage.measure, trainer.observations()))
                for place, record in zip(self._places, records, strict=True):
                    record[visits.columns] = visits[self.seeds_of(place)].to_numpy()
            self._evaluate(records, news)
        else:
            self._report(news)

    def save(self) -> list[tuple[dict[str, np.ndarray], dict[str, Any]]]:
        """Return arrays and record of each training's checkpoint."""
        self._evaluate_pending()
        records = [
            {
                "curves": [record.to_dict("list") for record in self._records[place]],
                "returns": self._returns[place],
                "seconds": self._seconds(place),
                "resumed_anyway": self.resumed_anyway[place],
            }
            for place in self._places
        ]
        arrays = snapshots.apart(self.trainer.save(), [self.seeds_of(place) for place in self._places])
        return list(zip(arrays, records, strict=True))

    def restore(self, saved: Sequence[Checkpoint]) -> bool:
        """Resume from each training's checkpoint, all equally far; returns and raises what `Trainer.restore` does."""
        began = self.trainer.restore(snapshots.joined([each.arrays for each in saved]))
        at = {"updates": self.trainer.progress.updates, "env_steps": self.trainer.progress.env_steps}
        for place, each in enumerate(saved):
            self._records[place] = [pd.DataFrame(columns) for columns in each.record["curves"]]
            self._returns[place] = each.record.get("returns", self._returns[place])  # earlier checkpoints have none
            self._spent[place] = each.record["seconds"]
            resumed = [*each.record["resumed_anyway"]]
            if each.then:
                resumed.append(at | {"then": each.then, "now": each.now})
            if began:
                resumed.append(at | {"episodes": "began anew"})
            self.resumed_anyway[place] = resumed
        return began

    def finish(self) -> list[tuple[pd.DataFrame, np.ndarray, State, dict[str, float]]]:
        """Return each training's curves, its last evaluation's returns, final states and wall-clock by use."""
        self._evaluate_pending()
        states = self.trainer.states()
        return [
            (self.curves(place), np.array(self._returns[place]), self._of(place, states), self._seconds(place))
            for place in self._places
        ]

    def close(self) -> None:
        """Close all simulators."""
        if self._evaluator:
            self._evaluator.close()
        self.trainer.close()

    def _next_part(self) -> tuple[int, bool]:
        """Return how much of the phase comes next, in its unit, and whether an evaluation follows."""
        trainer, phase = self.trainer, self.trainer.current
        if not phase.acts:
            every = self._plan.evaluate_every if phase.evaluated else PREPARING_UPDATES
            return min(every, trainer.left), phase.evaluated
        every, taken = self._plan.evaluate_every_steps, trainer.progress.env_steps
        count = min(every - taken % every, trainer.left)
        # What was only collected has changed no policy, and is evaluated at its end if nothing follows.
        ends = count == trainer.left and (phase.learns or trainer.in_last_phase)
        return count, phase.evaluated and (ends or (taken + count) % every == 0)

    def _evaluate(self, records: list[pd.DataFrame], news: Report) -> None:
        """Evaluate the policies as they are now, on an accelerator once the next updates run; complete the records.

        Without an environment a record is complete but for a return and a score.
        """
        if not self._evaluator:
            for kept, record in zip(self._records, records, strict=True):
                kept.append(record.assign(**{"return": np.nan, "score": np.nan}))
            self._report(dataclasses.replace(news, score=OverSeeds.of([])))
            return
        agents, round_, evaluator = self.trainer.agents, len(self._records[0]), self._evaluator
        everyones = self.trainer.policies()
        policies = [evaluator.snapshot(self._of(place, everyones)) for place in self._places]

        def evaluate() -> None:
            started = time.perf_counter()
            for place, (agent, policy, record) in enumerate(zip(agents, policies, records, strict=True)):
                played = evaluator.evaluate(agent, policy, round_)
                self._returns[place] = played.returns.tolist()
                record["return"] = played.returns.mean(axis=1)
                record["score"] = [self._task.score(value) for value in record["return"]]
                if (rates := played.success_rates()) is not None:
                    record["success"] = rates
            self._evaluating += time.perf_counter() - started
            for kept, record in zip(self._records, records, strict=True):
                kept.append(record)
            self._report(dataclasses.replace(news, score=self._score(), rows=pd.concat(records, ignore_index=True)))

        self._pending = evaluate
        if not self._overlap:
            self._evaluate_pending()

    def _evaluate_pending(self) -> None:
        pending, self._pending = self._pending, lambda: None
        pending()

    @property
    def _busy(self) -> float:
        """Seconds that the devices have trained, compilation and evaluation left out."""
        return float(np.mean([clock.total - clock.compile for clock in self.trainer.clocks]))

    def _score(self) -> OverSeeds:
        """Return the normalized scores at the latest evaluation, of no seeds before the first."""
        latest = [records[-1]["score"] for records in self._records if records and self._evaluator]
        return OverSeeds.of(np.concatenate(latest) if latest else [])

    def _of(self, place: int, tree: Any) -> Any:
        """Return a training's part of a pytree of all seeds."""
        return jax.tree.map(lambda leaf: leaf[self.seeds_of(place)], tree)

    def _seconds(self, place: int) -> dict[str, float]:
        """Return wall-clock by use, a training's equal share; of what the devices do side by side, their mean."""
        clocks, count = self.trainer.clocks, len(self._places)
        here = {
            use: float(np.mean([getattr(clock, use) for clock in clocks])) for use in ("compile", "update", "simulate")
        }
        here |= {"evaluate": self._evaluating, "total": time.perf_counter() - self._began}
        return {use: self._spent[place][use] + value / count for use, value in here.items()}
