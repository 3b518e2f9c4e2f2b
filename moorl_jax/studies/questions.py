"""The findings of the paper on offline RL as a subroutine (arXiv 2512.00383), put as questions to what was run."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from moorl_jax.agents import Subroutine
from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import Result
from moorl_jax.reports.fine_tuning import per_seed
from moorl_jax.reports.statistics import UNKNOWN, Estimate, difference, improvement
from moorl_jax.studies.study import Section
from moorl_jax.sweeps.runner import Outcome
from moorl_jax.tasks import Task
from moorl_jax.tasks.catalogue import FINISHED, SUCCESSFUL

SPARSE = (FINISHED, SUCCESSFUL)
FEWEST_TASKS = 5  #: for a rank correlation
FEWEST_SEEDS = 3  #: for an answer; of two against two, one in six lies wholly above the other by chance
TUNED_FROM = {"tune_iql": "recommend_iql", "tune_pex": "recommend_iql", "tune_cal_ql": "recommend_cal_ql"}


def sections(outcomes: list[Outcome]) -> list[Section]:
    """Return who wins where, what the learner alone does, and the answers; none without it or without subroutines."""
    runs = [_Run.of(outcome) for outcome in outcomes if outcome.result]
    if len({run.alone for run in runs}) < 2:
        return []
    never = [
        name for name, here in _by_task(runs) if here[0].sparse and not any((run.finals > 0).any() for run in here)
    ]
    return [_winners(runs), _learners(runs), _answers([run for run in runs if run.task.name not in never], never)]


@dataclass(frozen=True)
class _Run:
    """What the questions look at in a variant's run."""

    task: Task
    variant: str
    agent: str
    how: tuple[tuple[str, ...], str] | None  #: what is validated and by what; None without validation
    alone: bool  #: whether it is the online learner alone
    finals: np.ndarray  #: (seeds,), rates of success where success alone is paid for, else scores; NaN if diverged
    result: Result

    @property
    def sparse(self) -> bool:
        """Whether the task pays for success alone."""
        return self.task.rewards in SPARSE

    @classmethod
    def of(cls, outcome: Outcome) -> "_Run":
        assert outcome.result is not None
        agent, finals = outcome.cell.settings.agent, outcome.result.last_scores()
        # Where all seeds diverged before their first step no rate of success was told; their scores are NaN likewise.
        if outcome.cell.task.rewards in SPARSE and len(outcome.result.last_successes()):
            finals = outcome.result.last_successes()
        alone = not isinstance(agent, Subroutine)
        how = (agent.validated, agent.validation) if isinstance(agent, Subroutine) and agent.validated else None
        return cls(outcome.cell.task, outcome.cell.label, outcome.cell.agent, how, alone, finals, outcome.result)


_Pair = tuple[_Run, _Run]
"""Two runs on one task."""


def _winners(runs: list[_Run]) -> Section:
    rows = []
    for name, here in _by_task(runs):
        alone = next((run for run in here if run.alone), None)
        subroutines = [run for run in here if not run.alone]
        if alone is None or not subroutines:
            continue
        best = _highest(subroutines, [run.finals for run in subroutines])
        largest = _highest(here, [per_seed(run.result)["area"].to_numpy() for run in here])
        rows.append(
            {
                "task": name,
                "best at the end": best.variant if best else DASH,
                "it ends with": _shown(best) if best else DASH,
                "online only": _shown(alone),
                "beats online only": str(_improvement([(best, alone)])) if best else DASH,
                "largest area": largest.variant if largest else DASH,
            }
        )
    return Section(
        "Who wins where",
        pd.DataFrame(rows),
        "Rates of success in per cent, in Kitchen of sub-tasks, where success alone is paid for, else scores. Beats: "
        "the probability that a seed of the one ends above a seed of the other, with its 95 % bootstrap interval. The "
        f"best of many variants looks better than it is. One of which a seed diverged wins nothing; {DASH}: all did.",
    )


def _learners(runs: list[_Run]) -> Section:
    rows = []
    for name, here in _by_task(runs):
        alone = [run for run in here if run.alone]
        if alone and (pairs := _against_alone(here)):
            rows.append(
                {
                    "task": name,
                    "reward": "sparse" if alone[0].sparse else "dense",
                    "online only": _shown(alone[0]),
                    "instability": (fall := _instability(alone[0])).or_diverged(f"{fall.mean:.2f}"),
                    "subroutines beat it": str(_improvement(pairs)),
                }
            )
    return Section(
        "The learner alone, and what subroutines add to it",
        pd.DataFrame(rows),
        "Instability: how far a seed fell at most from a score it had before, in ranges of all scores, the last "
        "evaluation left out, mean over seeds. Subroutines: all variants, each as likely.",
    )


