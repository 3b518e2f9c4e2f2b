import jax
import numpy as np
import pytest

from moorl_jax.agents import (
    AWAC,
    BC,
    CQL,
    EDAC,
    FQL,
    IFQL,
    IQL,
    MOORL,
    OPT,
    OPTIQL,
    PEX,
    QC,
    QCFQL,
    RLPD,
    SAC,
    SACN,
    SPOT,
    TD3BC,
    WSRL,
    ReBRAC,
)
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.trainer import Trainer
from moorl_jax.nets import critics
from moorl_jax.phases import Offline
from moorl_jax.tasks import find
from tests.agents.probes import bandit, chain, timed_out

SMALL = {"hidden": (32, 32), "batch_size": 64}
RATES = {"actor_learning_rate": 1e-3, "critic_learning_rate": 3e-3}
SOFT = {"discount": 0.5, "tau": 0.05, "target_entropy_per_dimension": -2.0, "initial_temperature": 0.1}
# The penalty of CQL moves values down on purpose; without it CQL is SAC and must find the true ones.
AGENTS = {
    "td3_bc": TD3BC(**SMALL, **RATES, discount=0.5, tau=0.05),
    "rebrac": ReBRAC(**SMALL, **RATES, discount=0.5, tau=0.05, penalizes_critic=False),
    "awac": AWAC(**SMALL, **RATES, discount=0.5, tau=0.05),
    "iql": IQL(**SMALL, **RATES, value_learning_rate=3e-3, discount=0.5, tau=0.05, expectile=0.5),
    "joint_iql": IQL(
        **SMALL,
        **RATES,
        value_learning_rate=3e-3,
        discount=0.5,
        tau=0.05,
        expectile=0.5,
        joint=True,
        squash=False,
        learn_std=False,
        actor_objective="ddpgbc",
        cloning_weight=0.1,
    ),
    "joint_rebrac": ReBRAC(**SMALL, **RATES, discount=0.5, tau=0.05, penalizes_critic=False, joint=True, squash=False),
    "fql": FQL(**SMALL, learning_rate=3e-3, discount=0.5, tau=0.05, alpha=0.1),
    "qc": QC(**SMALL, learning_rate=3e-3, discount=0.5, tau=0.05, horizon=1, samples=8),
    "qc_fql": QCFQL(**SMALL, learning_rate=3e-3, discount=0.5, tau=0.05, horizon=1, alpha=0.1),
    "ifql": IFQL(**SMALL, learning_rate=3e-3, discount=0.5, tau=0.05, expectile=0.5),
    "cql": CQL(
        **SMALL, **RATES, discount=0.5, tau=0.05, penalty_weight=0.0, actions_per_state=2, blocks=1, target_entropy=-2.0
    ),
    "spot": SPOT(**SMALL, **RATES, discount=0.5, tau=0.05, vae_hidden=(32,), support_weight=0.0),
    "pex": PEX(**SMALL, **RATES, value_learning_rate=3e-3, discount=0.5, tau=0.05, expectile=0.5),
    "sac": SAC(**SMALL, **RATES, **SOFT),
    "rlpd": RLPD(**SMALL, **RATES, **SOFT, utd=1, backup_entropy=False),
    "moorl": MOORL(**SMALL, **RATES, **SOFT, utd=2),
    "sac_n": SACN(**SMALL, **RATES, **SOFT, members=3),
    "edac": EDAC(**SMALL, **RATES, **SOFT, members=3),
}
AGENTS |= {
    "opt": OPT(backbone=AGENTS["td3_bc"].replace(cloning=False), batch_size=64),
    "wsrl": WSRL(
        **RATES,
        backbone=AGENTS["cql"].replace(members=4, actor_layer_norm=True, critic_layer_norm=True),
        batch_size=128,
        utd=2,
    ),
    "opt_iql": OPTIQL(backbone=AGENTS["iql"], batch_size=64),
}


