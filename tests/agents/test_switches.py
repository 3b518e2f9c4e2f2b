"""The switches that the recordings in tests/parity leave at rest, against the losses written out from their equations.

Here nothing is shared between losses and every network has its own loop: slow, plain, and independent of the agents.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import (
    AWAC,
    CQL,
    EDAC,
    FQL,
    IFQL,
    IQL,
    OPTIQL,
    PEX,
    RLPD,
    SAC,
    SACN,
    SPOT,
    TD3BC,
    WSRL,
    CalQL,
    ReBRAC,
)
from moorl_jax.agents.td3_bc import first_critic
from moorl_jax.config import require_bounds
from moorl_jax.errors import MoorlError
from moorl_jax.types import Transitions
from tests.agents.stepping import step

BATCH, OBSERVATION, ACTION, SAMPLES = 32, 17, 6, 4
DISCOUNT = 0.97
HIDDEN_AND_LAST = ("layer1", "layer2")  #: the layers that hidden units lead to

CQL_CASES = {
    "lagrange, max backup, clipped gap": {
        "lagrange": True,
        "max_target_backup": True,
        "gap_min": -1.0,
        "gap_max": 1.5,
        "target_gap": 0.8,
    },
    "cloning, lagrange, max backup with entropy, half alpha": {
        "lagrange": True,
        "max_target_backup": True,
        "backup_entropy": True,
        "cloning_updates": 3,
        "target_gap": 5.0,
        "alpha_multiplier": 0.5,
    },
    "no importance sampling, one next action with entropy": {
        "importance_sampling": False,
        "backup_entropy": True,
        "penalty_temperature": 0.7,
        "penalty_weight": 10.0,
    },
    "five normalized critics, of which targets see two, lagrange": {
        "members": 5,
        "target_members": 2,
        "actor_layer_norm": True,
        "critic_layer_norm": True,
        "lagrange": True,
    },
}


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def batch(rng):
    return Transitions(
        observations=rng.standard_normal((BATCH, OBSERVATION)),
        actions=rng.uniform(-0.35, 0.35, (BATCH, ACTION)),
        rewards=rng.standard_normal(BATCH),
        next_observations=rng.standard_normal((BATCH, OBSERVATION)),
        terminals=(rng.random(BATCH) < 0.2) * 1.0,
    )


def shaken(agent, batch, rng):
    """A fresh state in float64 whose parameters, targets included, have all been moved apart."""
    state = jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.standard_normal(leaf.shape) if leaf.dtype.kind == "f" else leaf,
        jax.tree.map(lambda leaf: leaf.astype(float) if leaf.dtype.kind == "f" else leaf, agent.init(KEY, batch)),
    )
    learners = {name: value for name, value in vars(state).items() if hasattr(value, "moments")}
    fresh = {name: jax.tree.map(jnp.zeros_like, learner.moments) for name, learner in learners.items()}
    return state.replace(**{name: learner.replace(moments=fresh[name]) for name, learner in learners.items()})


KEY = jax.random.key(0)


def gradients(before, after, names):
    """Adam's first moment is 0.9 m + 0.1 g: the gradients it consumed can be read off it."""
    return {
        name: jax.tree.map(
            lambda new, old: (new - 0.9 * old) / 0.1, getattr(after, name).moments.mu, getattr(before, name).moments.mu
        )
        for name in names
    }


def net(params, x):
    layers = sum(name.startswith("layer") for name in params)
    for layer in range(layers):
        x = x @ params[f"layer{layer}"]["kernel"] + params[f"layer{layer}"]["bias"]
        if f"ln{layer}" in params:
            x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
            x = x * params[f"ln{layer}"]["scale"] + params[f"ln{layer}"]["bias"]
        x = jnp.maximum(x, 0.0) if layer < layers - 1 else x
    return x


def q_value(critic, member, observations, actions):
    params = jax.tree.map(lambda leaf: leaf[member], critic)
    return net(params, jnp.concatenate([observations, actions], axis=-1))[..., 0]


def gaussian(actor, observations):
    mean, raw = jnp.split(net(actor["net"], observations), 2, axis=-1)
    return mean, jnp.clip(actor["log_std_multiplier"] * raw + actor["log_std_offset"], -20.0, 2.0)


def log_density(mean, log_std, x):
    z = (x - mean) / jnp.exp(log_std)
    slope = 2.0 * (jnp.log(2.0) - x - jax.nn.softplus(-2.0 * x))
    return (-0.5 * z**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi) - slope).sum(-1)


def sample(mean, log_std, noise):
    x = mean + jnp.exp(log_std) * noise
    return jnp.tanh(x), log_density(mean, log_std, x)


