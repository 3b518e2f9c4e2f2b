"""Monte-Carlo returns by hand; test_conventions.py holds them against Cal-QL's own."""

from dataclasses import replace

import numpy as np
import pytest

from moorl_jax.data.returns import returns_to_go, transitions_with_returns
from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError
from moorl_jax.types import ReturnsToGo


def rows(rewards, terminals, timeouts):
    count = len(rewards)
    observations = np.arange(count, dtype=np.float32)[:, None]
    flags = (np.asarray(flag, bool) for flag in (terminals, timeouts))
    return Rows(observations, np.zeros((count, 1), np.float32), np.asarray(rewards, np.float32), *flags)


def test_a_terminal_episode_then_a_timed_out_one_then_a_tail():
    """1 2 3| 4 5 6> 7 8: of the time-out's row and the unfinished tail nothing is left, and nothing is bootstrapped."""
    data = transitions_with_returns(
        rows([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0]), 10, ReturnsToGo(0.5)
    )
    np.testing.assert_array_equal(data.rewards, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(data.mc_returns, [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3, 4 + 0.5 * 5, 5])
    np.testing.assert_array_equal(data.terminals, [0, 0, 1, 0, 0])


@pytest.mark.parametrize(
    ("terminals", "timeouts", "kept"),
    [
        ([4], [9], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ([], [4, 9], [0, 1, 2, 3, 5, 6, 7, 8]),
        ([4, 9], [], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ([9], [], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ([], [9], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ([4], [7], [0, 1, 2, 3, 4, 5, 6]),  # an unfinished tail
    ],
)
def test_of_a_files_last_episode_the_last_row_alone_is_lost(terminals, timeouts, kept):
    """As in nakamotoo/Cal-QL's reader, whose last row has no successor."""
    numbers = np.arange(10)
    given = rows(numbers, np.isin(numbers, terminals), np.isin(numbers, timeouts))
    data = transitions_with_returns(given, 1000, ReturnsToGo(0.0))
    np.testing.assert_array_equal(data.rewards, kept)
    np.testing.assert_array_equal(data.mc_returns, kept)


def test_an_endless_episodes_last_reward_is_paid_for_ever_unless_it_really_ended():
    """nakamotoo/Cal-QL's rule for Kitchen, `infinite_horizon` in its `replay_buffer.py`."""
    rule = ReturnsToGo(0.9, endless=True)
    rewards = np.array([0, 1, 2], np.float32)
    np.testing.assert_allclose(returns_to_go(rewards, np.zeros(3), rule), [0.9 * 19, 19, 20], rtol=1e-6)
    np.testing.assert_allclose(returns_to_go(rewards, np.array([0, 0, 1]), rule), [0.9 * 2.8, 2.8, 2], rtol=1e-6)
    assert returns_to_go(rewards[:0], np.zeros(0), rule).shape == (0,)


def test_long_sums_are_not_of_float32():
    """A million rewards of 0.1, undiscounted: in float32 they come to 100,958."""
    rewards = np.full(1_000_000, 0.1, np.float32)
    assert returns_to_go(rewards, np.zeros(1_000_000, np.float32), ReturnsToGo(1.0))[0] == pytest.approx(1e5, rel=1e-6)


def test_only_an_episode_of_nothing_but_failure_counts_as_endless():
    rule = ReturnsToGo(0.9, failure_reward=-1.0)
    fail = np.full(3, -1.0, np.float32)
    np.testing.assert_allclose(returns_to_go(fail, np.zeros(3), rule), -10.0)
    np.testing.assert_allclose(returns_to_go(fail, np.array([0, 0, 1.0]), rule), -10.0)
    mixed = np.array([-1.0, 0.0, -1.0], np.float32)
    np.testing.assert_allclose(returns_to_go(mixed, np.zeros(3), rule), [-1 - 0.81, -0.9, -1])
    np.testing.assert_allclose(returns_to_go(fail, np.zeros(3), ReturnsToGo(0.9)), [-2.71, -1.9, -1])


def test_returns_of_filtered_data_are_not_known():
    whole = rows([1, 2, 3, 4], [0, 0, 0, 1], [0, 0, 0, 0])
    whole = replace(whole, next_observations=whole.observations + 1)
    assert len(transitions_with_returns(whole, 10, ReturnsToGo(0.9))) == 3
    without_one = Rows(**{name: np.delete(value, 1, axis=0) for name, value in whole.arrays().items()})
    with pytest.raises(DatasetError, match="1 episodes break off without a flag, the first at row 0"):
        transitions_with_returns(without_one, 10, ReturnsToGo(0.9))


def test_data_without_a_finished_episode_is_refused():
    with pytest.raises(DatasetError, match="no episode is finished"):
        transitions_with_returns(rows([1, 2, 3], [0, 0, 0], [0, 0, 0]), 10, ReturnsToGo(0.9))
