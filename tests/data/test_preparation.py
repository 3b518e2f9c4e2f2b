from pathlib import Path

import numpy as np
import pytest

from moorl_jax.data import Preparation
from moorl_jax.data.preparation import return_scale
from moorl_jax.errors import DatasetError
from moorl_jax.types import Transitions

CONVENTIONS = np.load(Path(__file__).parents[1] / "parity" / "d4rl_conventions.npz", allow_pickle=False)


@pytest.fixture
def data():
    fields = Transitions.__dataclass_fields__
    return Transitions(**{field: CONVENTIONS[f"d4rl/qlearning/{field}"].astype(np.float32) for field in fields})


def test_nothing_by_default(data):
    prepared, normalizer = Preparation().apply(data)
    for field in Transitions.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(prepared, field), getattr(data, field))
    np.testing.assert_array_equal(normalizer(data.observations), data.observations)


def test_observations_are_normalized_as_td3_bc_does(data):
    prepared, normalizer = Preparation(normalize_observations=True).apply(data)
    np.testing.assert_allclose(normalizer.mean, CONVENTIONS["td3bc/mean"][0], rtol=1e-6)
    np.testing.assert_allclose(normalizer.std, CONVENTIONS["td3bc/std"][0], rtol=1e-6)
    np.testing.assert_allclose(prepared.observations, CONVENTIONS["td3bc/observations"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prepared.next_observations, CONVENTIONS["td3bc/next_observations"], rtol=1e-5, atol=1e-6)


def test_rewards_are_scaled_and_actions_clipped_as_iql_does(data):
    prepared, _ = Preparation(normalize_returns=True, action_limit=1 - 1e-5).apply(data)
    np.testing.assert_allclose(prepared.rewards, CONVENTIONS["iql/normalised_rewards"], rtol=1e-6)
    np.testing.assert_array_equal(prepared.actions, CONVENTIONS["iql/dataset/actions"])


def test_equal_returns_cannot_be_scaled(data):
    with pytest.raises(DatasetError, match="same return"):
        return_scale(data.replace(rewards=np.zeros_like(data.rewards)))
