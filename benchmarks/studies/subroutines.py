"""What studies of offline RL as a subroutine report: what each variant ends with, who wins, what fine-tuning does."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import plots
from benchmarks.runner import Outcome, finished
from benchmarks.studies import questions
from benchmarks.studies.study import Section, Study, deviation, figure, mean, spread, write
from benchmarks.tables import DASH, over_seeds
from moorl_jax.agents import Subroutine

AFTER = (0, 1_000, 5_000, 20_000)  #: env steps after the switch to fine-tuning at which scores are shown


def report(study: Study, outcomes: list[Outcome], directory: Path) -> list[Section]:
    """Write table.csv, table.md and a picture for each agent, and return what a person reads."""
    numbers = frame(outcomes)
    sections = [Section("Variants", text(numbers), caption(study, outcomes)), *questions.sections(outcomes)]
    if (drops := drop_frame(outcomes)) is not None:
        sections.append(_drop_section(drops))
    write(numbers, sections, directory)
    alone = [outcome for outcome in outcomes if not isinstance(outcome.cell.settings.agent, Subroutine)]
    for agent in dict.fromkeys(outcome.cell.agent for outcome in outcomes if outcome not in alone):
        of_agent = [outcome for outcome in outcomes if outcome.cell.agent == agent]
        plots.curves(finished([*alone, *of_agent]), directory / f"curves-{agent}.png")
    return sections


def frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return a row per task and variant: final score and rate of success, area under the curve, what it cost.

    `area` is that under the score's curve over the env steps, divided by those; `validation` the env steps that
    validation took of the budget. Means over seeds; `minutes` is the wall-clock of all of them together.
    """
    rows = []
    for outcome in outcomes:
        cell, result = outcome.cell, outcome.result
        columns = {
            "final": result.last_scores() if result else np.array([]),
            "success": 100 * result.last_successes() if result else np.array([]),
            "area": questions.areas(result.curves) if result else np.array([]),
        }
        row: dict[str, object] = {"task": cell.task.name, "variant": cell.label}
        for name, values in columns.items():
            row |= {name: mean(values), f"{name} std": deviation(values)}
        agent, (_, env_steps) = cell.settings.agent, cell.spend
        row["validation"] = agent.validation_cost(env_steps) if isinstance(agent, Subroutine) else 0
        row["minutes"] = result.provenance["seconds"]["total"] / 60 if result else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


def text(numbers: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a person reads it."""
    return pd.DataFrame(
        {
            "task": numbers["task"],
            "variant": numbers["variant"],
            "final": spread(numbers, "final", "final std"),
            "success, %": numbers["success"].map(lambda rate: DASH if np.isnan(rate) else f"{rate:.0f}"),
            "area": spread(numbers, "area", "area std"),
            "validation": numbers["validation"].map("{:,}".format),
            "minutes": numbers["minutes"].map(figure),
        }
    )


def caption(study: Study, outcomes: list[Outcome]) -> str:
    """Say what was asked, and what the figures are."""
    cell = outcomes[0].cell
    updates, env_steps = cell.spend
    return (
        f"{study.question} Scores, {over_seeds(cell)}, {cell.episodes} "
        f"episodes each, after {env_steps:,} env steps in all and {updates:,} updates for each offline training among "
        "them: D4RL's normalized score of the walkers, Humanoid's return, per cent of the highest return of "
        "Sawyer and Franka Kitchen. Success: of episodes, in Kitchen of its sub-tasks. Area: under the score's curve, "
        "straight between evaluations, per env step; what is recommended at the very end counts from the last "
        "evaluation before it. Validation: env steps that it took of the same budget. Minutes: wall-clock of all seeds."
    )


def drop_frame(outcomes: list[Outcome]) -> pd.DataFrame | None:
    """Return a row per task and variant that tunes: mean scores at its switch and some env steps after.

    `learner` is the online learner's last score before the pause; `back after`, when it was again what it was at the
    switch. None where no variant tunes.
    """
    rows = []
    for outcome in outcomes:
        agent, result = outcome.cell.settings.agent, outcome.result
        if not (isinstance(agent, Subroutine) and agent.tunes and result):
            continue
        curves = result.curves
        scores = curves.groupby(["phase", "env_steps"])["score"].mean()
        begin = curves.loc[curves["phase"] == "judge", "env_steps"].max()
        before = scores["online"].loc[:begin]
        after = curves[curves["env_steps"] > begin].groupby("env_steps")["score"].mean()
        after.index -= begin
        row: dict[str, object] = {"task": outcome.cell.task.name, "variant": outcome.cell.label}
        row["learner"] = before.iloc[-1] if len(before) else np.nan
        row["0"] = scores["judge"][begin]
        row |= {f"{steps:,}": after.get(steps, np.nan) for steps in AFTER[1:]}
        row["end"] = after.iloc[-1]
        row["lowest"] = after.min()
        row["back after"] = _back_after(after, scores["judge"][begin])
        rows.append(row)
    return pd.DataFrame(rows) if rows else None


def _back_after(after: pd.Series, made: float) -> float:
    """Return the env steps after which scores that fell below `made` are there again: 0 if they never fell, or NaN."""
    fallen = after[np.maximum.accumulate(after.to_numpy() < made)]
    back = fallen.index[fallen >= made]
    return 0.0 if fallen.empty else float(back[0]) if len(back) else np.nan


def _drop_section(drops: pd.DataFrame) -> Section:
    shown = drops.copy()
    for name in drops.columns[2:]:
        shown[name] = drops[name].map(figure)
    shown["back after"] = drops["back after"].map(lambda steps: DASH if np.isnan(steps) else f"{steps:,.0f}")
    return Section(
        "After the switch to fine-tuning",
        shown,
        "Mean score by env steps after the switch: at 0 what the offline algorithm made, before it the learner's last; "
        "then the end, the lowest, and the env steps after which it was again what it was at 0, which is 0 where it "
        f"never fell. {DASH}: no evaluation there, or never.",
    )