def _answers(runs: list[_Run], never: list[str]) -> Section:
    """Return the paper's three findings as questions, and what these runs answer; in `never` nobody succeeded."""
    rows: list[dict[str, str]] = []

    certain = min((len(run.finals) for run in runs), default=0) >= FEWEST_SEEDS

    def ask(question: str, comparison: str, pairs: list[_Pair]) -> None:
        if pairs:
            found = _improvement(pairs)
            rows.append(_answer(question, comparison, len(pairs), found, nothing=0.5, certain=certain))

    used = [run for run in runs if not run.alone]
    kinds = {name: [run for run in runs if run.sparse == (name == "sparse")] for name in ("sparse", "dense")}
    for name, here in kinds.items():
        ask("Do subroutines help?", f"subroutines above online only, {name} reward", _against_alone(here))
    sparse, dense = (_against_alone(here) for here in kinds.values())
    found = difference(_finals(sparse), _finals(dense), _tasks([*sparse, *dense])) if sparse and dense else UNKNOWN
    more, both = "Does the gain grow where reward is sparse?", len(sparse) + len(dense)
    rows.append(_answer(more, "with sparse reward, less with dense", both, found, nothing=0.0, certain=certain))
    rows.append(_with_instability(runs, certain))
    for how in dict.fromkeys(run.how for run in used if run.how):
        pairs = [
            (run, plain)
            for run in used
            for plain in used
            if run.how == how and plain.how is None and (run.task, run.agent) == (plain.task, plain.agent)
        ]
        validated, validation = how
        by = "episodes" if validation == "online" else "fitted values"
        ask("Does validation help?", f"of {' and '.join(validated)} by {by}, above none", pairs)
    for agent in dict.fromkeys(run.agent for run in used):
        here = [run for run in runs if run.alone or run.agent == agent]
        question = "Does fine-tuning help?" if agent in TUNED_FROM else "Does recommending help?"
        ask(question, f"{agent} above online only", _against_alone(here))
    for agent, recommended in TUNED_FROM.items():
        pairs = [
            (run, other)
            for run in used
            for other in used
            if (run.agent, other.agent) == (agent, recommended) and (run.task, run.how) == (other.task, other.how)
        ]
        ask("Does fine-tuning help?", f"{agent} above {recommended}", pairs)
    return Section(
        "The paper's findings as questions",
        pd.DataFrame(rows),
        "Probability of improvement, that a seed of the one ends above a seed of the other, mean over the pairs of "
        "runs, with its 95 % stratified bootstrap interval over seeds; 0.5 is no difference. With few seeds intervals "
        f"are narrower than they should be; with fewer than {FEWEST_SEEDS} the answer is open. Seeds are drawn once "
        "for all runs on a task. Runs: pairs that were compared, or tasks of a rank correlation, whose interval is "
        f"Fisher's and which takes {FEWEST_TASKS} tasks that differ."
        + (f" Left out, for no run ever succeeded: {', '.join(never)}." if never else ""),
    )


def _with_instability(runs: list[_Run], certain: bool) -> dict[str, str]:
    """Return the rank correlation over tasks of the learner's instability and the gain."""
    instabilities, gains = [], []
    for _, here in _by_task(runs):
        if (alone := [run for run in here if run.alone]) and (pairs := _against_alone(here)):
            fall = _instability(alone[0])
            instabilities.append(np.inf if fall.diverged else fall.mean)  # whoever diverged fell the farthest
            gains.append(_improvement(pairs).value)
    found = UNKNOWN
    # With fewer tasks Fisher's interval of a correlation is nearly all there is.
    if len(gains) >= FEWEST_TASKS and min(len(set(instabilities)), len(set(gains))) > 1:
        ranks = stats.pearsonr(stats.rankdata(instabilities), stats.rankdata(gains))
        found = Estimate(float(ranks.statistic), *map(float, ranks.confidence_interval(0.95)))
    return _answer(
        "Does the gain grow where the learner is unstable?",
        "rank correlation over tasks",
        len(gains),
        found,
        nothing=0.0,
        certain=certain,
    )


def _answer(
    question: str, comparison: str, runs: int, found: Estimate, nothing: float, certain: bool
) -> dict[str, str]:
    """Return a row; `nothing` is the figure that means no difference, and the answer is open unless `certain`."""
    answer = "yes" if found.low > nothing else "no, the reverse" if found.high < nothing else "open"
    return {
        "question": question,
        "comparison": comparison,
        "runs": str(runs),
        "estimate": DASH if np.isnan(found.value) else str(found),
        "answer": answer if certain else "open",
    }


def _by_task(runs: list[_Run]) -> list[tuple[str, list[_Run]]]:
    names = dict.fromkeys(run.task.name for run in runs)
    return [(name, [run for run in runs if run.task.name == name]) for name in names]


def _improvement(pairs: list[_Pair]) -> Estimate:
    """Return the probability of improvement. Until they pause, a task's runs of one seed are one and the same run."""
    return improvement(_finals(pairs), _tasks(pairs))


def _finals(pairs: list[_Pair]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(run.finals, other.finals) for run, other in pairs]


def _tasks(pairs: list[_Pair]) -> list[str]:
    return [run.task.name for run, _ in pairs]


def _against_alone(runs: list[_Run]) -> list[_Pair]:
    """Return every subroutine's run beside that of the online learner alone on its task."""
    return [
        (run, alone) for _, here in _by_task(runs) for run in here for alone in here if alone.alone and not run.alone
    ]


def _instability(run: _Run) -> OverSeeds:
    """Return how far a seed fell at most from a score it had, in ranges of all scores.

    The last evaluation is left out: what is gained over it must not be measured by it.
    """
    curves = [curve["score"].to_numpy()[:-1] for _, curve in run.result.curves.groupby("seed", sort=False)]
    falls = np.array([(np.maximum.accumulate(curve) - curve).max(initial=0.0) for curve in curves])
    every = np.concatenate(curves)
    span = np.fmax.reduce(every, initial=-np.inf) - np.fmin.reduce(every, initial=np.inf)
    return OverSeeds.of(falls / span if span > 0 else falls)  # else it never moved, or there was one evaluation


def _highest(runs: list[_Run], values: list[np.ndarray]) -> _Run | None:
    """Return the run whose values have the highest mean over seeds, of those of which no seed diverged."""
    means = [value.mean() for value in values]  # NaN where one did
    return None if np.isnan(means).all() else runs[int(np.nanargmax(means))]


def _shown(run: _Run) -> str:
    over = OverSeeds.of(run.finals)
    return over.or_diverged(f"{100 * over.mean:.0f} %") if run.sparse else str(over)
