"""Score tables: a row per task, a column per agent, the published score beside ours."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from moorl_jax.data.sources import MADE_HERE, File, find
from moorl_jax.divergence import DASH, OverSeeds
from moorl_jax.engine.results import NO_SOURCE
from moorl_jax.reports import fine_tuning
from moorl_jax.reports.published import published_scores
from moorl_jax.reports.writing import in_numbers
from moorl_jax.sweeps.cells import Cell
from moorl_jax.sweeps.runner import Outcome
from moorl_jax.tasks import Task
from moorl_jax.whole import whole

OTHER_SCALES = "Scores of Sawyer and Franka Kitchen are per cent of the highest return, Humanoid's are returns."


def score_frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return the scores as numbers: a row per task, per agent mean, std, how many seeds diverged and published mean.

    With the protocol offline-to-online there are also the scores at the end of the offline phase.

    `dataset` is the normalized mean return of the data's episodes. Cells without a result are NaN, and so are means
    with a diverged seed.
    """
    return pd.DataFrame([in_numbers(row) for row in _rows(outcomes)])


def text_frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return the scores as text: `mean ± std (published)`, and a row of means below several tasks."""
    found = _rows(outcomes)
    agents = list(dict.fromkeys(outcome.cell.agent for outcome in outcomes))
    failed = {(o.cell.task.name, o.cell.agent): word for o in outcomes if (word := _failure(o))}
    ended = {(outcome.cell.task.name, outcome.cell.agent) for outcome in outcomes if outcome.result}
    # By default, agents that cannot learn offline alone follow another protocol.
    tuned = {outcome.cell.agent for outcome in outcomes if outcome.cell.protocol == "offline-to-online"}
    rows = []
    for of_task in found:
        row = {"task": of_task["task"], "source": of_task["source"], "dataset mean": figure(of_task["dataset"])}
        for agent in agents:
            cell = of_task["task"], agent
            ours = failed.get(cell) or str(of_task.get(agent, DASH))
            if agent in tuned and cell in ended:
                ours = f"{of_task.get(f'{agent} offline', DASH)} → {ours}"
            ours += _succeeding(of_task.get(f"{agent} success", np.nan))
            known = of_task.get(f"{agent} published", np.nan)
            row[agent] = ours + _in_brackets(known)
        rows.append(row)
    one_scale = len({outcome.cell.task.pixels for outcome in outcomes}) == 1
    if len(rows) > 1 and one_scale and not any(_without_dataset(outcome) for outcome in outcomes):
        # A mean over some of the tasks cannot be compared with a mean over all.
        mean = {"task": "mean", "source": "", "dataset mean": figure(np.mean([row["dataset"] for row in found]))}
        for agent in agents:
            published = np.mean([row.get(f"{agent} published", np.nan) for row in found])
            mean[agent] = _over_tasks(found, agent) + _in_brackets(float(published))
            if agent in tuned:
                mean[agent] = f"{_over_tasks(found, f'{agent} offline')} → {mean[agent]}"
        rows.append(mean)
    frame = pd.DataFrame(rows)
    return frame if _with_data(outcomes) else frame.drop(columns=["source", "dataset mean"])


def caption(outcomes: list[Outcome]) -> str:
    """Return the caption: metric, step, seeds, spread, data, and the sources of published scores."""
    cell = outcomes[0].cell
    counts = sorted({outcome.cell.episodes for outcome in outcomes})
    episodes = f"{' or '.join(map(str, counts))} episode{'s' if counts != [1] else ''} each"
    moments: dict[str, dict[str, None]] = {}
    for outcome in outcomes:
        moments.setdefault(_moment(outcome.cell), {})[outcome.cell.agent] = None
    several = len(moments) > 1
    moment = "; ".join(f"{moment} ({', '.join(agents)})" if several else moment for moment, agents in moments.items())
    scale = _scale({outcome.cell.task.pixels for outcome in outcomes if not outcome.cell.task.own})
    lines = [
        f"{scale} {moment} (budget {cell.budget.name}): {over_seeds(cell)}, {episodes}.",
    ]
    if cell.overrides:
        lines.append(f"Settings changed: {', '.join(cell.overrides)}.")
    if _with_data(outcomes):
        lines.append("Dataset mean: normalized mean return of the data's episodes.")
    if any(not outcome.cell.task.own and _without_dataset(outcome) for outcome in outcomes):
        lines.append(OTHER_SCALES)
    lines += own_scales(outcome.cell.task for outcome in outcomes)
    if any(outcome.result and len(outcome.result.last_successes()) for outcome in outcomes):
        lines.append("In per cent: episodes that succeeded, in Kitchen finished sub-tasks, at the last evaluation.")
    made = {outcome.cell.task.name: outcome.cell for outcome in outcomes if outcome.cell.source in MADE_HERE}
    if made:
        by: dict[str, list[str]] = {}
        for name, cell in made.items():
            by.setdefault(f"{find(cell.task, cell.source).made_of} ({cell.source})", []).append(name)
        origins_here = "; ".join(f"{', '.join(names)} from {how}" for how, names in by.items())
        lines.append(f"Made here, not the original data: {origins_here}.")
    if any(outcome.cell.source == File.name and not outcome.cell.task.own for outcome in outcomes):
        lines.append("File data was found in D4RL's place, but is not D4RL's.")
    if any(outcome.cell.source == "minari" and not outcome.cell.task.own for outcome in outcomes):
        lines.append(
            "Minari's datasets are not D4RL's, and were recorded in other environments, in which they are evaluated."
        )
    known = [
        published_scores().get((outcome.cell.task.name, outcome.cell.agent))
        for outcome in outcomes
        if outcome.cell.protocol == "offline"
    ]
    origins = sorted({str(score) for score in known if score})
    if origins:
        lines.append(
            f"In brackets: published on the original data, with those authors' settings: {'; '.join(origins)}."
        )
    if any(outcome.cell.agent == "pixel_cql" for outcome in outcomes) and origins:
        lines.append("The published CQL from images is built on DrQ-v2, ours on SAC.")
    return " ".join(lines)


def own_scales(tasks: Iterable[Task]) -> list[str]:
    """Return a sentence on the scores of each of the tasks that are users' own."""
    said = []
    for task in {task.name: task for task in tasks if task.own}.values():
        if not task.evaluated:
            said.append(f"{task.name} has no environment: nothing was evaluated.")
        elif task.scaled:
            said.append(f"Scores of {task.name}: a return of {task.low:.10g} is 0, of {task.high:.10g} 100.")
        else:
            said.append(f"Scores of {task.name} are returns.")
    return said


