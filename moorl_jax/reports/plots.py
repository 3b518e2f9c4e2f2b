"""Learning curves and performance profiles as pictures."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from moorl_jax.divergence import OverSeeds
from moorl_jax.engine.results import NO_SOURCE, Result
from moorl_jax.errors import MoorlError
from moorl_jax.reports.exploration import VISITED
from moorl_jax.reports.selection import Sweep, bandit, expected_online
from moorl_jax.reports.statistics import Scores, profile
from moorl_jax.tasks import Task
from moorl_jax.whole import whole

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

plt.rcParams["savefig.dpi"] = 130
plt.rcParams["text.parse_math"] = False  # the name of an agent's file may hold dollars
OFFLINE_SHARE = 0.5  #: width of the offline phase in a picture of both, in widths of the online phase
DATA_MEAN = "dataset mean"  #: what its line is called
NARROWEST = 2.2  #: a panel of a figure whose width is given, in inches
ENDINGS = (".png", ".pdf", ".svg")  #: of the files that pictures are written as


def require_ending(picture: Path) -> None:
    """Raise MoorlError unless pictures are written in files of this name's ending."""
    if picture.suffix not in ENDINGS:
        raise MoorlError(f"{picture}: a picture is written as one of {', '.join(ENDINGS)}")


@contextmanager
def as_in_a_paper(width: float | None) -> Iterator[None]:
    """Draw with small letters and fine dots, as a figure of a given width wants it; without a width, as on a screen."""
    with plt.rc_context():
        if width:
            plt.rc("font", size=8.0)
            plt.rc("lines", linewidth=1.0)
            plt.rc("savefig", dpi=300)
            plt.rc("pdf", fonttype=42)  # letters stay letters
            plt.rc("svg", fonttype="none")
        yield


