import numpy as np
import pytest
from scipy import stats

from moorl_jax.reports.statistics import AGGREGATES, aggregate, difference, improvement, profile

# Two tasks with four seeds each.
KNOWN = [np.array([10.0, 20.0, 30.0, 120.0]), np.array([40.0, 60.0, 70.0, 90.0])]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", 55.0),  # of 45 and 65
        ("median", 55.0),  # of the same two
        ("IQM", (30 + 40 + 60 + 70) / 4),  # a quarter of the eight left out at either end
        ("optimality gap", 100 - (10 + 20 + 30 + 100 + 40 + 60 + 70 + 90) / 8),
    ],
)
def test_aggregates_are_rliables(name, expected):
    """As its `metrics.py` defines them: of (runs, tasks), mean and median of the tasks' means, pooled trimmed mean."""
    assert aggregate(name, KNOWN).value == pytest.approx(expected)


@pytest.mark.parametrize("name", AGGREGATES)
def test_the_interval_is_a_percentile_bootstrap_stratified_by_task(name):
    """Beside one written out here, as rliable's `StratifiedBootstrap` draws."""
    rng = np.random.default_rng(3)
    scores = [rng.normal(50, 20, size=8) for _ in range(4)]
    drawn = [AGGREGATES[name]([rng.choice(task, len(task)) for task in scores]) for _ in range(4_000)]
    found = aggregate(name, scores)
    width = found.high - found.low
    np.testing.assert_allclose([found.low, found.high], np.percentile(drawn, [2.5, 97.5]), atol=0.1 * width)


def test_a_profile_is_the_share_of_runs_above_each_threshold():
    shares = profile(KNOWN, np.array([0.0, 30.0, 100.0, 120.0]))
    assert [share.value for share in shares] == [1.0, 5 / 8, 1 / 8, 0.0]
    assert shares[1].low < 5 / 8 < shares[1].high


@pytest.mark.parametrize("name", AGGREGATES)
def test_an_aggregate_of_survivors_is_none(name):
    """A trimmed mean would leave the NaN out as if it were the highest score."""
    assert np.isnan(aggregate(name, [*KNOWN, np.array([50.0, np.nan, 60.0, 70.0])]).value)


def test_in_a_profile_what_diverged_is_above_nothing():
    assert [share.value for share in profile([np.array([50.0, np.nan])], np.array([-9.0, 60.0]))] == [0.5, 0.0]


def test_what_diverged_is_below_all_else_either_way_round():
    one, other = np.array([50.0, np.nan]), np.array([9.0, 60.0])
    assert improvement([(one, other)]).value == 0.25
    assert improvement([(other, one)]).value == 0.75
    assert improvement([(one, one)]).value == 0.5


def test_improvement_is_mann_whitneys_statistic_averaged_over_tasks():
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(size=5).round(1), rng.normal(size=7).round(1)) for _ in range(4)]
    expected = np.mean([stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in pairs])
    found = improvement(pairs)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_certain_and_absent_differences():
    above = (np.array([2.0, 3.0, 4.0]), np.array([0.0, 1.0, 1.5]))
    same = (np.ones(3), np.ones(3))
    assert improvement([above]) == improvement([above, above])
    assert (improvement([above]).value, improvement([above]).low) == (1.0, 1.0)
    assert (improvement([same]).low, improvement([same]).high) == (0.5, 0.5)
    assert difference([above], [same]).value == 0.5


def test_a_run_in_several_pairs_is_drawn_once_for_all_of_them():
    """Its luck does not average out, however many runs are compared with it."""
    rng = np.random.default_rng(2)
    alone, others = rng.normal(size=5), [rng.normal(size=5) for _ in range(30)]
    shared, apart = improvement([(x, alone) for x in others]), improvement([(x, alone.copy()) for x in others])
    assert shared.value == apart.value
    assert shared.high - shared.low > 2 * (apart.high - apart.low)


def test_runs_that_share_a_history_are_no_more_certain_than_one_of_them():
    rng = np.random.default_rng(3)
    run, alone = rng.normal(size=4), rng.normal(size=4)  # sixteenths, so that means are exact
    copies = [(run.copy(), alone.copy()) for _ in range(30)]
    assert improvement(copies, ["hopper"] * 30) == improvement([(run, alone)], ["hopper"])
    apart = improvement(copies)
    together = improvement(copies, ["hopper"] * 30)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_an_interval_covers_what_it_says():
    """Of the 95 % intervals of 200 experiments without any difference nearly all contain a half."""
    rng = np.random.default_rng(1)
    covered = [
        found.low <= 0.5 <= found.high
        for found in (improvement([(rng.normal(size=10), rng.normal(size=10)) for _ in range(3)]) for _ in range(200))
    ]
    # Of 200 at 95 %, fewer than 180 has a probability below 0.2 %; a percentile interval of 10 seeds is a bit narrow.
    assert np.mean(covered) >= 0.9


def test_one_seed_has_no_interval():
    found = improvement([(np.array([1.0]), np.array([0.0]))])
    assert found.value == 1.0
    assert np.isnan([found.low, found.high]).all()
