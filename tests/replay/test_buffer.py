import jax
import numpy as np
import pytest

from moorl_jax.replay import Buffer
from moorl_jax.types import Transitions


def transition(number, mc_returns=None):
    value = np.float32(number)
    return Transitions(np.full(2, value), np.full(1, value), value, np.full(2, value), np.float32(0), mc_returns)


def filled(capacity, count, **how):
    example = jax.tree.map(lambda leaf: np.asarray(leaf)[None], transition(0, np.float32(0) if how else None))
    buffer = Buffer.create(capacity, example)
    for number in range(count):
        buffer = buffer.store(transition(number, np.float32(0) if how else None), **how)
    return buffer


def drawn(buffer, count=2000):
    """The numbers of the transitions that draws return."""
    return set(np.asarray(buffer.rows.rewards)[np.asarray(buffer.slots(jax.random.key(0), count))].astype(int))


def test_what_is_stored_can_be_drawn_and_nothing_else():
    buffer = filled(10, 4)
    assert int(buffer.size) == 4
    assert drawn(buffer) == {0, 1, 2, 3}
    row = jax.tree.map(lambda leaf: np.asarray(leaf)[2], buffer.rows)
    jax.tree.map(np.testing.assert_array_equal, row, transition(2))


def test_the_newest_overwrite_the_oldest():
    buffer = filled(4, 7)
    assert int(buffer.size) == 4
    assert drawn(buffer) == {3, 4, 5, 6}


@pytest.mark.parametrize("how", [{"finished": True}, {"finished": False}])
def test_what_was_not_taken_is_not_stored(how):
    """Neither drawn nor given an episode's return."""
    buffer = filled(10, 2, **how).store(transition(np.nan, np.float32(0)), taken=False, **how)
    buffer = buffer.store(transition(2, np.float32(0)), **how).store(
        transition(np.nan, np.float32(0)), taken=False, **how
    )
    buffer = buffer.finish(np.array([5.0, 6.0, 7.0, 0.0], np.float32), np.int32(3))
    assert drawn(buffer) == {0, 1, 2}
    np.testing.assert_array_equal(buffer.rows.mc_returns[:3], [5.0, 6.0, 7.0])


def test_an_unfinished_episode_cannot_be_drawn():
    buffer = filled(10, 3, finished=False)
    assert int(buffer.size) == 0
    returns = np.array([5.0, 6.0, 7.0, 0.0], np.float32)
    assert int(buffer.finish(returns, np.int32(0)).size) == 0
    buffer = buffer.finish(returns, np.int32(3))
    assert drawn(buffer) == {0, 1, 2}
    np.testing.assert_array_equal(buffer.rows.mc_returns[:4], [5.0, 6.0, 7.0, 0.0])


def test_an_unfinished_episode_that_wraps_around():
    """Its rows take the place of the oldest, which can no longer be drawn either."""
    buffer = filled(5, 4, finished=False).finish(np.arange(5, dtype=np.float32), np.int32(4))
    for number in (4, 5, 6):
        buffer = buffer.store(transition(number, np.float32(0)), finished=False)
    assert drawn(buffer) == {2, 3}
    buffer = buffer.finish(np.array([10.0, 11.0, 12.0, 0.0, 0.0], np.float32), np.int32(3))
    assert drawn(buffer) == {2, 3, 4, 5, 6}
    np.testing.assert_array_equal(buffer.rows.mc_returns, [11.0, 12.0, 2.0, 3.0, 10.0])