def cql_gradients(agent, state, batch, draws, cloning):
    """The gradient of each loss of section 3.3 by itself."""
    actor, critic, target = state.actor.params, state.critic.params, state.target_critic
    alpha = agent.alpha_multiplier * jnp.exp(state.log_alpha.params)
    s, next_s = batch.observations, batch.next_observations
    spread = [jnp.repeat(states[:, None], SAMPLES, axis=1) for states in (s, next_s)]
    mean, log_std = gaussian(actor, s)
    next_mean, next_log_std = gaussian(actor, next_s)
    several, next_several = (mean[:, None], log_std[:, None]), (next_mean[:, None], next_log_std[:, None])
    everyone = range(agent.members)

    def smallest(critic, members, observations, actions):
        return jnp.stack([q_value(critic, member, observations, actions) for member in members]).min(axis=0)

    def policy_loss(actor):
        mean, log_std = gaussian(actor, s)
        actions, log_pi = sample(mean, log_std, draws["policy"])
        if cloning:
            return (alpha * log_pi - log_density(mean, log_std, jnp.arctanh(batch.actions))).mean()
        return (alpha * log_pi - smallest(critic, everyone, s, actions)).mean()

    _, log_pi = sample(mean, log_std, draws["policy"])
    drawn = draws.get("subset", everyone)
    if agent.max_target_backup:
        actions, next_log_pi = sample(*next_several, draws["target"])
        candidates = smallest(target, drawn, spread[1], actions)
        rows, best = np.arange(BATCH), candidates.argmax(axis=1)
        next_q, next_log_pi = candidates[rows, best], next_log_pi[rows, best]
    else:
        actions, next_log_pi = sample(next_mean, next_log_std, draws["target"])
        next_q = smallest(target, drawn, next_s, actions)
    if agent.backup_entropy:
        next_q = next_q - alpha * next_log_pi
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * next_q
    current, current_log_pi = sample(*several, draws["current"])
    ahead, ahead_log_pi = sample(*next_several, draws["next"])

    def losses(critic, log_alpha_prime):
        total, terms = 0.0, []
        for member in everyone:
            data_q = q_value(critic, member, s, batch.actions)
            tried = [q_value(critic, member, spread[0], a) for a in (draws["random_actions"], ahead, current)]
            if isinstance(agent, CalQL):
                bound = batch.mc_returns[:, None]
                tried[1:] = [jnp.where(values > bound, values, bound) for values in tried[1:]]
            if agent.importance_sampling:
                tried = [tried[0] - ACTION * jnp.log(0.5), tried[1] - ahead_log_pi, tried[2] - current_log_pi]
            else:
                tried.append(data_q[:, None])
            heat = agent.penalty_temperature
            gap = heat * jax.nn.logsumexp(jnp.concatenate(tried, axis=1) / heat, axis=1) - data_q
            gap = jnp.clip(gap, agent.gap_min, agent.gap_max).mean()
            term = agent.penalty_weight * gap
            if agent.lagrange:
                term = jnp.clip(jnp.exp(log_alpha_prime), 0.0, 1e6) * agent.penalty_weight * (gap - agent.target_gap)
            terms.append(term)
            total += ((data_q - y) ** 2).mean() + term
        return total, -sum(terms) / len(terms)

    alpha_prime = state.log_alpha_prime.params
    return {
        "actor": jax.grad(policy_loss)(actor),
        "critic": jax.grad(lambda critic: losses(critic, alpha_prime)[0])(critic),
        "log_alpha": jax.grad(lambda log_alpha: -log_alpha * (log_pi - ACTION).mean())(state.log_alpha.params),
        "log_alpha_prime": jax.grad(lambda log: losses(critic, log)[1])(alpha_prime) if agent.lagrange else 0.0,
    }


# Cal-QL is CQL but for one line of the loss: one of its cases is enough in haste.
CQL_PAIRS = [(CQL, case) for case in CQL_CASES] + [
    pytest.param(CalQL, case, marks=pytest.mark.slow if number else ()) for number, case in enumerate(CQL_CASES)
]


@pytest.mark.parametrize(("kind", "case"), CQL_PAIRS)
def test_cql_and_cal_ql(kind, case, batch, rng):
    switches = {"max_target_backup": False} | CQL_CASES[case]
    agent = kind(hidden=(32, 32), actions_per_state=SAMPLES, discount=DISCOUNT, **switches)
    batch = batch.replace(mc_returns=rng.standard_normal(BATCH)) if kind is CalQL else batch
    state = shaken(agent, batch, rng)
    compiled = jax.jit(cql_gradients, static_argnames="cloning")
    for k in range(5):
        draws = agent.draw(jax.random.key(k), batch)
        expected = compiled(agent, state, batch, draws, cloning=k < agent.cloning_updates)
        after, _ = step(agent.update, state, batch, draws)
        ours = gradients(state, after, expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), ours, expected)
        state = after


