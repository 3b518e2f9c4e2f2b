"""MOORL's limits: Reptile's interpolation, SAC at K = 1, and each choice that the paper leaves open."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import MOORL, SAC
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Collect, Online
from moorl_jax.replay import OneSource
from moorl_jax.types import Transitions
from tests.agents.stepping import step

KEY = jax.random.key(0)
SMALL = {"hidden": (8, 8)}
BATCH = 16


def batch_of(rng):
    columns = (
        rng.standard_normal((BATCH, 5)),
        rng.uniform(-0.9, 0.9, (BATCH, 2)),
        rng.standard_normal(BATCH),
        rng.standard_normal((BATCH, 5)),
        (rng.random(BATCH) < 0.2) * 1.0,
    )
    return Transitions(*(jnp.asarray(column, jnp.float32) for column in columns))


def run(agent, state, rng, updates):
    for number in range(updates):
        batch = batch_of(rng)
        draws = agent.draw(jax.random.fold_in(KEY, number), batch)
        state, metrics = step(agent.cycle()[number % len(agent.cycle())], state, batch, draws)
    return state, metrics


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


def test_with_k_1_and_rate_1_it_is_sac(rng):
    """Bit for bit, over epochs on the same batches: networks, targets, temperature, moments."""
    moorl, sac = MOORL(**SMALL, utd=1, meta_rate=1.0), SAC(**SMALL)
    batch = batch_of(rng)
    ours, _ = run(moorl, moorl.init(KEY, batch), np.random.default_rng(1), 5)
    theirs, _ = run(sac, sac.init(KEY, batch), np.random.default_rng(1), 5)
    for name, part in vars(theirs).items():
        assert_same(getattr(ours, name), part)


def test_the_meta_update_is_the_exact_interpolation(rng):
    """After K inner updates, meta + rate (inner - meta), and the next epoch starts there; the rest stays as it is."""
    agent = MOORL(**SMALL, utd=3, meta_rate=0.25)
    state = agent.init(KEY, batch_of(rng))
    state, _ = run(agent, state, np.random.default_rng(1), 3)  # an epoch, so that targets and moments have moved
    inner = state
    for number in range(3):
        batch = batch_of(rng)
        draws = agent.draw(jax.random.fold_in(KEY, number), batch)
        before, inner = inner, step(agent.inner_update, inner, batch, draws)[0]
    ended, _ = step(agent.update, before, batch, draws)
    for name in ("actor", "critic"):
        meta, adapted = getattr(state, name).params, getattr(inner, name).params
        expected = jax.tree.map(lambda m, a: m + 0.25 * (a - m), meta, adapted)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ended.meta[name], expected)
        assert_same(getattr(ended, name).params, ended.meta[name])
        assert_same(getattr(ended, name).moments, getattr(inner, name).moments)
        assert np.abs(adapted["layer0"]["kernel"] - meta["layer0"]["kernel"]).max() > 1e-4
    for name in ("target_critic", "log_temperature"):
        assert_same(getattr(ended, name), getattr(inner, name))
    assert_same(ended.adapted_actor, inner.actor.params)


def test_targets_and_temperature_may_be_meta_parameters_too(rng):
    agent = MOORL(**SMALL, utd=2, meta_rate=0.5, interpolated=("actor", "critic", "target_critic", "log_temperature"))
    plain = MOORL(**SMALL, utd=2, meta_rate=0.5)
    start = agent.init(KEY, batch_of(rng))
    ours, _ = run(agent, start, np.random.default_rng(1), 2)
    theirs, _ = run(plain, plain.init(KEY, batch_of(rng)), np.random.default_rng(1), 2)
    half = jax.tree.map(lambda a, b: (a + b) / 2, start.target_critic, theirs.target_critic)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), ours.target_critic, half)
    assert float(ours.log_temperature.params) == pytest.approx(float(theirs.log_temperature.params) / 2, rel=1e-5)


def test_moments_may_start_anew_with_each_epoch(rng):
    agent = MOORL(**SMALL, utd=2, resets_moments=True)
    state, _ = run(agent, agent.init(KEY, batch_of(rng)), rng, 2)
    for learner in (state.actor, state.critic, state.log_temperature):
        assert all(not leaf.any() for leaf in jax.tree.leaves(learner.moments))


@pytest.mark.parametrize("acting", ["meta", "adapted"])
def test_who_acts_and_who_is_evaluated(acting, rng):
    agent = MOORL(**SMALL, utd=2, meta_rate=0.1, acting=acting)
    state, _ = run(agent, agent.init(KEY, batch_of(rng)), rng, 2)
    policy, observations = agent.policy(state), batch_of(rng).observations
    sac = SAC(**SMALL)
    assert_same(agent.greedy(policy, observations), sac.greedy(state.meta["actor"], observations))
    actor = state.meta["actor"] if acting == "meta" else state.adapted_actor
    assert_same(agent.act(policy, observations, KEY), sac.act(actor, observations, KEY))
    assert np.abs(state.meta["actor"]["layer0"]["kernel"] - state.adapted_actor["layer0"]["kernel"]).max() > 1e-4


def test_an_epoch_is_an_env_step_and_its_batches_have_one_source():
    agent = MOORL(random_steps=10, utd=4, offline_probability=0.3, repeats_batch=True)
    collect, online = agent.phases(1_000_000, 100)
    assert isinstance(collect, Collect)
    assert isinstance(online, Online)
    assert (collect.env_steps, online.env_steps, online.utd) == (10, 90, 4)
    assert online.sampling == OneSource(0.3, draws=4, repeated=True)


def test_the_meta_update_moves_actor_and_critic(rng):
    with pytest.raises(MoorlError, match="MOORL"):
        MOORL(**SMALL, interpolated=("actor",)).init(KEY, batch_of(rng))
