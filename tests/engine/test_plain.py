"""The loop one can read ends with the same numbers as the engine: the same keys, batches, actions and episodes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import CQL, IQL, MOORL, PEX, QC, RLPD, SAC, TD3BC, WSRL, CalQL, ReBRAC
from moorl_jax.agents.contract import Agent
from moorl_jax.config import static
from moorl_jax.data import Normalizer, Preparation, Prepared
from moorl_jax.engine import plain
from moorl_jax.engine.recipes import agents, needs_chunks, needs_data, needs_next_actions, returns_rule
from moorl_jax.engine.trainer import Trainer
from moorl_jax.engine.training import evaluate
from moorl_jax.phases import Collect, Evaluate, Offline, Online, Pretrain, Switch
from moorl_jax.replay import Balanced, Both, FromBuffer, Mixed, OneSource, Union
from moorl_jax.types import NStep, ReturnsToGo

KEPT = 4  #: latest updates of which a Recorder keeps batches and noise


class Recorder(Agent):
    """Keeps what its updates are given, and acts by it; no sum whose rounding could hang on how it is compiled."""

    returns: bool = static(False)
    next_actions: bool = static(False)
    steps: int = static(0)  #: of chunks, taken without looking again; 0: there are none

    def init(self, key, example):
        example = (example if self.next_actions else example.replace(next_actions=None)).replace(ends=None)
        if self.steps:
            actions = jnp.repeat(example.actions[:, None], self.steps, axis=1)
            example = example.replace(actions=actions, valid=jnp.zeros((1, self.steps)))
        batch = jax.tree.map(lambda leaf: jnp.zeros((KEPT, *leaf.shape[1:]), leaf.dtype), example)
        return {"batches": batch, "noise": jax.random.normal(key, (KEPT,)), "kinds": jnp.zeros(KEPT, jnp.int32)}

    def draw(self, key, batch):
        return jax.random.normal(key)

    def cycle(self):
        return (self.first, self.first, self.update)

    def first(self, state, batch, draws):
        return self._kept(state, batch, draws, 1), {}

    def update(self, state, batch, draws):
        return self._kept(state, batch, draws, 2), {"noise": draws}

    def _kept(self, state, batch, draws, kind):
        batch = batch[1] if isinstance(batch, tuple) else batch.replace(density_ratio=None)
        given = {"batches": jax.tree.map(lambda leaf: leaf[0], batch), "noise": draws, "kinds": jnp.int32(kind)}
        return jax.tree.map(lambda old, new: jnp.roll(old, 1, axis=0).at[0].set(new), state, given)

    def policy(self, state):
        return state["batches"].actions[0]

    def greedy(self, params, observations):
        return jnp.broadcast_to(params, (*observations.shape[:-1], *params.shape))

    def act(self, params, observations, key):
        actions = self.greedy(params, observations)
        return jnp.where(jax.random.bernoulli(key, 0.5, actions.shape), -actions, actions)

    def act_in_evaluation(self, params, observations, key):
        return self.act(params, observations, key)

    def returns_to_go(self):
        return ReturnsToGo(0.9) if self.returns else None

    def needs_next_actions(self):
        return self.next_actions

    def chunks(self):
        return NStep(self.steps, 0.5) if self.steps else None

    def open_loop(self):
        return max(1, self.steps)


ONE = Recorder(batch_size=3)
RULES = ((Union(), 1), (Mixed(0.3), 2), (OneSource(draws=2), 3), (FromBuffer(), 4), (Both(), 1))  #: with their utd
EXACT = {
    "offline": (Offline(ONE, 7),),
    "every rule": (
        Offline(ONE, 5),
        Evaluate(ONE),
        Collect(ONE, 8, random=True),
        Switch(lambda state, key, example: state | {"noise": jax.random.normal(key, (KEPT,))}),
        Pretrain(ONE, 3, Both()),
        *(Online(ONE, 9, rule, utd) for rule, utd in RULES),
    ),
    "next actions": (
        Offline(ONE.replace(next_actions=True), 5),
        Switch(lambda state, key, example: state | {"batches": state["batches"].replace(next_actions=None)}),
        Online(ONE, 9, Mixed(0.5)),
    ),
    "chunks": (
        Offline(ONE.replace(steps=3), 5),
        Collect(ONE.replace(steps=3), 8),
        Online(ONE.replace(steps=3), 60, Union()),
        Collect(ONE.replace(steps=3), 7, random=True),
        Online(ONE.replace(steps=3), 9, Mixed(0.3), 2),
    ),
    "returns": (Offline(ONE.replace(returns=True), 5), Online(ONE.replace(returns=True), 60, Mixed(0.3))),
}
SMALL = {"hidden": (16,), "batch_size": 32}
FEW = {"actions_per_state": 2, "blocks": 1}
ROUNDED = {
    "td3_bc": TD3BC(**SMALL).phases(10, 0),
    "rebrac": ReBRAC(**SMALL).phases(6, 20),
    "iql": IQL(**SMALL).phases(6, 20),
    "sac": SAC(**SMALL, random_steps=10).phases(0, 20),
    "cql": CQL(**SMALL, **FEW).phases(6, 0),
    "cal_ql": CalQL(**SMALL, **FEW).phases(4, 40),
    "rlpd": RLPD(**SMALL, members=3, utd=3, random_steps=10).phases(0, 20),
    "moorl": MOORL(**SMALL, utd=2, random_steps=10).phases(0, 20),
    "qc": QC(**SMALL, horizon=3, flow_steps=2, samples=3, collect_steps=10).phases(6, 30),
    "wsrl": WSRL(backbone=CalQL(**SMALL, **FEW), batch_size=32, warmup_steps=10).phases(4, 30),
    "pex": PEX(**SMALL, collect_steps=10).phases(6, 20),
    "balanced": (Offline(TD3BC(**SMALL), 4), Online(TD3BC(**SMALL), 20, Balanced(hidden=(8,), density_batch=16))),
}
QUICK = ("td3_bc", "sac")


@pytest.fixture
def prepare(hopper, hopper_data):
    """Return what a recipe learns from."""

    def one(phases):
        if not needs_data(phases):
            return Prepared(None, Normalizer.identity(hopper.observation_shape))
        preparation = Preparation(normalize_observations=True, reward_scale=0.5, reward_shift=-1.0)
        return preparation.apply(
            hopper_data,
            returns_rule(phases),
            next_actions=needs_next_actions(phases),
            chunks=needs_chunks(phases),
        )

    return one


def engines(phases, task, prepared, seed):
    """Return the engine's final state, in calls that cut phases, and its return of an evaluation."""
    trainer = Trainer([phases], task, prepared, (seed,))
    while not trainer.finished:
        if trainer.left <= 0:
            trainer.next_phase()
        trainer.start(min(7, trainer.left))()
    states, policies = trainer.states(), trainer.policies()
    trainer.close()
    played = evaluate(agents(phases)[-1], task, prepared.normalizer, policies, (seed,), 1, 3)
    return jax.tree.map(lambda leaf: leaf[0], states), played.returns[0, 0]


@pytest.mark.parametrize("name", EXACT)
def test_batches_noise_and_actions_are_the_engines(name, prepare, hopper):
    """Bit for bit, through all kinds of phases and sampling rules, and over episodes' ends."""
    phases = EXACT[name]
    prepared = prepare(phases)
    theirs, returned = engines(phases, hopper, prepared, 7)
    state = plain.train(phases, hopper, prepared, 7)
    jax.tree.map(np.testing.assert_array_equal, state, theirs)
    assert plain.evaluate(agents(phases)[-1], state, hopper, prepared.normalizer, 7, 3) == returned


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ROUNDED]
)
def test_agents_end_as_with_the_engine(name, prepare, hopper):
    """Up to rounding: the engine compiles many updates as one program, in which XLA orders and fuses sums otherwise."""
    phases = ROUNDED[name]
    prepared = prepare(phases)
    theirs, _ = engines(phases, hopper, prepared, 7)
    state = plain.train(phases, hopper, prepared, 7)
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5), state, theirs)