@pytest.mark.slow
def test_cql_clones_actions_at_the_bounds_and_goes_on_after_it(batch, rng):
    """Online experience has such actions: float32 rounds tanh to 1."""
    agent = CQL(actions_per_state=SAMPLES, hidden=(16, 16), cloning_updates=1)
    batch.actions[0] = 1.0
    state = agent.init(jax.random.key(0), batch)
    for k in range(2):
        state, _ = step(agent.update, state, batch, agent.draw(jax.random.key(k), batch))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_td3_bc_with_a_smaller_action_range_and_the_actor_on_every_update(batch, rng):
    """max_action 0.4 scales policy and clipping, the noise being scaled already; policy_freq 1 moves all each time."""
    agent = TD3BC(
        hidden=(32, 32),
        policy_freq=1,
        max_action=0.4,
        policy_noise=0.12,
        noise_clip=0.16,
        alpha=1.0,
        tau=0.01,
        discount=DISCOUNT,
    )
    assert agent.cycle() == (agent.update,)
    state, draws = shaken(agent, batch, rng), agent.draw(jax.random.key(1), batch)
    noise = np.clip(draws["policy_noise"] * 0.12, -0.16, 0.16)
    actions = np.clip(0.4 * np.tanh(net(state.target_actor, batch.next_observations)) + noise, -0.4, 0.4)
    targets = [q_value(state.target_critic, member, batch.next_observations, actions) for member in (0, 1)]
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * np.minimum(*targets)

    def critic_loss(critic):
        q = [q_value(critic, member, batch.observations, batch.actions) for member in (0, 1)]
        return sum(((value - y) ** 2).mean() for value in q)

    after, _ = step(agent.update, state, batch, draws)

    def actor_loss(actor):
        pi = 0.4 * jnp.tanh(net(actor, batch.observations))
        q = q_value(after.critic.params, 0, batch.observations, pi)
        return -q.mean() / jax.lax.stop_gradient(jnp.abs(q).mean()) + ((pi - batch.actions) ** 2).mean()

    expected = {
        "critic": jax.jit(jax.grad(critic_loss))(state.critic.params),
        "actor": jax.jit(jax.grad(actor_loss))(state.actor.params),
    }
    ours = gradients(state, after, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), ours, expected)
    moved = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new, state.target_actor, after.actor.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after.target_actor, moved)


@pytest.mark.parametrize("normalized", [True, False])
def test_spot_with_importance_weights(normalized, batch, rng):
    """The bound of importance-weighted autoencoders from densities, three samples, the actor on every update."""
    agent = SPOT(
        hidden=(32, 32),
        vae_hidden=(24,),
        policy_freq=1,
        samples=3,
        importance_weighted=True,
        normalize_q=normalized,
        support_weight=0.3,
        cooling_updates=10.0,
        discount=DISCOUNT,
    )
    state, draws = shaken(agent, batch, rng), agent.draw(jax.random.key(1), batch)
    state = state.replace(updates=jnp.int32(4))
    after, metrics = step(agent.update, state, batch, draws)
    assert float(metrics["support_weight"]) == pytest.approx(0.3 * 0.5)  # the fifth of ten
    vae = state.vae

    def actor_loss(actor):
        pi = jnp.tanh(net(actor, batch.observations))
        q = q_value(after.critic.params, 0, batch.observations, pi)
        mean, log_std = jnp.split(net(vae["encoder"], jnp.concatenate([batch.observations, pi], -1)), 2, -1)
        std = jnp.exp(jnp.clip(log_std, -4, 15))
        weights = []
        for number in range(3):
            latent = mean + std * draws["vae_noise"][:, number]
            decoded = jnp.tanh(net(vae["decoder"], jnp.concatenate([batch.observations, latent], -1)))
            densities = (
                jax.scipy.stats.norm.logpdf(pi, decoded, (0.5 / 4) ** 0.5),
                jax.scipy.stats.norm.logpdf(latent),
                -jax.scipy.stats.norm.logpdf(latent, mean, std),
            )
            weights.append(sum(density.sum(-1) for density in densities))
        unlikely = -jnp.log(jnp.exp(jnp.stack(weights)).mean(0)).mean()
        scale = jax.lax.stop_gradient(jnp.abs(q).mean()) if normalized else 1.0
        return -q.mean() / scale + 0.15 * unlikely

    ours = gradients(state, after, {"actor": None})
    expected = {"actor": jax.jit(jax.grad(actor_loss))(state.actor.params)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-10), ours, expected)


def test_spots_dropout_drops_hidden_units_of_actor_and_target_actor(batch, rng):
    agent = SPOT(hidden=(32, 32), vae_hidden=(24,), dropout=0.5)
    state, draws = shaken(agent, batch, rng), agent.draw(jax.random.key(1), batch)
    plain = agent.replace(dropout=0.0)
    # All units kept, at twice their size, is what doubled kernels above them give.
    kept = {name: jnp.ones_like(draw) if "dropout" in name else draw for name, draw in draws.items()}

    def doubled(params):
        return params | {layer: {**params[layer], "kernel": 2.0 * params[layer]["kernel"]} for layer in HIDDEN_AND_LAST}

    def actor_loss(agent, actor, draws):
        value = partial(first_critic, state.critic.params, activation="relu")
        return agent.actor_loss(actor, value, state, batch, draws)[0]

    def critic_loss(agent, target_actor, draws):
        return agent.critic_loss(state.critic.params, state.replace(target_actor=target_actor), batch, draws)[0]

    for loss, actor in ((actor_loss, state.actor.params), (critic_loss, state.target_actor)):
        assert abs(float(loss(agent, actor, draws) - loss(plain, actor, draws))) > 1e-3
        np.testing.assert_allclose(loss(agent, actor, kept), loss(plain, doubled(actor), draws), rtol=1e-9)