def curves(finished: list[tuple[str, Result]], path: Path, width: float | None = None) -> None:
    """Draw one panel per task and budget: mean score over seeds against updates or env steps, a line per label.

    A band is one standard deviation. A curve ends where a seed diverged, with a note. Offline-to-online runs share one
    axis: updates up to the switch, env steps after it, where a dotted line goes on at the score before fine-tuning: a
    curve below it has fallen. The dashed line is the dataset's mean score. A single evaluation is no curve, and without
    curves no picture is written.
    """
    several = [(label, result) for label, result in finished if len(result.curves) > len(result.config["seeds"])]
    finished = [(label, result) for label, result in several if _measure(result)]
    labels = list(dict.fromkeys(label for label, _ in finished))
    with _panels(finished, labels, path, width) as panels:
        for axis, (task, updates, env_steps), here in panels:
            begins_offline = any((result.curves["env_steps"] == 0).any() for _, result in here)
            offline_width = OFFLINE_SHARE * env_steps if begins_offline else 0.0
            notes: list[str] = []
            for label, result in here:
                # At a switch there may be two evaluations at one step: keep the later.
                by_moment = result.curves.groupby(["updates", "env_steps", "seed"])[_measure(result)].last(skipna=False)
                scores = by_moment.unstack("seed")
                mean, std = scores.mean(axis=1, skipna=False), scores.std(axis=1, ddof=0, skipna=False)
                ever = OverSeeds.of(np.where(scores.isna().any(), np.nan, 0.0))
                notes += [f"{label}: {ever}"] * bool(ever.diverged)
                done, steps = (scores.index.get_level_values(level).to_numpy() for level in ("updates", "env_steps"))
                x = done
                if env_steps:
                    # Both phases on one axis: to the left of 0 the updates of the offline phase, drawn to a width of
                    # their own, to the right env steps.
                    x = np.where(steps > 0, steps, offline_width * (done / max(updates, 1) - 1.0))
                colour = _colour(label, labels)
                axis.plot(x, mean, color=colour, label=label)
                axis.fill_between(x, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
                if env_steps and not (offline := mean[steps == 0]).empty:
                    axis.plot([0, env_steps], [offline.iloc[-1]] * 2, color=colour, linestyle=":", linewidth=0.8)
            with_data = [result for _, result in here if result.config["source"] != NO_SOURCE]
            title = task
            if with_data and with_data[0].task.evaluated:
                data_score = with_data[0].task.score(with_data[0].provenance["dataset_mean_return"])
                axis.axhline(data_score, color="grey", linestyle="--", linewidth=1, label=DATA_MEAN)
                title = f"{task}\n{with_data[0].config['source']} data"
            axis.set_title(title, fontsize="medium")  # the longest are as wide as their panel
            axis.set(xlabel="env steps" if env_steps else "updates", ylabel=_unit(here[0][1].task))
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            if offline_width:
                _name_both_phases(axis, updates, env_steps, offline_width)
            axis.grid(alpha=0.3)
            axis.text(0.02, 0.02, "\n".join(notes), transform=axis.transAxes, fontsize="x-small")


def exploration(finished: list[tuple[str, Result]], path: Path, width: float | None = None) -> None:
    """Draw one panel per task and budget: cells visited, mean over seeds, against env steps, a line per label.

    A band is one standard deviation. Of results none of which counted cells more than once no picture is written.
    """
    counted = [(label, result) for label, result in finished if VISITED in result.curves]
    finished = [(label, result) for label, result in counted if result.curves["env_steps"].nunique() > 1]
    labels = list(dict.fromkeys(label for label, _ in finished))
    with _panels(finished, labels, path, width) as panels:
        for axis, (task, _, _), here in panels:
            for label, result in here:
                online, colour = result.curves[result.curves["env_steps"] > 0], _colour(label, labels)
                cells = online.groupby(["env_steps", "seed"])[VISITED].last().unstack("seed")
                mean, std = cells.mean(axis=1), cells.std(axis=1, ddof=0)
                axis.plot(mean.index, mean, color=colour, label=label)
                axis.fill_between(mean.index, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
            axis.set_title(task, fontsize="medium")
            axis.set(xlabel="env steps", ylabel="cells visited")
            axis.xaxis.set_major_formatter(EngFormatter(sep=""))
            axis.grid(alpha=0.3)


@contextmanager
def _panels(
    finished: list[tuple[str, Result]], labels: list[str], path: Path, width: float | None
) -> Iterator[list[tuple[Axes, tuple[str, int, int], list[tuple[str, Result]]]]]:
    """Draw a panel per task and budget, each with its results, and one legend; write the picture, if there are any."""
    each = list(dict.fromkeys(_panel(result) for _, result in finished))
    count = len(each)
    if not count:
        yield []
        return
    columns = min(count, max(1, int(width / NARROWEST)) if width else 3)
    rows = math.ceil(count / columns)
    width = width or 4.6 * columns  # in inches, as all sizes here
    entry = 0.6 + 0.065 * max(map(len, [*labels, DATA_MEAN]))  # of a legend, whose letters are small
    abreast = max(1, min(2 * columns, int(width / entry)))
    size = (width, 0.74 * width / columns * rows + 0.25 * math.ceil((len(labels) + 1) / abreast))
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[count:]:
        axis.set_visible(False)
    of_panels = [[(label, result) for label, result in finished if _panel(result) == panel] for panel in each]
    yield list(zip(axes.flat, each, of_panels, strict=False))
    lines = {line.get_label(): line for axis in axes.flat for line in axis.get_legend_handles_labels()[0]}
    figure.legend(handles=list(lines.values()), loc="outside lower center", ncols=abreast, fontsize="small")
    with whole(path) as partial:
        figure.savefig(partial)
    plt.close(figure)


def _colour(label: str, labels: list[str]) -> Any:
    return plt.color_sequences["tab10" if len(labels) <= 10 else "tab20"][labels.index(label)]


def settings(finished: list[tuple[str, Result]], path: Path, width: float | None = None) -> None:
    """Draw one panel per task: every label's score at the last evaluation, each seed a dot, their mean a bar."""
    finished = [(label, result) for label, result in finished if result.task.evaluated]
    tasks = list(dict.fromkeys(result.task.name for _, result in finished))
    if not tasks:
        return
    labels = list(dict.fromkeys(label for label, _ in finished))
    size = (width or 5.4 * len(tasks), 1.0 + 0.3 * len(labels))
    figure, axes = plt.subplots(1, len(tasks), figsize=size, squeeze=False, sharey=True, layout="constrained")
    for axis, task in zip(axes.flat, tasks, strict=True):
        for label, result in finished:
            if result.task.name == task:
                scores, height = result.last_scores(), labels.index(label)
                axis.barh(height, np.nan_to_num(scores.mean()), color="tab:blue", alpha=0.4)  # NaN: a seed diverged
                axis.plot(scores, np.full(len(scores), height), "k.", markersize=4)
        axis.set_yticks(range(len(labels)), labels, fontsize="small")
        axis.set_title(task, fontsize="medium")
        axis.set_xlabel(next(_unit(result.task) for _, result in finished if result.task.name == task))
        axis.grid(alpha=0.3, axis="x")
    axes.flat[0].invert_yaxis()  # the first on top
    with whole(path) as partial:
        figure.savefig(partial)
    plt.close(figure)


def _panel(result: Result) -> tuple[str, int, int]:
    return result.task.name, result.plan.updates, result.plan.env_steps


def _unit(task: Task) -> str:
    """Return the unit of a task's score; tasks without datasets have their own scales."""
    if task.pixels:
        return "return / 10"
    if not task.evaluated:
        return "loss"
    return "normalized score" if task.comparable else "score"


def _measure(result: Result) -> str:
    """Return the column that is drawn: the score; where nothing was evaluated the first loss, nothing without any."""
    losses = [column for column in map(str, result.curves) if "loss" in column]
    return "score" if result.task.evaluated else next(iter(losses), "")


def profiles(of_agents: dict[str, Scores], path: Path, width: float | None = None) -> None:
    """Draw each agent's performance profile, the share of its runs above a score, with its 95 % band."""
    every = np.concatenate([task for scores in of_agents.values() for task in scores])
    # A diverged run, with score NaN, is above no threshold.
    thresholds = np.linspace(np.fmin.reduce(every, initial=0.0), np.fmax.reduce(every, initial=0.0), 60)
    figure, axis = plt.subplots(figsize=(width or 6.0, 0.6 * (width or 6.0)), layout="constrained")
    for agent, scores in of_agents.items():
        shares = profile(scores, thresholds)
        (line,) = axis.plot(thresholds, [share.value for share in shares], label=agent)
        low, high = [share.low for share in shares], [share.high for share in shares]
        axis.fill_between(thresholds, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axis.set(xlabel="score", ylabel="share of runs above it", ylim=(0, 1.02))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=5, fontsize="small")
    with whole(path) as partial:
        figure.savefig(partial)
    plt.close(figure)


def selections(sweeps: list[Sweep], arms: int, pulls: int, path: Path) -> None:
    """Draw a panel per task: the score of the policy that a bandit recommends against the episodes that it played.

    A band is the 95 % interval; dots are expected online performance; the dashed line is the best policy of all.
    """
    tasks = list(dict.fromkeys(sweep.task for sweep in sweeps))
    figure, axes = plt.subplots(1, len(tasks), figsize=(5.0 * len(tasks), 3.6), squeeze=False, layout="constrained")
    for axis, task in zip(axes.flat, tasks, strict=True):
        for sweep in (sweep for sweep in sweeps if sweep.task == task):
            chosen, expected = bandit(sweep, arms, pulls), expected_online(sweep)
            (line,) = axis.plot(chosen.episodes, chosen.mean, label=f"{sweep.agent}, {sweep.settings} settings")
            axis.fill_between(chosen.episodes, chosen.low, chosen.high, color=line.get_color(), alpha=0.2, linewidth=0)
            axis.plot(expected.episodes, expected.mean, "o", color=line.get_color(), markersize=3)
            axis.axhline(sweep.scores.mean(axis=1).max(), color=line.get_color(), linestyle="--", linewidth=0.8)
        axis.set(xscale="log", xlabel="online episodes", ylabel="score of the chosen policy")
        axis.set_title(task, fontsize="medium")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    with whole(path) as partial:
        figure.savefig(partial)
    plt.close(figure)


def _name_both_phases(axis: Axes, updates: int, env_steps: int, offline_width: float) -> None:
    """Mark the switch, and say what is counted on each side of it."""
    name = EngFormatter(sep="")
    axis.axvline(0.0, color="black", linewidth=0.8)
    ticks = [-offline_width, -offline_width / 2, 0.0, env_steps / 2, env_steps]
    names = [name(0), name(updates / 2), f"{name(updates)} | 0", name(env_steps / 2), name(env_steps)]
    axis.set_xticks(ticks, names)
    axis.set_xlim(-1.03 * offline_width, 1.03 * env_steps)
    axis.set_xlabel("offline: updates  |  online: env steps")
