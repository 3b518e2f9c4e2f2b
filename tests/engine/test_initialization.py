"""An agent's first networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import IQL, TD3BC
from moorl_jax.engine.initialization import initial_states
from moorl_jax.engine.keys import INITIAL, stream
from moorl_jax.types import Transitions


@pytest.fixture
def example():
    observations, actions, scalars = jnp.zeros((1, 5)), jnp.zeros((1, 2)), jnp.zeros(1)
    return Transitions(observations, actions, scalars, observations, scalars)


@pytest.mark.parametrize("agent", [TD3BC(hidden=(8, 8)), IQL(hidden=(8, 8))], ids=["as PyTorch", "orthogonal"])
def test_they_are_those_of_init_bit_for_bit(agent, example):
    states = initial_states([agent], (3, 7), example)
    for seed, state in zip((3, 7), states, strict=True):
        expected = agent.init(stream(seed, INITIAL), example)
        jax.tree.map(np.testing.assert_array_equal, state, expected)