@pytest.mark.parametrize(("entropy", "backend"), [(True, "cpu"), pytest.param(False, "gpu", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", [SAC, RLPD])
def test_sac_and_rlpd(kind, entropy, backend, batch, rng, monkeypatch):
    """One drawn target of several, with and without entropy in the target; the smallest value or the mean.

    Critics are taken one after the other, as a CPU does, and all at once, as accelerators do.
    """
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    agent = kind(hidden=(32, 32), members=4, target_members=1, utd=1, backup_entropy=entropy, discount=DISCOUNT)
    state, draws = shaken(agent, batch, rng), agent.draw(jax.random.key(1), batch)
    temperature = jnp.exp(state.log_temperature.params)

    def policy(actor, observations):
        mean, log_std = jnp.split(net(actor, observations), 2, -1)
        return mean, jnp.clip(log_std, -20, 2)

    actions, log_pi = sample(*policy(state.actor.params, batch.next_observations), draws["next"])
    next_q = q_value(state.target_critic, int(draws["subset"][0]), batch.next_observations, actions)
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * (next_q - (temperature * log_pi if entropy else 0.0))

    def critic_loss(critic):
        q = [q_value(critic, member, batch.observations, batch.actions) for member in range(4)]
        return sum(((value - y) ** 2).mean() for value in q) / 4

    after, metrics = step(agent.update, state, batch, draws)

    def actor_loss(actor):
        actions, log_pi = sample(*policy(actor, batch.observations), draws["policy"])
        q = jnp.stack([q_value(after.critic.params, member, batch.observations, actions) for member in range(4)])
        return (temperature * log_pi - (q.min(0) if kind is SAC else q.mean(0))).mean()

    target_entropy = -ACTION if kind is SAC else -ACTION / 2
    expected = {
        "critic": jax.jit(jax.grad(critic_loss))(state.critic.params),
        "actor": jax.jit(jax.grad(actor_loss))(state.actor.params),
        "log_temperature": temperature * (metrics["entropy"] - target_entropy),
    }
    ours = gradients(state, after, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11), ours, expected)


def rebracs_net(params, x):
    """Layers with GELU, then a LayerNorm whose epsilon is 1e-6, where there is one."""
    for layer in range(2):
        x = jax.nn.gelu(x @ params[f"layer{layer}"]["kernel"] + params[f"layer{layer}"]["bias"], approximate=True)
        if f"flax_ln{layer}" not in params:
            continue
        x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
        x = x * params[f"flax_ln{layer}"]["scale"] + params[f"flax_ln{layer}"]["bias"]
    return x @ params["layer2"]["kernel"] + params["layer2"]["bias"]


def gelu_q(critic, member, observations, actions):
    """One member's value of a critic that has GELU."""
    params = jax.tree.map(lambda leaf: leaf[member], critic)
    return rebracs_net(params, jnp.concatenate([observations, actions], -1))[:, 0]


def gelu_min(critic, observations, actions):
    return jnp.minimum(*(gelu_q(critic, member, observations, actions) for member in (0, 1)))


def assert_gradients(state, after, expected):
    ours = gradients(state, after, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11), ours, expected)


def assert_follows_the_old(state, after, tau):
    """Targets move towards the critics from before the update."""
    moved = jax.tree.map(lambda old, now: (1 - tau) * old + tau * now, state.target_critic, state.critic.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after.target_critic, moved)


def flow_loss(field, batch, draws):
    points = (1 - draws["time"]) * draws["start"] + draws["time"] * batch.actions
    speed = rebracs_net(field, jnp.concatenate([batch.observations, points, draws["time"]], -1))
    return ((speed - (batch.actions - draws["start"])) ** 2).mean()


def euler(field, observations, noise, steps):
    for number in range(steps):
        times = jnp.full((len(noise), 1), number / steps)
        noise = noise + rebracs_net(field, jnp.concatenate([observations, noise, times], -1)) / steps
    return jnp.clip(noise, -1, 1)


@pytest.mark.parametrize(
    ("target_value", "normalized"), [("mean", False), pytest.param("min", True, marks=pytest.mark.slow)]
)
def test_fql(target_value, normalized, batch, rng):
    agent = FQL(
        hidden=(32, 32),
        actor_layer_norm=normalized,
        critic_layer_norm=not normalized,
        flow_steps=3,
        target_value=target_value,
        normalize_q=normalized,
        discount=DISCOUNT,
        tau=0.01,
        alpha=0.6,
    )
    state, draws = shaken(agent, batch, rng), agent.draw(KEY, batch)
    assert draws["time"].shape == (BATCH, 1)
    assert ("flax_ln0" in state.actor.params, "flax_ln0" in state.critic.params) == (normalized, not normalized)

    def proposed(actor, observations, noise):
        return rebracs_net(actor, jnp.concatenate([observations, noise], -1))

    ahead = jnp.clip(proposed(state.actor.params, batch.next_observations, draws["next"]), -1, 1)
    both = jnp.stack([gelu_q(state.target_critic, i, batch.next_observations, ahead) for i in (0, 1)])
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * getattr(both, target_value)(axis=0)

    def critic_loss(critic):
        return sum(((gelu_q(critic, i, batch.observations, batch.actions) - y) ** 2).mean() for i in (0, 1)) / 2

    def actor_loss(actor):
        pi = proposed(actor, batch.observations, draws["policy"])
        taught = euler(state.flow.params, batch.observations, draws["policy"], 3)
        clipped = jnp.clip(pi, -1, 1)
        q = sum(gelu_q(state.critic.params, i, batch.observations, clipped) for i in (0, 1)) / 2
        size = jax.lax.stop_gradient(abs(q).mean()) if normalized else 1.0
        return 0.6 * ((pi - taught) ** 2).mean() - q.mean() / size

    after, _ = step(agent.update, state, batch, draws)
    expected = {
        "critic": jax.jit(jax.grad(critic_loss))(state.critic.params),
        "flow": jax.jit(jax.grad(flow_loss))(state.flow.params, batch, draws),
        "actor": jax.jit(jax.grad(actor_loss))(state.actor.params),
    }
    assert_gradients(state, after, expected)
    assert_follows_the_old(state, after, 0.01)


def test_ifql(batch, rng):
    agent = IFQL(
        hidden=(32, 32),
        actor_layer_norm=True,
        value_layer_norm=False,
        flow_steps=3,
        samples=4,
        discount=DISCOUNT,
        tau=0.01,
        expectile=0.8,
    )
    state, draws = shaken(agent, batch, rng), agent.draw(KEY, batch)
    after, _ = step(agent.update, state, batch, draws)
    q = gelu_min(state.target_critic, batch.observations, batch.actions)
    next_v = rebracs_net(state.value.params, batch.next_observations)[:, 0]
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * next_v

    def value_loss(value):
        error = q - rebracs_net(value, batch.observations)[:, 0]
        return (jnp.where(error >= 0, 0.8, 0.2) * error**2).mean()

    def critic_loss(critic):
        return sum(((gelu_q(critic, i, batch.observations, batch.actions) - y) ** 2).mean() for i in (0, 1))

    expected = {
        "value": jax.jit(jax.grad(value_loss))(state.value.params),
        "critic": jax.jit(jax.grad(critic_loss))(state.critic.params),
        "actor": jax.jit(jax.grad(flow_loss))(state.actor.params, batch, draws),
    }
    assert_gradients(state, after, expected)
    assert_follows_the_old(state, after, 0.01)

    noise = jnp.asarray(rng.standard_normal((BATCH, 4, ACTION)))
    each = [euler(state.actor.params, batch.observations, noise[:, i], 3) for i in range(4)]
    values = jnp.stack([gelu_min(state.critic.params, batch.observations, actions) for actions in each])
    best = jnp.stack(each)[values.argmax(0), jnp.arange(BATCH)]
    np.testing.assert_allclose(agent.choose(agent.policy(state), batch.observations, noise), best, rtol=1e-9)


@pytest.mark.parametrize("agent", [FQL(hidden=(8, 8), flow_steps=2), IFQL(hidden=(8, 8), flow_steps=2, samples=3)])
def test_flows_act_and_are_evaluated_by_fresh_noise(agent, batch, rng):
    params = agent.policy(shaken(agent, batch, rng))
    for act in (agent.act, agent.act_in_evaluation):
        first, again, other = (act(params, batch.observations, jax.random.key(seed)) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert jnp.abs(first - other).mean() > 0.01
        assert jnp.abs(first).max() <= 1.0
    greedy = agent.greedy(params, batch.observations)
    alone = [agent.greedy(params, observation) for observation in batch.observations[:3]]
    np.testing.assert_allclose(greedy[:3], alone, rtol=1e-6)
    assert greedy.shape == (BATCH, ACTION)


@pytest.mark.parametrize(
    ("objective", "learned", "squashed"),
    [
        ("awr", True, False),
        pytest.param("ddpgbc", True, True, marks=pytest.mark.slow),
        pytest.param("ddpgbc", False, False, marks=pytest.mark.slow),
    ],
)
def test_iql_in_one_optimizer_step(objective, learned, squashed, batch, rng):
    """Value, critics and actor each against the others from before, with OGBench's policies and objectives."""
    agent = IQL(
        hidden=(32, 32),
        activation="gelu",
        actor_layer_norm=learned,
        value_layer_norm=True,
        glorot=True,
        joint=True,
        squash=squashed,
        learn_std=learned,
        actor_objective=objective,
        temperature=2.0,
        cloning_weight=0.4,
        discount=DISCOUNT,
        tau=0.01,
        expectile=0.8,
    )
    state, draws = shaken(agent, batch, rng), agent.draw(KEY, batch)
    assert ("policy" in draws) == (objective == "ddpgbc" and learned)
    after, _ = step(agent.update, state, batch, draws)
    q = gelu_min(state.target_critic, batch.observations, batch.actions)
    v, next_v = (rebracs_net(state.value.params, s)[:, 0] for s in (batch.observations, batch.next_observations))
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * next_v

    def value_loss(value):
        error = q - rebracs_net(value, batch.observations)[:, 0]
        return (jnp.where(error > 0, 0.8, 0.2) * error**2).mean()

    def critic_loss(critic):
        return sum(((gelu_q(critic, i, batch.observations, batch.actions) - y) ** 2).mean() for i in (0, 1))

    def actor_loss(actor):
        mean = rebracs_net(actor["mean"], batch.observations)
        mean = jnp.tanh(mean) if squashed else mean
        std = jnp.exp(jnp.clip(actor["log_std"], -5, 2)) if learned else jnp.ones(ACTION)
        density = jax.scipy.stats.norm.logpdf(batch.actions, mean, std).sum(-1)
        if objective == "awr":
            advantage = gelu_min(state.critic.params, batch.observations, batch.actions) - v
            return -(jnp.minimum(jnp.exp(2.0 * advantage), 100.0) * density).mean()
        pi = jnp.clip(mean + std * draws["policy"] if learned else mean, -1, 1)
        value = gelu_min(state.critic.params, batch.observations, pi)
        return -value.mean() / jax.lax.stop_gradient(abs(value).mean()) - 0.4 * density.mean()

    expected = {
        "value": jax.jit(jax.grad(value_loss))(state.value.params),
        "critic": jax.jit(jax.grad(critic_loss))(state.critic.params),
        "actor": jax.jit(jax.grad(actor_loss))(state.actor.params),
    }
    assert_gradients(state, after, expected)
    assert_follows_the_old(state, after, 0.01)


def test_iql_that_climbs_step_by_step_climbs_the_new_critics(batch, rng):
    agent = IQL(hidden=(32, 32), activation="gelu", learn_std=False, actor_objective="ddpgbc", discount=DISCOUNT)
    state = shaken(agent, batch, rng)
    after, _ = step(agent.update, state, batch, {})

    def actor_loss(actor):
        mean = jnp.tanh(rebracs_net(actor["mean"], batch.observations))
        value = gelu_min(after.critic.params, batch.observations, mean)
        density = jax.scipy.stats.norm.logpdf(batch.actions, mean, 1.0).sum(-1)
        return -value.mean() / jax.lax.stop_gradient(abs(value).mean()) - density.mean()

    assert_gradients(state, after, {"actor": jax.jit(jax.grad(actor_loss))(state.actor.params)})


@pytest.mark.parametrize(
    "changes", [{"joint": True}, {"squash": False}, {"learn_std": False}, {"actor_objective": "ddpgbc"}]
)
def test_pex_refuses_what_its_own_update_does_not_have(changes):
    with pytest.raises(MoorlError, match=f"PEX.{next(iter(changes))} must be"):
        require_bounds(PEX(**changes))


def test_opt_over_iql_needs_advantages():
    with pytest.raises(MoorlError, match=r"needs backbone\.actor_objective=awr"):
        OPTIQL(backbone=IQL(actor_objective="ddpgbc")).phases(10, 100)


@pytest.mark.parametrize("squashed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_rebrac_in_one_optimizer_step(squashed, batch, rng):
    """Critics and actor from before the update; between its turns the actor goes on by its moments."""
    agent = ReBRAC(
        hidden=(32, 32),
        activation="gelu",
        glorot=True,
        joint=True,
        squash=squashed,
        policy_freq=3,
        actor_penalty=0.4,
        critic_penalty=0.7,
        discount=DISCOUNT,
        tau=0.01,
        actor_learning_rate=1e-2,
    )
    assert agent.cycle() == (agent.update_critic, agent.update_critic, agent.update)
    batch = batch.replace(next_actions=rng.uniform(-1, 1, (BATCH, ACTION)))
    state, draws = shaken(agent, batch, rng), agent.draw(KEY, batch)

    def pi(actor, observations):
        mean = rebracs_net(actor, observations)
        return jnp.tanh(mean) if squashed else mean

    noise = np.clip(draws["policy_noise"] * 0.2, -0.5, 0.5)
    ahead = jnp.clip(pi(state.target_actor, batch.next_observations) + noise, -1, 1)
    next_q = gelu_min(state.target_critic, batch.next_observations, ahead)
    next_q = next_q - 0.7 * ((ahead - batch.next_actions) ** 2).sum(-1)
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * next_q

    def critic_loss(critic):
        return sum(((gelu_q(critic, i, batch.observations, batch.actions) - y) ** 2).mean() for i in (0, 1)) / 2

    def actor_loss(actor):
        actions = pi(actor, batch.observations)
        q = gelu_min(state.critic.params, batch.observations, actions)
        penalty = ((actions - batch.actions) ** 2).sum(-1).mean()
        return 0.4 * penalty - q.mean() / jax.lax.stop_gradient(abs(q).mean())

    after, _ = step(agent.update, state, batch, draws)
    expected = {
        "critic": jax.jit(jax.grad(critic_loss))(state.critic.params),
        "actor": jax.jit(jax.grad(actor_loss))(state.actor.params),
    }
    assert_gradients(state, after, expected)
    assert_follows_the_old(state, after, 0.01)

    idle, _ = step(agent.update_critic, after, batch, draws)
    mean = jax.tree.map(lambda g: 0.9 * 0.1 * g / (1 - 0.9**2), expected["actor"])
    size = jax.tree.map(lambda g: jnp.sqrt(0.999 * 0.001 * g**2 / (1 - 0.999**2)) + 1e-8, expected["actor"])
    moved = jax.tree.map(lambda old, m, s: old - 1e-2 * m / s, after.actor.params, mean, size)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12), idle.actor.params, moved)
    jax.tree.map(np.testing.assert_array_equal, idle.target_critic, after.target_critic)


@pytest.mark.parametrize("agent", [IQL(hidden=(8,), squash=False), ReBRAC(hidden=(8,), squash=False)])
def test_a_mean_that_is_not_squashed_is_clipped_where_it_acts(agent, batch, rng):
    state = shaken(agent, batch, rng)
    state = jax.tree.map(lambda leaf: 30.0 * leaf if leaf.dtype.kind == "f" else leaf, state)
    greedy = agent.greedy(agent.policy(state), batch.observations)
    assert jnp.abs(greedy).max() == 1.0
    assert jnp.abs(agent.act(agent.policy(state), batch.observations, KEY)).max() <= 1.0


@pytest.mark.parametrize("agent", [IQL(hidden=(64,), glorot=True), ReBRAC(hidden=(64,), glorot=True)])
def test_glorots_kernels(agent, batch):
    """Uniform, of variance 2 / (in + out); the actor's last a hundredth of it; biases 0."""
    state = agent.init(KEY, batch)
    actor = state.actor.params.get("mean", state.actor.params)
    for layer, share in (("layer0", 1.0), ("layer1", 0.01)):
        kernel = actor[layer]["kernel"]
        bound = (6.0 * share / sum(kernel.shape)) ** 0.5
        assert 0.9 * bound < jnp.abs(kernel).max() <= bound
        assert not actor[layer]["bias"].any()
    kernel = state.critic.params["layer1"]["kernel"]
    assert 0.8 * (6.0 / 65) ** 0.5 < jnp.abs(kernel).max() <= (6.0 / 65) ** 0.5


@pytest.mark.parametrize("online", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_rebrac_with_gelu_and_both_networks_normalized(online, batch, rng):
    """The actor on every update, offline by values as they are; online the critics' penalty is gone, its own cooled."""
    agent = ReBRAC(
        hidden=(32, 32),
        activation="gelu",
        actor_layer_norm=True,
        policy_freq=1,
        normalize_q=online,
        actor_penalty=0.4,
        critic_penalty=0.7,
        discount=DISCOUNT,
        tau=0.01,
        online_cooling_updates=10.0,
    )
    assert agent.needs_next_actions()
    if online:
        agent = agent.online(5).agent
        assert not agent.needs_next_actions()
    batch = batch.replace(next_actions=None if online else rng.uniform(-1, 1, (BATCH, ACTION)))
    state, draws = shaken(agent, batch, rng), agent.draw(KEY, batch)
    state = state.replace(updates=jnp.int32(3))
    weight = 0.4 * 0.7 if online else 0.4  # the fourth update of ten

    def q_value(critic, member, actions, states):
        return rebracs_net(jax.tree.map(lambda leaf: leaf[member], critic), jnp.concatenate([states, actions], -1))[
            :, 0
        ]

    noise = np.clip(draws["policy_noise"] * 0.2, -0.5, 0.5)
    ahead = np.clip(np.tanh(rebracs_net(state.target_actor, batch.next_observations)) + noise, -1, 1)
    next_q = jnp.minimum(*(q_value(state.target_critic, i, ahead, batch.next_observations) for i in (0, 1)))
    if not online:
        next_q = next_q - 0.7 * ((ahead - batch.next_actions) ** 2).sum(-1)
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * next_q

    def critic_loss(critic):
        return sum(((q_value(critic, i, batch.actions, batch.observations) - y) ** 2).mean() for i in (0, 1))

    after, _ = step(agent.update, state, batch, draws)

    def actor_loss(actor):
        pi = jnp.tanh(rebracs_net(actor, batch.observations))
        q = jnp.minimum(*(q_value(after.critic.params, i, pi, batch.observations) for i in (0, 1)))
        size = jax.lax.stop_gradient(abs(q).mean()) if online else 1.0
        return weight * ((pi - batch.actions) ** 2).sum(-1).mean() - q.mean() / size

    expected = {
        "critic": jax.jit(jax.grad(critic_loss))(state.critic.params),
        "actor": jax.jit(jax.grad(actor_loss))(state.actor.params),
    }
    ours = gradients(state, after, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11), ours, expected)
    moved = jax.tree.map(lambda old, now: 0.99 * old + 0.01 * now, state.target_actor, state.actor.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), after.target_actor, moved)
    assert int(after.updates) == 4


