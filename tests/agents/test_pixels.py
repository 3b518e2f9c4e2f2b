"""Images are shifted before each update, by what was drawn for it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import PixelCQL, PixelMOORL, PixelRLPD
from moorl_jax.nets import random_shift
from moorl_jax.types import Transitions

CQL, RLPD, MOORL = PixelCQL(pad=1), PixelRLPD(pad=1, utd=2), PixelMOORL(pad=1, utd=2)


@pytest.mark.parametrize(
    ("agent", "own"),
    [
        (CQL, [CQL.update]),
        (RLPD, [RLPD.update_critic, RLPD.update]),
        (MOORL, [MOORL.inner_update, MOORL.update]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_each_update_of_the_cycle_is_the_agents_own_of_shifted_images(agent, own, rng):
    images = [jnp.asarray(rng.integers(0, 256, (4, 8, 8, 3), np.uint8)) for _ in range(2)]
    batch = Transitions(images[0], jnp.zeros((4, 2)), jnp.ones(4), images[1], jnp.zeros(4))
    draws = agent.draw(jax.random.key(1), batch)
    expected = [random_shift(images[0], draws["shift"], 1), random_shift(images[1], draws["next_shift"], 1)]
    assert all((shifted != image).any() for shifted, image in zip(expected, images, strict=True))
    assert [update.update for update in agent.cycle()] == own
    for update in agent.cycle():
        given, _ = dataclasses.replace(update, update=lambda state, batch, draws: (batch, draws))(None, batch, draws)
        np.testing.assert_array_equal(given.observations, expected[0])
        np.testing.assert_array_equal(given.next_observations, expected[1])
        np.testing.assert_array_equal(given.actions, batch.actions)
