"""`python -m benchmarks.regress`: has a change made learning worse? `make regress` calls it.

Short trainings on a Hopper with episodes of 100 steps, so that there are many time-outs, are compared with the
committed runs in `regression.csv`. Scores may not drop, and critics' values and losses may not move: a bug such as a
time-out treated as a terminal shows there long before it shows in a score. Whatever raises an alarm is trained again
with other seeds and counts only if it raises one again: with one fixed baseline of twelve seeds a single comparison may
be wrong far more often than its test says, but rarely twice.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from rich.table import Table
from scipy import stats

from moorl_jax.agents.overrides import override
from moorl_jax.cli.options import guarded
from moorl_jax.data import Dataset, Rows, recipe
from moorl_jax.data.plans import EMBEDDED, Actor
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.engine.training import train
from moorl_jax.errors import MoorlError
from moorl_jax.progress import Display, terminal
from moorl_jax.settings import settings
from moorl_jax.tasks import find
from moorl_jax.whole import whole

BASELINE = Path(__file__).with_name("regression.csv")
ALARM = 0.01  #: probability of a first alarm if nothing has changed, over all baselines and comparisons
CONFIRMED = 0.01  #: probability of two alarms in a row for a given baseline; holds for all but one in 500 baselines
SEEDS, BASELINE_SEEDS = 4, 12
# A clone of a public policy, which the committed runs learned from; no dataset is made of it any more.
BEHAVIOUR = Actor("actor", EMBEDDED / "hopper.npz", "relu", squash=True)
STEPS = 20_000  #: of it; they are the dataset
EPISODES = 20
TASK = dataclasses.replace(find("hopper-medium-v2"), name="brief-hopper", horizon=100, low=0.0, high=300.0)


@dataclass(frozen=True)
class Pinned:
    """A training that is repeated to check that it still learns."""

    name: str
    agent: str
    updates: int
    env_steps: int
    changes: tuple[str, ...] = ()
    critic_loss: str = "critic_loss"  #: the column of its curves with the critics' loss


PINNED = (
    Pinned("TD3+BC offline", "td3_bc", 1_500, 0),
    Pinned("IQL offline to online", "iql", 1_000, 600),
    # A training of OPT this short ends near the lowest possible score, so its critics are what is checked.
    Pinned("OPT offline to online", "opt", 500, 300, ("utd=2",), critic_loss="new_critic_loss"),
    Pinned("MOORL hybrid", "moorl", 0, 400),
)


@dataclass(frozen=True)
class Figure:
    """A number of a training's last evaluation that is compared."""

    name: str
    column: str
    ranked: bool = False  #: compared by rank, with an alarm only if it falls; otherwise an alarm if it moves
    logarithmic: bool = False  #: compared as a logarithm


FIGURES = (
    Figure("score", "score", ranked=True),
    Figure("critic's values", "q"),
    Figure("critic's loss", "critic_loss", logarithmic=True),
)


def measure(seeds: list[int], display: Display) -> pd.DataFrame:
    """Run all of PINNED and return a row per training and seed."""
    columns = recipe.roll_out(TASK, BEHAVIOUR, STEPS, (0,))
    rows = Rows(**{name: value for name, value in columns.items() if not name.startswith("infos/")})
    data = Dataset(TASK, "embedded", rows, rows.fingerprint())
    measured = []
    for pinned in PINNED:
        chosen = settings(pinned.agent, TASK, pinned.updates, pinned.env_steps)
        run = train(
            override(chosen.agent, pinned.changes),
            TASK,
            seeds=seeds,
            updates=pinned.updates,
            env_steps=pinned.env_steps,
            evaluate_every=max(1, pinned.updates),
            evaluate_every_steps=max(1, pinned.env_steps),
            episodes=EPISODES,
            dataset=data,
            preparation=chosen.preparation,
            progress=False,
            callback=display.training(pinned.name),
        )
        last = run.curves.groupby("seed", sort=False).last(skipna=False).reset_index()
        # An earlier offline phase logs its critics' loss under the plain name, whatever the last phase calls it.
        last["critic_loss"] = last[pinned.critic_loss]
        measured.append(last[["seed", *(figure.column for figure in FIGURES)]].assign(training=pinned.name))
    return pd.concat(measured, ignore_index=True)[["training", "seed", *(figure.column for figure in FIGURES)]]


