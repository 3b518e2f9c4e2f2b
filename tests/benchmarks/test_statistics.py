import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics import difference, improvement


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
