"""Training with evaluations on the way: a trainer, its learning curves, and what a checkpoint holds of both."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd

from moorl_jax.agents.contract import State
from moorl_jax.config import Bounds, Count, Steps
from moorl_jax.data import Prepared
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine.checkpoints import Checkpoint
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
        self._began = time.perf_counter()
        self._task, self._seeds, self._plan, self._report = task, seeds, plan, report
        self.trainer = Trainer(phases, task, prepared, seeds)
        self._evaluator = Evaluator(task, prepared.normalizer, seeds, plan.episodes) if task.evaluated else None
        self._records: list[pd.DataFrame] = []  # one an evaluation
        self._returns: list[list[float]] = [[]] * len(seeds)  # of the last evaluation's episodes
        self.resumed_anyway: list[dict[str, Any]] = []
        self._spent = dict.fromkeys(("compile", "update", "simulate", "evaluate", "total"), 0.0)  # before a restart
        self._evaluating = 0.0
        # On an accelerator the next updates run while the host evaluates the last ones' policies; on a CPU they would
        # only take its cores away.
        self._overlap = jax.default_backend() != "cpu"
        self._pending: Callable[[], None] = lambda: None  # the evaluation that waits for the next updates to start

    @property
    def finished(self) -> bool:
        """Whether all is trained and evaluated."""
        return self.trainer.finished

    @property
    def curves(self) -> pd.DataFrame:
        """The learning curves so far."""
        return joined(self._records)

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
        rate = len(self._seeds) * count / seconds if seconds else np.nan
        score = OverSeeds.of(self._records[-1]["score"] if self._records and self._evaluator else [])
        leading = {
            "seed": self._seeds,
            "phase": phase.name,
            "updates": trainer.progress.updates,
            "env_steps": trainer.progress.env_steps,
            "seconds": self._elapsed(),
        }
        scalars = {metric: np.asarray(value, float) for metric, value in metrics.items()}
        rows = pd.DataFrame(leading | scalars)
        news = Report(phase.name, trainer.progress.done, phase.length, phase.unit, self.step, rate, score, rows)
        if evaluated:
            self._evaluate(rows, news)
        else:
            self._report(news)

    def save(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return arrays and record of a checkpoint."""
        self._evaluate_pending()
        curves = [record.to_dict("list") for record in self._records]
        record = {"curves": curves, "returns": self._returns}
        record |= {"seconds": self._seconds(), "resumed_anyway": self.resumed_anyway}
        return self.trainer.save(), record

    def restore(self, saved: Checkpoint) -> bool:
        """Resume from a checkpoint; returns and raises what `Trainer.restore` does."""
        began = self.trainer.restore(saved.arrays)
        self._records = [pd.DataFrame(columns) for columns in saved.record["curves"]]
        self._returns = saved.record.get("returns", self._returns)  # earlier checkpoints have none
        self._spent, self.resumed_anyway = saved.record["seconds"], saved.record["resumed_anyway"]
        at = {"updates": self.trainer.progress.updates, "env_steps": self.trainer.progress.env_steps}
        if saved.then:
            self.resumed_anyway.append(at | {"then": saved.then, "now": saved.now})
        if began:
            self.resumed_anyway.append(at | {"episodes": "began anew"})
        return began

    def finish(self) -> tuple[pd.DataFrame, np.ndarray, State, dict[str, float]]:
        """Return curves, the returns of the last evaluation's episodes, final states and wall-clock by use."""
        self._evaluate_pending()
        return self.curves, np.array(self._returns), self.trainer.states(), self._seconds()

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

    def _evaluate(self, record: pd.DataFrame, news: Report) -> None:
        """Evaluate the policies as they are now, on an accelerator once the next updates run; complete the record.

        Without an environment the record is complete but for a return and a score.
        """
        if not self._evaluator:
            self._records.append(record.assign(**{"return": np.nan, "score": np.nan}))
            self._report(dataclasses.replace(news, score=OverSeeds.of([])))
            return
        agent, round_, evaluator = self.trainer.agent, len(self._records), self._evaluator
        policies = evaluator.snapshot(self.trainer.policies())

        def evaluate() -> None:
            started = time.perf_counter()
            played = evaluator.evaluate(agent, policies, round_)
            self._returns = played.returns.tolist()
            record["return"] = played.returns.mean(axis=1)
            record["score"] = [self._task.score(value) for value in record["return"]]
            if (rates := played.success_rates()) is not None:
                record["success"] = rates
            self._evaluating += time.perf_counter() - started
            self._records.append(record)
            self._report(dataclasses.replace(news, score=OverSeeds.of(record["score"])))

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

    def _elapsed(self) -> float:
        return self._spent["total"] + time.perf_counter() - self._began

    def _seconds(self) -> dict[str, float]:
        """Return wall-clock by use; of what the devices do side by side, the mean over them."""
        clocks = self.trainer.clocks
        here = {
            use: float(np.mean([getattr(clock, use) for clock in clocks])) for use in ("compile", "update", "simulate")
        }
        here |= {"evaluate": self._evaluating, "total": time.perf_counter() - self._began}
        return {use: self._spent[use] + value for use, value in here.items()}
