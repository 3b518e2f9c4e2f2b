"""Images are shifted before each update, by what was drawn for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import PixelCQL, PixelMOORL, PixelRLPD
from moorl_jax.nets import random_shift
from moorl_jax.types import Transitions
from tests.agents.stepping import step

SEEING = {"channels": (2,), "strides": (2,), "feature_size": 4, "hidden": (8,), "batch_size": 4, "pad": 1}
AGENTS = [PixelCQL(**SEEING, actions_per_state=2), PixelRLPD(**SEEING, members=2), PixelMOORL(**SEEING, utd=2)]


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: type(agent).__name__)
def test_each_update_of_the_cycle_is_the_agents_own_on_shifted_images(agent, rng):
    images = [jnp.asarray(rng.integers(0, 256, (4, 8, 8, 3), np.uint8)) for _ in range(2)]
    actions = jnp.asarray(rng.uniform(-0.9, 0.9, (4, 2)), jnp.float32)
    batch = Transitions(images[0], actions, jnp.ones(4), images[1], jnp.zeros(4))
    state, draws = agent.init(jax.random.key(0), batch), agent.draw(jax.random.key(1), batch)
    shifted = batch.replace(
        observations=random_shift(images[0], draws["shift"], 1),
        next_observations=random_shift(images[1], draws["next_shift"], 1),
    )
    assert (shifted.observations != batch.observations).any()
    for update in dict.fromkeys(agent.cycle()):
        after, _ = jax.jit(update)(state, batch, draws)
        expected, _ = step(update.update, state, shifted, draws)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after, expected)
