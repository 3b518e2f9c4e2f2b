"""What the env steps visited, counted by hand and in a training."""

import numpy as np
import pytest

from moorl_jax.agents import RLPD, SAC
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.coverage import Coverage
from moorl_jax.engine.training import train
from moorl_jax.tasks import find
from moorl_jax.types import Transitions

LITTLE = {"hidden": (4,), "batch_size": 4}


def prepared(places, normalizer):
    """A maze's dataset in which the ant stood at some places."""
    seen = normalizer(np.pad(np.array(places, np.float32), ((0, 0), (0, 27))))
    zeros = np.zeros(len(seen), np.float32)
    return Prepared(Transitions(seen, np.zeros((len(seen), 8), np.float32), zeros, seen, zeros), normalizer)


@pytest.mark.parametrize("normalized", [False, True])
def test_cells_are_counted_and_compared_with_the_data(normalized):
    normalizer = Normalizer.identity((29,))
    if normalized:
        normalizer = Normalizer(np.full(29, 3.0, np.float32), np.full(29, 0.5, np.float32))
    # Squares (0, 0) twice, (1, 0), (-1, 2); the data's half is in (0, 0), half in (5, 5).
    visited = [[0.2, 0.9], [0.8, 0.1], [1.4, 0.6], [-0.6, 2.1]]
    data = prepared([[0.5, 0.5], [5.5, 5.5]], normalizer)
    coverage = Coverage.of(find("antmaze-umaze-v2"), data)
    seen = normalizer(np.pad(np.array(visited, np.float32), ((0, 0), (0, 27))))
    assert coverage.measure(seen) == {"visited": 3.0, "visited_new": 2.0, "data_distance": 0.5}


def test_without_data_cells_are_counted_alone():
    coverage = Coverage.of(find("hopper"), Prepared(None, Normalizer.identity((11,))))
    poses = np.zeros((3, 11), np.float32)
    poses[1, 4] = 0.6  # a joint counts
    poses[2, 5] = 9.0  # a velocity does not
    assert coverage.measure(poses) == {"visited": 2.0}


@pytest.mark.parametrize("name", ["pen-human-v1", "ant-medium-v2", "vd4rl-walker_walk-medium"])
def test_other_tasks_have_no_cells(name):
    assert Coverage.of(find(name), Prepared(None, Normalizer.identity((4,)))) is None


def test_a_training_counts_what_each_seed_has_seen_so_far(hopper, hopper_data):
    how = {"seeds": 2, "updates": 0, "env_steps": 30, "evaluate_every_steps": 10, "episodes": 1}
    curves = train(RLPD(**LITTLE, utd=1, random_steps=29), hopper, dataset=hopper_data, **how).curves
    of_seeds = curves.pivot(index="env_steps", columns="seed", values="visited")
    assert (of_seeds.diff().dropna() >= 0).all(axis=None)
    assert (of_seeds.loc[10] >= 1).all()
    assert curves["data_distance"].between(0, 1).all()
    assert (curves["visited_new"] <= curves["visited"]).all()
    alone = train(SAC(**LITTLE, random_steps=29), "hopper", **how).curves
    assert "visited_new" not in alone
    # Random actions of a seed are the same whoever learns from them.
    at_random = curves["env_steps"] < 29
    np.testing.assert_array_equal(alone["visited"][at_random], curves["visited"][at_random])