def trained(agent, data, updates=1500):
    if agent.chunks():  # of one step
        data = data.replace(ends=np.ones(len(data), np.float32))
    trainer = Trainer(
        [(Offline(agent, updates),)], find("hopper-medium-v2"), Prepared(data, Normalizer.identity((1,))), (0,)
    )
    trainer.start(updates)()
    trainer.close()
    return jax.tree.map(lambda leaf: leaf[0], trainer.states())


QUICK = ("td3_bc", "iql", "cql", "sac", "opt")  #: the others are of these, but for what their own tests hold


@pytest.fixture(
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in AGENTS], name="agent"
)
def _agent(request):
    return AGENTS[request.param]


def value(agent, state, observation, action):
    params = getattr(state, "backbone", state).critic.params
    if hasattr(state, "backbone"):  # OPT: both generations must find it
        params = jax.tree.map(lambda pair: pair.reshape(-1, *pair.shape[2:]), params)
    q = critics(params, np.array([observation], np.float32), np.array([action], np.float32), _activation(agent))
    return np.asarray(q)


def _activation(agent):
    return getattr(getattr(agent, "backbone", agent), "activation", "relu")


def test_bandit(agent, rng):
    state = trained(agent, bandit(rng))
    for action in (-0.9, -0.2, 0.5, 0.9):
        np.testing.assert_allclose(value(agent, state, 1.0, action), 1.0 - (action - 0.5) ** 2, atol=0.1)
    best = agent.greedy(agent.policy(state), np.ones((1, 1), np.float32))[0, 0]
    assert best > 0.1, "the policy must lean from the data's mean 0 towards the best action 0.5"


def test_chain(agent, rng):
    state = trained(agent, chain(rng))
    np.testing.assert_allclose(value(agent, state, 1.0, 0.3), 1.0, atol=0.05)
    np.testing.assert_allclose(value(agent, state, -1.0, 0.3), 0.5, atol=0.05)


def test_a_time_out_bootstraps(agent, rng):
    state = trained(agent, timed_out(rng))
    np.testing.assert_allclose(value(agent, state, 1.0, 0.3), 2.0, atol=0.1)


@pytest.mark.slow
def test_cqls_penalty_lowers_values_away_from_the_data(rng):
    data = bandit(rng)
    data = jax.tree.map(lambda leaf: leaf[np.abs(data.actions[:, 0]) < 0.3], data)
    conservative, plain = (
        trained(AGENTS["cql"].replace(penalty_weight=weight), data, updates=800) for weight in (1.0, 0.0)
    )
    away, near = 0.95, 0.0
    drop = {
        action: (value(AGENTS["cql"], plain, 1.0, action) - value(AGENTS["cql"], conservative, 1.0, action)).mean()
        for action in (away, near)
    }
    assert drop[away] > drop[near] + 0.3


def test_bc_finds_the_conditional_mean(rng):
    data = chain(rng)
    data = data.replace(actions=(0.4 * data.observations + 0.1 * rng.standard_normal(data.actions.shape)).astype("f4"))
    agent = BC(**SMALL, learning_rate=3e-3)
    state = trained(agent, data)
    actions = agent.greedy(agent.policy(state), np.array([[-1.0], [1.0]], np.float32))
    np.testing.assert_allclose(actions[:, 0], [-0.4, 0.4], atol=0.05)


def test_bc_loss_and_step_by_hand():
    """One layer deep enough to differentiate on paper: pi(s) = tanh(w s + b), Adam's first step is the rate."""
    agent = BC(hidden=(), learning_rate=0.01)
    data = chain(np.random.default_rng(1), size=8)
    state = agent.init(jax.random.key(0), data)
    w, b = (float(state.actor.params["layer0"][leaf].squeeze()) for leaf in ("kernel", "bias"))
    policy = np.tanh(w * data.observations + b)
    expected = np.mean((policy - data.actions) ** 2)
    slope = 2 * (policy - data.actions) * (1 - policy**2) / 8
    after, metrics = agent.update(state, data, None)
    assert float(metrics["bc_loss"]) == pytest.approx(expected, rel=1e-5)
    moved = float(after.actor.params["layer0"]["kernel"].squeeze()) - w
    assert moved == pytest.approx(-0.01 * np.sign((slope * data.observations).sum()), rel=1e-4)
