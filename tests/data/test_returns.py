"""Monte-Carlo returns by hand; test_conventions.py holds them against Cal-QL's own."""

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


def test_only_an_episode_of_nothing_but_failure_counts_as_endless():
    rule = ReturnsToGo(0.9, failure_reward=-1.0)
    fail = np.full(3, -1.0, np.float32)
    np.testing.assert_allclose(returns_to_go(fail, np.zeros(3), rule), -10.0)
    np.testing.assert_allclose(returns_to_go(fail, np.array([0, 0, 1.0]), rule), -10.0)
    mixed = np.array([-1.0, 0.0, -1.0], np.float32)
    np.testing.assert_allclose(returns_to_go(mixed, np.zeros(3), rule), [-1 - 0.81, -0.9, -1])
    np.testing.assert_allclose(returns_to_go(fail, np.zeros(3), ReturnsToGo(0.9)), [-2.71, -1.9, -1])


def test_data_without_a_finished_episode_is_refused():
    with pytest.raises(DatasetError, match="no episode is finished"):
        transitions_with_returns(rows([1, 2, 3], [0, 0, 0], [0, 0, 0]), 10, ReturnsToGo(0.9))
