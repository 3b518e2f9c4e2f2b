"""Learning curves as pictures."""

import math
from pathlib import Path

import matplotlib
import numpy as np

from benchmarks.runner import Outcome
from moorl_jax.engine.results import NO_SOURCE

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

OFFLINE_SHARE = 0.5  #: width of the offline phase in a picture of both, in widths of the online phase


def curves(outcomes: list[Outcome], path: Path) -> None:
    """Draw one panel a task: each agent's mean score over seeds against updates or env steps, a band of one std.

    Where there are both, they share the axis: updates up to the switch, env steps after it. The dashed line is the
    dataset's own mean score.
    """
    finished = [outcome for outcome in outcomes if outcome.result]
    tasks = list(dict.fromkeys(outcome.cell.task.name for outcome in finished))
    labels = list(dict.fromkeys(outcome.cell.label for outcome in finished))
    if not tasks:
        return
    colours = plt.get_cmap("tab10" if len(labels) <= 10 else "tab20").colors  # type: ignore[attr-defined]
    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    legend_rows = math.ceil((len(labels) + 1) / (2 * columns))
    size = (4.6 * columns, 3.4 * rows + 0.25 * legend_rows)  # in inches
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    for axis, task in zip(axes.flat, tasks, strict=False):
        here = [outcome for outcome in finished if outcome.cell.task.name == task]
        updates, env_steps = here[0].cell.spend
        begins_offline = any((outcome.result.curves["env_steps"] == 0).any() for outcome in here if outcome.result)
        offline_width = OFFLINE_SHARE * env_steps if begins_offline else 0.0
        for outcome in here:
            assert outcome.result is not None
            # Of two evaluations at one moment, on either side of a switch, the later.
            scores = outcome.result.curves.pivot_table(
                index=["updates", "env_steps"], columns="seed", values="score", aggfunc="last"
            )
            mean, std = scores.mean(axis=1), scores.std(axis=1, ddof=0)
            done, steps = (scores.index.get_level_values(level).to_numpy() for level in ("updates", "env_steps"))
            x = done
            if env_steps:
                # Both phases on one axis: to the left of 0 the updates of the offline phase, drawn to a width of
                # their own, to the right env steps.
                x = np.where(steps > 0, steps, offline_width * (done / max(updates, 1) - 1.0))
            colour = colours[labels.index(outcome.cell.label)]
            axis.plot(x, mean, color=colour, label=outcome.cell.label)
            axis.fill_between(x, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
        with_data = [outcome for outcome in here if outcome.cell.source != NO_SOURCE]
        title = task
        if with_data:
            mean_return = with_data[0].result.provenance["dataset_mean_return"]  # type: ignore[union-attr]
            data_score = with_data[0].cell.task.score(mean_return)
            axis.axhline(data_score, color="grey", linestyle="--", linewidth=1, label="dataset mean")
            title = f"{task} ({with_data[0].cell.source} data)"
        axis.set(title=title, xlabel="env steps" if env_steps else "updates", ylabel="normalized score")
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        if offline_width:
            _name_both_phases(axis, updates, env_steps, offline_width)
        axis.grid(alpha=0.3)
    lines = {line.get_label(): line for axis in axes.flat for line in axis.get_legend_handles_labels()[0]}
    figure.legend(handles=list(lines.values()), loc="outside lower center", ncols=2 * columns, fontsize="small")
    figure.savefig(path, dpi=130)
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