def test_rebracs_penalty_falls_to_half():
    agent = ReBRAC(online_cooling_updates=10.0).online(10).agent
    np.testing.assert_allclose([agent._cooled(jnp.int32(n)) for n in (0, 2, 5, 9)], [1.0, 0.8, 0.5, 0.5], rtol=1e-6)
    assert ReBRAC()._cooled(jnp.int32(9)) == 1.0


def test_rebracs_first_update_of_a_cycle_moves_the_actor():
    agent = ReBRAC(policy_freq=3)
    assert agent.cycle() == (agent.update, agent.update_critic, agent.update_critic)


@pytest.mark.slow
def test_edac_drives_the_critics_action_gradients_apart(batch, rng):
    """Of all pairs of critics, each by its own loop."""
    agent = EDAC(hidden=(32, 32), members=3, diversity_weight=0.8, max_action=0.7, discount=DISCOUNT)
    state, draws = shaken(agent, batch, rng), agent.draw(KEY, batch)
    after, metrics = step(agent.update, state, batch, draws)
    temperature = jnp.exp(after.log_temperature.params)

    def sampled(states, noise):
        mean, log_std = jnp.split(net(after.actor.params, states), 2, -1)
        log_std = jnp.clip(log_std, -5, 2)
        t = jnp.tanh(mean + jnp.exp(log_std) * noise)
        return 0.7 * t, (jax.scipy.stats.norm.logpdf(noise) - log_std - jnp.log(1 - t**2 + 1e-6)).sum(-1)

    actions, log_pi = sampled(batch.next_observations, draws["next"])
    next_q = jnp.stack([q_value(state.target_critic, i, batch.next_observations, actions) for i in range(3)]).min(0)
    y = batch.rewards + (1.0 - batch.terminals) * DISCOUNT * (next_q - temperature * log_pi)

    def similarity(critic):
        def direction(member):
            slope = jax.grad(lambda a: q_value(critic, member, batch.observations, a).sum())(batch.actions)
            return slope / jnp.sqrt((slope**2).sum(-1, keepdims=True))

        pairs = [(direction(i) * direction(j)).sum(-1).mean() for i in range(3) for j in range(3) if i != j]
        return sum(pairs) / 2

    def critic_loss(critic):
        q = [q_value(critic, member, batch.observations, batch.actions) for member in range(3)]
        return sum(((value - y) ** 2).mean() for value in q) + 0.8 * similarity(critic)

    assert float(metrics["similarity"]) == pytest.approx(float(similarity(state.critic.params)), rel=1e-6)
    expected = {"critic": jax.jit(jax.grad(critic_loss))(state.critic.params)}
    ours = gradients(state, after, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), ours, expected)


