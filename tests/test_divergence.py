import numpy as np
import pytest

from moorl_jax.divergence import OverSeeds, finite


def test_an_action_is_finite_in_all_its_entries():
    actions = np.zeros((2, 3, 2))
    actions[0, 1, 0], actions[1, 2, 1] = np.nan, -np.inf
    np.testing.assert_array_equal(finite(actions), [[True, False, True], [True, True, False]])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([10.0, 20.0], "15.0 ± 5.0"),
        ([10.0], "10.0"),
        ([], "–"),
        ([9.9, np.nan, 9.9], "diverged 1/3"),
        ([np.nan, np.nan], "diverged 2/2"),
        ([np.nan], "diverged"),
    ],
)
def test_a_mean_is_of_all_seeds_or_is_none(values, words):
    over = OverSeeds.of(values)
    assert str(over) == words
    assert np.isnan(over.mean) == (over.diverged > 0 or not values)
    assert over.seeds == len(values)