def compare(baseline: pd.DataFrame, now: pd.DataFrame) -> pd.DataFrame:
    """Return a row per training and figure: the means then and now, the adjusted p value, and whether it is an alarm.

    `seeds` has the number of diverged seeds. Raises MoorlError if the baseline is of other trainings, or has a
    diverged seed.
    """
    require_finite(baseline)
    trainings = baseline["training"].unique()
    if set(trainings) != set(now["training"]):
        raise MoorlError("the baseline is of other trainings; `python -m benchmarks.regress --record` writes a new one")
    rows, p = [], []
    for training in trainings:
        for figure in FIGURES:
            then, here = (table.loc[table["training"] == training, figure.column] for table in (baseline, now))
            p.append(p_value(figure, here.to_numpy(), then.to_numpy()) if np.isfinite(here).all() else 0.0)
            rows.append(
                {
                    "training": training,
                    "figure": figure.name,
                    "baseline": then.mean(skipna=False),
                    "baseline std": then.std(skipna=False),
                    "now": here.mean(skipna=False),
                    "now std": here.std(skipna=False),
                    "seeds": OverSeeds.of(here),
                }
            )
    adjusted = corrected(np.array(p))
    return pd.DataFrame(rows).assign(p=adjusted, alarm=adjusted < ALARM)


def require_finite(baseline: pd.DataFrame) -> None:
    """Raise MoorlError if a seed of the baseline diverged: its p values would be NaN and never raise an alarm."""
    unsound = baseline[~np.isfinite(baseline[[figure.column for figure in FIGURES]]).all(axis=1)]
    if len(unsound):
        names = ", ".join(unsound["training"].unique())
        raise MoorlError(
            f"no baseline, because seeds diverged: {names}; mend that, then `python -m benchmarks.regress --record` "
            "writes a new one"
        )


def p_value(figure: Figure, here: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Return the p value of a figure's test, (...), of seeds now (..., seeds) and those of the baseline.

    Scores are compared by rank (Mann-Whitney, exact): they are far from normal, and a t test could miss that all new
    scores are below all old ones. Critics' values are nearly normal: Student's t test. Welch's, with four seeds on one
    side, would raise four times as many alarms.
    """
    if figure.ranked:
        return stats.mannwhitneyu(here, then, alternative="less", method="exact", axis=-1).pvalue
    x, y = (np.log(np.maximum(values, 1e-12)) if figure.logarithmic else values for values in (here, then))
    return stats.ttest_ind(x, y, axis=-1).pvalue


def corrected(p: np.ndarray) -> np.ndarray:
    """Return p values, (..., comparisons), with Holm's correction for the number of comparisons.

    The smallest is multiplied by the number of comparisons, the next by one less, and none is below the one before.
    """
    order = np.argsort(p, axis=-1)
    counted = np.take_along_axis(p, order, axis=-1) * np.arange(p.shape[-1], 0, -1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(counted, axis=-1), 1.0), axis=-1)
    return adjusted


app = typer.Typer(add_completion=False)


@app.command()
@guarded
def regress(
    first_seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 1000,
    seeds: Annotated[int, typer.Option(min=2, help="How many seeds to run.")] = SEEDS,
    record: Annotated[bool, typer.Option("--record", help="Write a new baseline instead of comparing.")] = False,
) -> None:
    """Train the pinned set, compare it with the committed baseline, and fail if learning has become worse."""
    use_all_cores()
    console = terminal()
    with Display(console) as display:
        if record:
            baseline = measure(list(range(BASELINE_SEEDS)), display)
            require_finite(baseline)
            with whole(BASELINE) as partial:
                baseline.to_csv(partial, index=False, float_format="%.5g")
            console.print(f"written: {BASELINE}", highlight=False)
            return
        if not BASELINE.exists():
            raise MoorlError(f"{BASELINE} is missing; `python -m benchmarks.regress --record` writes it")
        baseline = pd.read_csv(BASELINE)
        found = compare(baseline, measure(list(range(first_seed, first_seed + seeds)), display))
        console.print(_shown(found))
        alarm = found["alarm"]
        if alarm.any():
            display.say("An alarm counts only if it is raised again: training once more, with other seeds.")
            found = compare(baseline, measure(list(range(first_seed + seeds, first_seed + 2 * seeds)), display))
            console.print(_shown(found))
            alarm &= found["alarm"]
    if alarm.any():
        names = ", ".join(f"{row['training']}: {row['figure']}" for row in found[alarm].to_dict("records"))
        console.print(f"regressed: {names}", highlight=False)
        raise typer.Exit(1)
    console.print(f"no regression; a false alarm has a probability below {CONFIRMED:.0%}", highlight=False)


def _shown(found: pd.DataFrame) -> Table:
    table = Table("training", "figure", "baseline", "now", "change", "p, adjusted", "")
    for row in found.to_dict("records"):
        table.add_row(
            row["training"],
            row["figure"],
            f"{row['baseline']:.3g} ± {row['baseline std']:.2g}",
            row["seeds"].or_diverged(f"{row['now']:.3g} ± {row['now std']:.2g}"),
            row["seeds"].or_diverged(f"{row['now'] - row['baseline']:+.3g}"),
            f"{row['p']:.2g}",
            "worse" if row["alarm"] and row["figure"] == "score" else "moved" if row["alarm"] else "",
        )
    return table


if __name__ == "__main__":
    app()
