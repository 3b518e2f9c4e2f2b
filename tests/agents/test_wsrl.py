"""WSRL's updates against its algorithm written out plainly, and its recipe."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from moorl_jax.agents import CQL, IQL, SACN, TD3BC, WSRL, CalQL
from moorl_jax.agents.backbone import WarmStart
from moorl_jax.agents.common import squashed_sample
from moorl_jax.engine import recipes
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Collect, Offline, Online, Switch
from moorl_jax.replay import Buffer, Experience, FromBuffer
from moorl_jax.settings import settings
from moorl_jax.tasks import find
from moorl_jax.types import Transitions

OBSERVATION, ACTION = 5, 2
RATES = {"actor": 1e-4, "critic": 3e-4, "temperature": 1e-4}
BACKBONE = CalQL(
    hidden=(4,),
    members=3,
    target_members=2,
    actor_layer_norm=True,
    critic_layer_norm=True,
    orthogonal=False,
    discount=0.9,
    tau=0.1,
)
CASES = {
    "in two parts": WSRL(backbone=BACKBONE, batch_size=12, utd=2),
    "in one, the best of two, entropy backed up": WSRL(
        backbone=BACKBONE,
        batch_size=12,
        utd=1,
        target_actions=2,
        backup_entropy=True,
        target_entropy_per_dimension=-0.5,
    ),
}


def batch_of(rng, size):
    def normal(*shape):
        return jnp.asarray(rng.standard_normal((size, *shape)))

    ends = jnp.asarray((rng.random(size) < 0.3) * 1.0)
    return Transitions(normal(OBSERVATION), jnp.tanh(normal(ACTION)), normal(), normal(OBSERVATION), ends)


def plainly(agent, state, batch, draws):
    """One update: each network, its optimizer and its loss by themselves, one row of numbers after the other."""
    backbone, members = agent.backbone, range(agent.backbone.members)
    networks = {
        "actor": state.actor.params,
        "critic": state.critic.params,
        "temperature": state.raw_temperature.params,
    }
    adam = {name: optax.adam(rate) for name, rate in RATES.items()}
    memory = {name: adam[name].init(params) for name, params in networks.items()}
    target = state.target_critic

    def q(critic, member, observations, actions):
        one = jax.tree.map(lambda leaf: leaf[member][None], critic)
        return backbone.values(one, observations, actions)[0]

    def sampled(actor, observations, noise):
        return squashed_sample(*backbone.gaussian(actor, observations), noise)

    def descend(gradients):
        for name, optimizer in adam.items():
            gradient = gradients.get(name, jax.tree.map(jnp.zeros_like, networks[name]))
            moves, memory[name] = optimizer.update(gradient, memory[name])
            networks[name] = optax.apply_updates(networks[name], moves)

    size = len(batch) // agent.utd
    for part in range(agent.utd):
        rows = slice(part * size, (part + 1) * size)
        ahead = batch.next_observations[rows]
        tried = []
        for number in range(agent.target_actions):
            actions, log_pi = sampled(networks["actor"], ahead, draws["next"][rows, number])
            value = jnp.minimum(*(q(target, member, ahead, actions) for member in draws["subset"][part]))
            if agent.backup_entropy:
                value = value - jnp.log1p(jnp.exp(networks["temperature"])) * log_pi
            tried.append(value)
        y = batch.rewards[rows] + (1 - batch.terminals[rows]) * backbone.discount * jnp.stack(tried).max(axis=0)

        def critic_loss(critic, rows=rows, y=y):
            errors = [q(critic, member, batch.observations[rows], batch.actions[rows]) - y for member in members]
            return jnp.mean(jnp.stack(errors) ** 2)

        descend({"critic": jax.grad(critic_loss)(networks["critic"])})
        target = jax.tree.map(
            lambda old, new: (1 - backbone.tau) * old + backbone.tau * new, target, networks["critic"]
        )

    def actor_loss(actor):
        actions, log_pi = sampled(actor, batch.observations, draws["policy"])
        values = jnp.stack([q(networks["critic"], member, batch.observations, actions) for member in members])
        return jnp.mean(jnp.log1p(jnp.exp(networks["temperature"])) * log_pi - values.min(axis=0))

    _, log_pi = sampled(networks["actor"], batch.next_observations, draws["entropy"])
    surplus = -log_pi.mean() - agent.target_entropy_per_dimension * ACTION
    descend(
        {
            "actor": jax.grad(actor_loss)(networks["actor"]),
            "temperature": jax.grad(lambda raw: jnp.log1p(jnp.exp(raw)) * surplus)(networks["temperature"]),
        }
    )
    return networks | {"target": target}


@pytest.mark.parametrize("case", [pytest.param("in two parts", marks=pytest.mark.slow), *list(CASES)[1:]])
def test_an_update_is_the_algorithms(case, rng):
    agent = CASES[case]
    with jax.enable_x64(True):
        batch = batch_of(rng, agent.batch_size)
        state = agent.init(jax.random.key(0), batch_of(rng, 1))
        state = jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype.kind == "f" else leaf, state)
        draws = agent.draw(jax.random.key(1), batch)
        expected = jax.jit(plainly)(agent, state, batch, draws)
        after, metrics = jax.jit(WSRL.update)(agent, state, batch, draws)
        ours = {
            "actor": after.actor.params,
            "critic": after.critic.params,
            "temperature": after.raw_temperature.params,
            "target": after.target_critic,
        }
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), ours, expected)
        assert {int(learner.moments.count) for learner in (after.actor, after.critic)} == {agent.utd + 1}
        assert all(np.shape(value) == () for value in metrics.values())


@pytest.mark.parametrize(
    "backbone", [CQL(hidden=(4,), alpha_multiplier=0.3), SACN(hidden=(4,), initial_temperature=0.2)]
)
def test_it_begins_with_the_backbones_networks_moments_and_temperature(backbone, rng):
    example = batch_of(rng, 1)
    trained = backbone.init(jax.random.key(0), example)
    trained = trained.replace(target_critic=jax.tree.map(lambda leaf: leaf + 1.0, trained.critic.params))
    agent = WSRL(backbone=backbone)
    state = agent.take_over(trained, jax.random.key(1), example)
    assert (state.actor, state.critic, state.target_critic) == (trained.actor, trained.critic, trained.target_critic)
    np.testing.assert_allclose(jax.nn.softplus(state.raw_temperature.params), backbone.temperature(trained), rtol=1e-6)
    seen = example.observations
    np.testing.assert_array_equal(agent.greedy(agent.policy(state), seen), backbone.greedy(trained.actor.params, seen))


def test_backbones_have_a_squashed_gaussian_and_an_ensemble():
    assert all(isinstance(agent, WarmStart) for agent in (CQL(), CalQL(), SACN()))
    assert not any(isinstance(agent, WarmStart) for agent in (IQL(), TD3BC()))


def test_the_frozen_policy_acts_before_it_learns_from_its_own_experience_alone():
    agent = WSRL(warmup_steps=50)
    offline, switch, warm_up, online = agent.phases(10, 200)
    assert offline == Offline(agent.backbone, 10)
    assert isinstance(switch, Switch)
    assert warm_up == Collect(agent, 50)
    assert online == Online(agent, 150, FromBuffer())
    assert agent.phases(10, 0) == (offline,)


@pytest.mark.parametrize(
    ("agent", "fault"), [(WSRL(), "5,000 env steps before"), (WSRL(warmup_steps=0, batch_size=10), "utd=4 parts")]
)
def test_what_it_cannot_be_given(agent, fault):
    with pytest.raises(MoorlError, match=fault):
        agent.phases(10, 5000)


def test_no_env_step_waits_for_its_episodes_end_as_cal_qls_do(rng):
    example = batch_of(rng, 1).replace(mc_returns=jnp.zeros(1))
    under_way = Buffer.create(8, example).store(jax.tree.map(lambda leaf: leaf[0], example), finished=False)
    seen = {kind: recipes.seen_by(kind(), Experience(None, under_way)).online.size for kind in (WSRL, CalQL)}
    assert seen == {WSRL: 1, CalQL: 0}


@pytest.mark.parametrize(
    ("task", "backbone", "hidden", "critics", "actions", "shift"),
    [
        ("antmaze-medium-play-v2", CalQL, (256,) * 2, (256,) * 4, 10, -5.0),
        ("pen-human-v1", CalQL, (512,) * 2, (512,) * 3, 1, 0.0),
        ("kitchen-mixed-v0", CalQL, (512,) * 3, None, 1, -4.0),
        ("hopper-medium-v2", CQL, (256,) * 2, None, 1, 0.0),
    ],
)
def test_a_family_has_its_authors_values(task, backbone, hidden, critics, actions, shift):
    chosen = settings("wsrl", find(task), 250_000, 500_000)
    agent = chosen.agent
    assert type(agent.backbone) is backbone
    assert (agent.backbone.hidden, agent.backbone.critic_hidden) == (hidden, critics)
    assert (agent.backbone.members, agent.backbone.target_members, agent.backbone.critic_layer_norm) == (10, 2, True)
    assert (agent.batch_size, agent.utd, agent.warmup_steps, agent.target_actions) == (1024, 4, 5000, actions)
    assert chosen.preparation.reward_shift == shift
    assert chosen.preparation.action_limit == 0.99999
    assert settings("wsrl", find(task), 10, 1_000).agent.warmup_steps == 100
