"""What of a buffer becomes a dataset, and how batches are drawn from it. Rewards number transitions."""

import jax
import numpy as np
import pytest

from moorl_jax.replay import Experience, History
from moorl_jax.replay.buffer import CUT, ENDED
from moorl_jax.replay.history import episode_numbers, selected
from tests.replay.test_sampling import BATCH, assert_uniform, buffered

ENDS = np.array([0, ENDED, 0, 0, ENDED, CUT, 0, 0])  #: four episodes, the last one under way


def test_episodes_are_numbered_by_their_ends():
    assert episode_numbers(ENDS).tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    assert episode_numbers(np.array([], int)).tolist() == []


@pytest.mark.parametrize(
    ("dataset", "count", "slots"),
    [
        ("all", 3, range(8)),
        ("last", 3, [5, 6, 7]),
        ("last", 9, range(8)),  # a seed that diverged has fewer
        ("best", 3, [5, 2, 3]),  # returns 2, 3, 9, 2: an episode of 9, then two steps of the one of 3
        ("best", 6, [5, 2, 3, 4, 0, 1]),  # of two episodes as good the earlier
    ],
)
def test_what_is_selected(dataset, count, slots):
    rewards = np.array([2, 0, 1, 1, 1, 9, 1, 1], np.float32)
    assert selected(dataset, count, rewards, ENDS).tolist() == list(slots)


def draws(rule, *, before, after):
    """The numbers drawn where `before` transitions had been stored when the phase began, and `after` came since."""
    began = Experience(None, buffered(before, capacity=30), np.zeros(before, np.int8))
    state = rule.init(jax.random.key(0), began, BATCH)
    now = Experience(None, buffered(before + after, capacity=30))
    keys = jax.random.split(jax.random.key(7), 400)
    return np.asarray(jax.vmap(lambda key: rule.sample(state, key, now, BATCH)[1].rewards)(keys)).astype(int)


def test_the_selected_history_is_drawn_uniformly_and_what_comes_later_is_not():
    assert_uniform(draws(History(dataset="last", share=0.5), before=10, after=5), range(1005, 1010))


def test_a_share_of_history_and_the_rest_since():
    numbers = draws(History(offline=0.25), before=10, after=5)
    old = numbers < 1010
    assert (old.sum(axis=1) == BATCH // 4).all()
    assert_uniform(numbers[old], range(1000, 1010))
    assert_uniform(numbers[~old], range(1010, 1015))


def test_each_transition_as_likely():
    assert_uniform(draws(History(offline=None, dataset="last", count=4), before=10, after=6), range(1006, 1016))


@pytest.mark.parametrize("offline", [0.5, None])
def test_before_anything_comes_history_alone_is_drawn(offline):
    assert_uniform(draws(History(offline=offline), before=10, after=0), range(1000, 1010))
