import dataclasses
from pathlib import Path

import numpy as np
import pytest

from moorl_jax.data import Dataset, Preparation, Rows
from moorl_jax.data.preparation import Normalizer, return_scale
from moorl_jax.errors import DatasetError
from moorl_jax.tasks import find
from moorl_jax.types import ReturnsToGo

CONVENTIONS = np.load(Path(__file__).parents[1] / "parity" / "d4rl_conventions.npz", allow_pickle=False)


HORIZON = 8


@pytest.fixture
def dataset():
    raw = {name: CONVENTIONS[f"raw/dense/{name}"] for name in ("observations", "actions", "rewards")}
    flags = {name: CONVENTIONS[f"raw/dense/{name}"].astype(bool) for name in ("terminals", "timeouts")}
    rows = Rows(**{name: value.astype(np.float32) for name, value in raw.items()}, **flags)
    return Dataset(dataclasses.replace(find("hopper-medium-v2"), horizon=HORIZON), "d4rl", rows, "")


@pytest.fixture
def data(dataset):
    return dataset.transitions


def test_nothing_by_default(dataset, data):
    prepared = Preparation().apply(dataset)
    for field in ("observations", "actions", "rewards", "next_observations", "terminals"):
        np.testing.assert_array_equal(getattr(prepared.transitions, field), getattr(data, field))
    np.testing.assert_array_equal(prepared.normalizer(data.observations), data.observations)
    assert prepared.reward_scale == 1.0
    assert prepared.transitions.mc_returns is None


@pytest.mark.parametrize(
    ("mean", "deviation", "rows"), [(1.62, 0.0, 137_000), (100.0, 0.01, 2_000_000), (0.0, 1e20, 1_000), (-7e5, 0.0, 3)]
)
def test_means_and_spreads_are_of_float64(rng, mean, deviation, rows):
    """In float32 a constant becomes something else than 0, a small spread another one, a large one infinite."""
    observations = (mean + deviation * rng.choice([-1.0, 1.0], (rows, 1))).astype(np.float32)
    normalizer = Normalizer.fit(observations)
    spread = observations.astype(np.float64).std()
    np.testing.assert_allclose(normalizer.mean, observations.astype(np.float64).mean(), rtol=1e-6)
    np.testing.assert_allclose(normalizer.std, spread + 1e-3, rtol=1e-6)
    assert (normalizer.mean.dtype, normalizer.std.dtype) == (np.float32, np.float32)
    normalized = normalizer(observations).astype(np.float64)
    assert abs(normalized.mean()) < 1e-3
    assert normalized.std() == pytest.approx(spread / (spread + 1e-3), rel=1e-3)


def test_rewards_are_mapped_as_sparse_tasks_ask_for(dataset, data):
    done = Preparation(reward_scale=10.0, reward_shift=-5.0).apply(dataset)
    np.testing.assert_allclose(done.transitions.rewards, 10 * data.rewards - 5, rtol=1e-6)
    assert (done.reward_scale, done.reward_shift) == (10.0, -5.0)
    returns = Preparation(reward_scale=10.0, reward_shift=-5.0).apply(dataset, ReturnsToGo(0.0)).transitions
    np.testing.assert_allclose(returns.mc_returns, returns.rewards, rtol=1e-6)


def test_returns_to_go_are_of_the_prepared_rewards(dataset):
    done = Preparation(normalize_returns=True).apply(dataset, ReturnsToGo(0.0))
    np.testing.assert_allclose(done.transitions.mc_returns, done.transitions.rewards, rtol=1e-6)
    assert len(done.transitions) == len(dataset.transitions) - 1, "the unfinished tail is dropped"


def test_next_actions_are_clipped_as_actions_are(dataset, data):
    prepared = Preparation(action_limit=0.1).apply(dataset, ReturnsToGo(0.0), next_actions=True).transitions
    count = len(prepared)  # returns drop the unfinished tail
    assert prepared.next_actions.shape == prepared.actions.shape
    assert np.abs(prepared.next_actions).max() == np.float32(0.1)
    going_on = (data.terminals[: count - 1] == 0) & (
        data.next_observations[: count - 1] == data.observations[1:count]
    ).all(1)
    np.testing.assert_array_equal(prepared.next_actions[:-1][going_on], prepared.actions[1:][going_on])
    assert Preparation().apply(dataset).transitions.next_actions is None


def test_of_the_best_episodes_alone_observations_are_normalized(dataset):
    prepared = Preparation(normalize_observations=True).apply(dataset, best_episodes=0.2)
    assert 0 < len(prepared.transitions) < len(dataset.transitions)
    assert np.abs(prepared.transitions.observations.mean(axis=0)).max() < 1e-5


def test_features_of_any_size_tell_trajectories_apart(data):
    """Their distances are of float64, in which their squares are finite."""
    large = {name: getattr(data, name) * np.float32(1e30) for name in ("observations", "next_observations")}
    assert return_scale(data.replace(**large)) == return_scale(data)


def test_equal_returns_cannot_be_scaled(data):
    with pytest.raises(DatasetError, match="same return"):
        return_scale(data.replace(rewards=np.zeros_like(data.rewards)))