def test_a_critic_that_is_flat_does_no_harm_to_edac(batch, rng):
    """Where all of its units are off its action gradient is 0, whose direction has no slope."""
    agent = EDAC(hidden=(8,), members=2)
    state = shaken(agent, batch, rng)
    off = state.critic.params["layer0"]["bias"].at[0].set(-1e3)
    critic = state.critic.params | {"layer0": {**state.critic.params["layer0"], "bias": off}}
    state = state.replace(critic=state.critic.replace(params=critic))
    after, _ = step(agent.update, state, batch, agent.draw(KEY, batch))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after))


def test_edac_needs_two_critics():
    with pytest.raises(MoorlError, match="members=1 is one too few"):
        EDAC(members=1).phases(10, 0)


def test_awacs_weights_are_clipped_and_its_mean_is_not_squashed(batch, rng):
    agent = AWAC(hidden=(8,), weight_clip=2.0)
    params = {"mean": {"layer0": {"kernel": jnp.zeros((OBSERVATION, ACTION)), "bias": jnp.full(ACTION, 3.0)}}}
    params["log_std"] = jnp.full(ACTION, 9.0)
    np.testing.assert_array_equal(agent.greedy(params, batch.observations), 1.0)
    loss, metrics = agent.actor_loss(params, jnp.full(BATCH, 50.0), batch)
    density = jax.scipy.stats.norm.logpdf(batch.actions, 3.0, np.exp(2.0)).sum(-1)
    assert float(loss) == pytest.approx(-2.0 * float(density.mean()))
    assert float(metrics["weight"]) == 2.0


