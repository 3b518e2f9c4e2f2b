"""What studies of offline RL as a subroutine report: what each variant ends with, who wins, what fine-tuning does."""

from pathlib import Path

import numpy as np
import pandas as pd

from moorl_jax.agents import Subroutine
from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.reports import fine_tuning, plots
from moorl_jax.reports.tables import figure, over_seeds
from moorl_jax.studies import questions
from moorl_jax.studies.study import Section, Study, mean_alone, write
from moorl_jax.sweeps.runner import Outcome, finished

AFTER = (0, 1_000, 5_000, 20_000)  #: env steps after the switch to fine-tuning at which scores are shown


def report(study: Study, outcomes: list[Outcome], directory: Path) -> list[Section]:
    """Write table.csv, table.md and a picture for each agent, and return what a person reads."""
    found = frame(outcomes)
    sections = [Section("Variants", text(found), caption(study, outcomes)), *questions.sections(outcomes)]
    if (drops := drop_frame(outcomes)) is not None:
        sections.append(_drop_section(drops))
    write(found, sections, directory)
    alone = [outcome for outcome in outcomes if not isinstance(outcome.cell.settings.agent, Subroutine)]
    for agent in dict.fromkeys(outcome.cell.agent for outcome in outcomes if outcome not in alone):
        of_agent = [outcome for outcome in outcomes if outcome.cell.agent == agent]
        plots.curves(finished([*alone, *of_agent]), directory / f"curves-{agent}.png")
    return sections


def frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return a row per task and variant: final score and rate of success, area under the curve, what it cost.

    `area` is that under the score's curve over the env steps, divided by those; `validation` the env steps that
    validation took of the budget. Scores are over seeds; `minutes` is the wall-clock of all of them together.
    """
    rows = []
    for outcome in outcomes:
        cell, result = outcome.cell, outcome.result
        agent, (_, env_steps) = cell.settings.agent, cell.spend
        rows.append(
            {
                "task": cell.task.name,
                "variant": cell.label,
                "final": OverSeeds.of(result.last_scores() if result else []),
                "success": OverSeeds.of(100 * result.last_successes() if result else []),
                "area": OverSeeds.of(fine_tuning.per_seed(result)["area"] if result else []),
                "validation": agent.validation_cost(env_steps) if isinstance(agent, Subroutine) else 0,
                "minutes": result.provenance["seconds"]["total"] / 60 if result else np.nan,
            }
        )
    return pd.DataFrame(rows)


def text(found: pd.DataFrame) -> pd.DataFrame:
    """Return the table as a person reads it."""
    return pd.DataFrame(
        {
            "task": found["task"],
            "variant": found["variant"],
            "final": found["final"].map(str),
            "success, %": found["success"].map(lambda rate: rate.or_diverged(f"{rate.mean:.0f}")),
            "area": found["area"].map(str),
            "validation": found["validation"].map("{:,}".format),
            "minutes": found["minutes"].map(figure),
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
    """Return a row per task and variant that tunes: scores over seeds at its switch and some env steps after.

    `learner` is the online learner's last score before the pause; `drop` and `back after` as `fine_tuning` defines
    them. None where no variant tunes.
    """
    rows = []
    for outcome in outcomes:
        agent, result = outcome.cell.settings.agent, outcome.result
        if not (isinstance(agent, Subroutine) and agent.tunes and result):
            continue
        curves = result.curves
        scores = curves.groupby(["phase", "env_steps"])["score"].agg(OverSeeds.of)
        begin = curves.loc[curves["phase"] == "judge", "env_steps"].max()
        before = scores["online"].loc[:begin]
        after = curves[curves["env_steps"] > begin].groupby("env_steps")["score"].agg(OverSeeds.of)
        after.index -= begin
        none = OverSeeds.of([])
        row: dict[str, object] = {"task": outcome.cell.task.name, "variant": outcome.cell.label}
        row["learner"] = before.iloc[-1] if len(before) else none
        row["0"] = scores["judge"][begin]
        row |= {f"{steps:,}": after.get(steps, none) for steps in AFTER[1:]}
        row["end"] = after.iloc[-1]
        row["drop"], row["back after"] = _falls(curves, begin)
        rows.append(row)
    return pd.DataFrame(rows) if rows else None


def _falls(curves: pd.DataFrame, begin: int) -> tuple[OverSeeds, float]:
    """Return `drop` and the median of `back after` of the seeds that were fine-tuned from env step `begin` on."""
    found = []
    for _, curve in curves.groupby("seed", sort=False):
        made = curve.loc[(curve["phase"] == "judge") & (curve["env_steps"] == begin), "score"].iloc[-1]
        after = curve[curve["env_steps"] > begin]
        found.append(fine_tuning.fall(made, after["env_steps"].to_numpy() - begin, after["score"].to_numpy()))
    drops, backs = zip(*found, strict=True)
    return OverSeeds.of(drops), float(np.median(backs))


def _drop_section(drops: pd.DataFrame) -> Section:
    shown = drops.copy()
    for name in drops.columns[2:-1]:
        shown[name] = drops[name].map(mean_alone)
    shown["back after"] = drops["back after"].map(fine_tuning.back)
    return Section(
        "After the switch to fine-tuning",
        shown,
        "Mean score by env steps after the switch: at 0 what the offline algorithm made, before it the learner's last; "
        "then the end. Drop: how far a seed fell below its score at 0 until it was back, mean over seeds. Back after: "
        f"the env steps until it was, the median over seeds, 0 where it never fell. {DASH}: no evaluation there.",
    )
