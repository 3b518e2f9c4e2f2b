"""Learning curves as pictures."""

import math
from pathlib import Path

import matplotlib

from benchmarks.runner import Outcome

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def curves(outcomes: list[Outcome], path: Path) -> None:
    """Draw one panel a task: each agent's mean score over seeds against updates, a band of one std around it.

    The dashed line is the dataset's own mean score.
    """
    finished = [outcome for outcome in outcomes if outcome.result]
    tasks = list(dict.fromkeys(outcome.cell.task.name for outcome in finished))
    agents = list(dict.fromkeys(outcome.cell.agent for outcome in finished))
    if not tasks:
        return
    columns = min(3, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4.6 * columns, 3.4 * rows), squeeze=False, layout="constrained")
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    for axis, task in zip(axes.flat, tasks, strict=False):
        for outcome in finished:
            if outcome.cell.task.name != task or outcome.result is None:
                continue
            scores = outcome.result.curves.pivot(index="updates", columns="seed", values="score")
            mean, std = scores.mean(axis=1), scores.std(axis=1, ddof=0)
            colour = f"C{agents.index(outcome.cell.agent)}"
            axis.plot(scores.index, mean, color=colour, label=outcome.cell.agent)
            axis.fill_between(scores.index, mean - std, mean + std, color=colour, alpha=0.2, linewidth=0)
            data_score = outcome.cell.task.score(outcome.result.provenance["dataset_mean_return"])
            source = outcome.cell.source
        axis.axhline(data_score, color="grey", linestyle="--", linewidth=1, label="dataset mean")
        axis.set(title=f"{task} ({source} data)", xlabel="updates", ylabel="normalized score")
        axis.xaxis.set_major_formatter(matplotlib.ticker.EngFormatter(sep=""))
        axis.grid(alpha=0.3)
    axes.flat[0].legend(fontsize="small")
    figure.savefig(path, dpi=130)
    plt.close(figure)