def tuning_frame(outcomes: list[Outcome]) -> pd.DataFrame:
    """Return what fine-tuning did, a row per task and agent that went from offline to online; empty without any."""
    rows = [
        fine_tuning.per_seed(outcome.result).assign(agent=outcome.cell.agent)
        for outcome in outcomes
        if outcome.result and outcome.cell.protocol == "offline-to-online"
    ]
    return fine_tuning.frame(pd.concat(rows)) if rows else pd.DataFrame()


def write(outcomes: list[Outcome], directory: Path) -> None:
    """Write table.csv (numbers) and table.md (for people), and fine-tuning.csv where something was fine-tuned."""
    tuning = tuning_frame(outcomes)
    with whole(directory / "table.csv") as partial:
        score_frame(outcomes).to_csv(partial, index=False, float_format="%.4f")
    if len(tuning):
        numbers = pd.DataFrame([in_numbers(row) for row in tuning.to_dict("records")])
        with whole(directory / "fine-tuning.csv") as partial:
            numbers.to_csv(partial, index=False, float_format="%.4f")
    parts = [f"{shown.to_markdown(index=False, disable_numparse=True)}\n\n{said}\n" for shown, said in _both(outcomes)]
    with whole(directory / "table.md") as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def show(outcomes: list[Outcome], console: Console) -> None:
    """Print the table, and that of fine-tuning."""
    for frame, said in _both(outcomes):
        table = Table(caption=said, caption_justify="left", header_style="bold")
        for column in frame:
            named = column in ("task", "source", "agent")
            table.add_column(str(column), justify="left" if named else "right", no_wrap=column == "task")
        for row in frame.itertuples(index=False):
            table.add_row(*map(str, row))
        console.print(table)


