"""The numbers of fine-tuning on curves made by hand."""

import numpy as np
import pandas as pd
import pytest

from moorl_jax.divergence import OverSeeds
from moorl_jax.engine import results, seals
from moorl_jax.reports import fine_tuning
from moorl_jax.reports.collection import find_results, runs
from tests.stored import store

STEPS = np.array([10, 20, 30, 40])
#: Scores after a switch at 50: the drop, and the env steps after which it is back.
CURVES = {
    "never falls": ((50.0, 50.0, 60.0, 90.0), 0.0, 0.0),
    "falls and is back": ((45.0, 20.0, 50.0, 90.0), 30.0, 30.0),
    "stays below": ((45.0, 20.0, 49.9, 30.0), 30.0, np.inf),
    "falls later": ((60.0, 40.0, 30.0, 55.0), 20.0, 40.0),
    "collapses after it was back": ((45.0, 50.0, 60.0, 0.0), 5.0, 20.0),
}


@pytest.mark.parametrize(("scores", "drop", "back"), CURVES.values(), ids=CURVES)
def test_how_far_a_score_falls_and_when_it_is_back(scores, drop, back):
    assert fine_tuning.fall(50.0, STEPS, np.array(scores)) == (drop, back)


@pytest.mark.parametrize(("before", "scores"), [(np.nan, (1.0, 2.0, 3.0, 4.0)), (50.0, (60.0, np.nan, np.nan, np.nan))])
def test_what_diverged_or_learned_nothing_offline_did_not_fall(before, scores):
    assert np.isnan(fine_tuning.fall(before, STEPS, np.array(scores))).all()


def test_the_area_begins_with_the_score_before_and_counts_unequal_steps():
    """20 at the switch, 40 after 10 steps, 0 after 40: 30 x 10 + 20 x 30, over 40 env steps."""
    curve = pd.DataFrame({"env_steps": [0, 0, 10, 40], "score": [90.0, 20.0, 40.0, 0.0]})
    assert fine_tuning.area(curve) == pytest.approx((300 + 600) / 40)


@pytest.mark.parametrize(
    ("before", "dataset", "regime"),
    [
        ((50.0, 52.0, 54.0), 30.0, "superior"),
        ((50.0, 52.0, 54.0), 53.0, "comparable"),
        ((50.0, 52.0, 54.0), 70.0, "inferior"),
        ((50.0,), 30.0, "–"),  # one seed has no interval
        ((50.0, np.nan), 30.0, "–"),
        ((50.0, 52.0), np.nan, "–"),
    ],
)
def test_the_regime_says_whether_policy_or_data_is_better(before, dataset, regime):
    assert fine_tuning.regime(np.array(before), dataset) == regime


def test_a_runs_numbers(tmp_path):
    """Stored scores rise in quarters: to half at the end of offline training, to all at the end."""
    store(tmp_path / "tuned", scores=(10.0, 20.0), env_steps=500)
    (row,) = fine_tuning.frame(runs(find_results([tmp_path]))).to_dict("records")
    assert row["before"].mean == 7.5
    assert (row["drop"].mean, row["back after"]) == (0.0, 0.0)
    assert row["area"].mean == pytest.approx(15 * (0.5 + 2 * 0.75 + 1.0) / 4)
    assert row["regret"] == pytest.approx(1 - row["area"].mean / 100)
    assert row["final"].mean == row["best"].mean == 15.0
    assert row["regime"] == "comparable"  # a dataset of 31.3, and two seeds


def test_what_never_learned_offline_has_no_drop_and_what_never_acted_no_area(tmp_path):
    store(tmp_path / "online", agent="sac", updates=0, env_steps=500)
    store(tmp_path / "offline", agent="bc")
    found = fine_tuning.text(fine_tuning.frame(runs(find_results([tmp_path])))).set_index("agent")
    assert found.loc["sac", ["regime", "before", "drop", "back after"]].tolist() == ["–"] * 4
    assert found.loc["bc", ["drop", "back after", "area", "regret"]].tolist() == ["–"] * 4
    assert found.loc["bc", "final"] == "15.0 ± 5.0"


def test_a_seed_that_diverged_is_named(tmp_path):
    directory = store(tmp_path / "one", env_steps=500)
    curves = pd.read_csv(directory / "curves.csv")
    curves.loc[curves.index[-1], "score"] = np.nan
    curves.to_csv(directory / "curves.csv", index=False)
    seals.seal(directory)
    numbers = fine_tuning.summary(fine_tuning.per_seed(results.read(directory)))
    assert str(numbers["drop"]) == str(numbers["area"]) == str(numbers["final"]) == "diverged 1/2"
    assert np.isnan(numbers["back after"])
    assert numbers["before"] == OverSeeds(7.5, 2.5, 2, 0)
