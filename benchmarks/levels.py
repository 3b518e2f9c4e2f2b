"""`python -m benchmarks.levels`: hold the robots' sets, made of the package's policies, against D4RL's.

`make fidelity` calls it.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from moorl_jax.cli.options import guarded
from moorl_jax.data import load
from moorl_jax.progress import Display, terminal
from moorl_jax.tasks import Task
from moorl_jax.tasks.catalogue import TASKS
from moorl_jax.whole import whole

D4RL = Path(__file__).with_name("levels.csv")  #: returns of D4RL's sets, with who measured them
CLOSE = 0.15  #: by how much of D4RL's a mean may differ without a reason
# Why a set's mean is farther off. Of untrained networks, six seeds were measured over 8 or 60 episodes each.
REASONS = {
    "halfcheetah-random-v2": (
        "how an untrained network moves depends on its initialization: the means of six seeds are -517 to -271"
    ),
    "hopper-random-v2": "the same: the means of six seeds are 11 to 41",
    "walker2d-random-v2": "the same: the means of six seeds are -11 to 9",
    "halfcheetah-medium-replay-v2": (
        "our learner is at the medium level after 120,000 env steps, D4RL's after 202,000, much of which it spent near "
        "that level: its replay holds more good episodes"
    ),
    "walker2d-medium-replay-v2": (
        "our learner has fewer good policies on its way: the one nearest to the medium level, after 280,000 env steps, "
        "returns 2,006"
    ),
    "walker2d-medium-v2": "no public policy with SAC's spread comes nearer, nor does our learner",
}

app = typer.Typer(add_completion=False)


def held(task: Task, theirs: dict[Any, float], display: Display) -> dict[str, str]:
    """Return the line of a task's set, made first where it is not here, beside D4RL's, NaN where they are not known."""
    dataset = load(task, "embedded", None, display.data(task.name), display.say)
    returns, _ = dataset.trajectory_returns()
    off = (returns.mean() - theirs["mean"]) / abs(theirs["mean"])
    return {
        "data": task.name,
        "rows": f"{len(dataset.rows.rewards):,}",
        "episodes": f"{len(returns):,}",
        "return": _spread(returns.mean(), returns.std()),
        "least": f"{returns.min():,.0f}",
        "most": f"{returns.max():,.0f}",
        "D4RL's episodes": _number(theirs["episodes"]),
        "D4RL's return": _spread(theirs["mean"], theirs["deviation"]),
        "D4RL's least": _number(theirs["least"]),
        "D4RL's most": _number(theirs["most"]),
        "off by": f"{100 * off:+.0f} %" if pd.notna(off) else "–",
    }


def _spread(mean: float, deviation: float) -> str:
    return f"{mean:,.0f} ± {deviation:,.0f}" if pd.notna(mean) else "–"


def _number(value: float) -> str:
    return f"{value:,.0f}" if pd.notna(value) else "–"


@app.command()
@guarded
def run(
    out: Annotated[Path, typer.Option(help="The markdown file to write.")] = Path("docs/levels.md"),
) -> None:
    """Make the robots' sets of the package's policies, and write the table of their returns beside D4RL's."""
    theirs = pd.read_csv(D4RL, index_col="task").to_dict("index")
    unknown = dict.fromkeys(("episodes", "mean", "deviation", "least", "most"), np.nan)
    with Display(terminal()) as display:
        lines = [
            held(task, theirs.get(task.name, unknown), display)
            for task in TASKS.values()
            if task.family == "locomotion" and "embedded" in task.datasets
        ]
    table = pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
    reasons = "\n".join(f"- *{name}*: {reason}." for name, reason in REASONS.items())
    page = PAGE.format(table=table, close=f"{100 * CLOSE:.0f} %", reasons=reasons)
    with whole(out) as place:
        place.write_text(page, encoding="utf-8")
    terminal().print(f"{page}\nwritten: {out}", highlight=False, soft_wrap=True)


PAGE = """# What the robots' data returns

Written by `make fidelity`. D4RL's sets were made by one SAC learner a robot; it published the data and not the
policies. `embedded` has learners of our own, trained as D4RL's were, whose policies the package carries: `random` is
the untrained one, HalfCheetah's and Hopper's `medium` the one nearest to D4RL's medium level, `medium-replay` what the
learner saw until then. Walker2d's `medium` and all `expert` sets are of networks that were trained by DAgger to imitate
public policies.
Returns are of the sets' episodes, mean ± population standard deviation; the recorder cuts some short, D4RL's too.
D4RL's figures are those that Decision Transformer's authors list of its files, or that their script prints.

{table}

Means that are more than {close} off, and why:

{reasons}
"""


if __name__ == "__main__":
    app()