def _both(outcomes: list[Outcome]) -> list[tuple[pd.DataFrame, str]]:
    """Return the table of scores and that of fine-tuning, each with its caption."""
    tuning = tuning_frame(outcomes)
    second = [(fine_tuning.text(tuning), fine_tuning.LEGEND)] if len(tuning) else []
    return [(text_frame(outcomes), caption(outcomes)), *second]


def figure(value: float) -> str:
    """Return a number as tables show it."""
    return DASH if np.isnan(value) else f"{value:.1f}"


def over_seeds(cell: Cell) -> str:
    """Return the words for a mean with its spread."""
    seeds = len(cell.seeds)
    return f"mean ± population standard deviation over {seeds} seeds" if seeds > 1 else "one seed"


def _rows(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Return the tables' rows, one per task. Scores are OverSeeds."""
    published = published_scores()
    rows: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        cell = outcome.cell
        row = rows.setdefault(cell.task.name, {"task": cell.task.name, "source": cell.source, "dataset": np.nan})
        known = published.get((cell.task.name, cell.agent)) if cell.protocol == "offline" else None
        if cell.protocol == "offline-to-online":
            row[f"{cell.agent} offline"] = OverSeeds.of(outcome.result.offline_scores() if outcome.result else [])
        row[cell.agent] = OverSeeds.of(outcome.result.last_scores() if outcome.result else [])
        row[f"{cell.agent} published"] = known.mean if known else np.nan
        successes = outcome.result.last_successes() if outcome.result else np.array([])
        if len(successes):
            row[f"{cell.agent} success"] = successes.mean()
        if outcome.result and cell.source != NO_SOURCE:
            row["source"] = cell.source
            row["dataset"] = cell.task.score(outcome.result.provenance["dataset_mean_return"])
    return list(rows.values())


def _scale(of_images: set[bool]) -> str:
    """Return the words for the score's scale; `of_images` says which kinds of the catalogue's tasks there are."""
    if of_images == {True}:
        return "Return / 10"
    if not of_images:
        return "Score"
    return "Normalized score (D4RL's scale" + ("; of images, return / 10)" if True in of_images else ")")


def _moment(cell: Cell) -> str:
    """Return the words for when the scores were taken."""
    updates, env_steps = cell.spend
    if cell.protocol == "offline":
        return f"at the last evaluation, after {updates:,} updates"
    if cell.protocol == "online":
        return f"at the last evaluation, after {env_steps:,} env steps"
    if cell.protocol == "subroutine":
        return f"after {env_steps:,} env steps in all, and {updates:,} updates for each offline training among them"
    return (
        f"at the end of the offline phase, {updates:,} updates, → at the end, {env_steps:,} env steps later; agents "
        f"without an offline phase have {DASH} there"
    )


def _over_tasks(rows: list[dict[str, Any]], column: str) -> str:
    """Return the mean of a column over tasks, a dash if a task lacks it, or how many runs diverged."""
    tasks = [row.get(column, OverSeeds.of([])) for row in rows]
    if not all(task.seeds for task in tasks):
        return DASH
    seeds, diverged = (sum(getattr(task, name) for task in tasks) for name in ("seeds", "diverged"))
    return str(OverSeeds(float(np.mean([task.mean for task in tasks])), np.nan, seeds, diverged))


def _failure(outcome: Outcome) -> str:
    """Return the word shown in place of a missing score; empty if there is one."""
    if outcome.result is not None:
        scores = OverSeeds.of(outcome.result.last_scores())
        return str(scores) if scores.diverged else ""
    return "no data" if outcome.no_data else "failed"


def _with_data(outcomes: list[Outcome]) -> bool:
    return any(outcome.cell.source != NO_SOURCE for outcome in outcomes)


def _without_dataset(outcome: Outcome) -> bool:
    """Whether a task has no dataset of the catalogue: those have scores on several scales, whose mean means nothing."""
    return not outcome.cell.task.comparable


def _succeeding(rate: float) -> str:
    return "" if np.isnan(rate) else f", {100 * rate:.0f} %"


def _in_brackets(published: float) -> str:
    return "" if np.isnan(published) else f" ({published:.1f})"