@pytest.mark.parametrize(
    "agent",
    [
        IQL(hidden=(8,)),
        CQL(hidden=(8,)),
        SAC(hidden=(8,)),
        SACN(hidden=(8,)),
        AWAC(hidden=(8,)),
        WSRL(backbone=CQL(hidden=(8,))),
    ],
    ids=["iql", "cql", "sac", "sac_n", "awac", "wsrl"],
)
def test_exploration_samples_around_the_greedy_action(agent, batch, rng):
    params = agent.policy(shaken(agent, batch, rng))
    keys = jax.random.split(KEY, 4000)
    samples = jax.vmap(lambda key: agent.act(params, batch.observations[:2], key))(keys)
    assert jnp.abs(samples).max() <= 1.0
    assert samples.std(axis=0).min() > 0.01
    np.testing.assert_allclose(jnp.median(samples, axis=0), agent.greedy(params, batch.observations[:2]), atol=0.08)


def test_rebrac_explores_with_noise_where_it_is_set(batch, rng):
    agent = ReBRAC(hidden=(8,))
    params = agent.policy(shaken(agent, batch, rng))
    greedy = agent.greedy(params, batch.observations)
    np.testing.assert_allclose(agent.act(params, batch.observations, KEY), greedy, rtol=1e-12)
    noisy = agent.replace(exploration_noise=0.5).act(params, batch.observations, KEY)
    assert jnp.abs(noisy - greedy).mean() > 0.1
    assert jnp.abs(noisy).max() <= 1.0


@pytest.mark.parametrize(
    "agent", [TD3BC(hidden=(8,), max_action=0.5), SPOT(hidden=(8,), vae_hidden=(8,), max_action=0.5)]
)
def test_td3s_exploration_is_the_greedy_action_with_noise(agent, batch, rng):
    params = agent.policy(shaken(agent, batch, rng))
    keys = jax.random.split(KEY, 4000)
    samples = jax.vmap(lambda key: agent.act(params, batch.observations[:2], key))(keys)
    assert jnp.abs(samples).max() <= 0.5
    inside = jnp.abs(agent.greedy(params, batch.observations[:2])) < 0.35
    np.testing.assert_allclose(samples.std(axis=0)[inside], 0.05, rtol=0.1)
