"""The whole loop on tiny images, without a GPU, a display or dm_control."""

import dataclasses

import chex
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from moorl_jax.agents import DrQ, DrQBC, PixelBC, PixelCQL, PixelMOORL, PixelRLPD
from moorl_jax.data import Dataset, Normalizer, Preparation, Prepared
from moorl_jax.data.frames import Frames
from moorl_jax.engine import evaluation, simulators
from moorl_jax.engine.trainer import Trainer, span_rule
from moorl_jax.engine.training import train
from moorl_jax.errors import MoorlError
from moorl_jax.nets import polyak
from moorl_jax.phases import Offline, Online
from moorl_jax.replay import Balanced
from moorl_jax.tasks import find
from moorl_jax.types import NStep

SIZE, HORIZON = 20, 6
TASK = dataclasses.replace(
    find("vd4rl-cheetah_run-medium"), observation_shape=(SIZE, SIZE, 9), horizon=HORIZON, evaluation_episodes=1
)
SMALL = {"feature_size": 4, "hidden": (8,), "batch_size": 4, "pad": 1}


class Screen(gymnasium.Env):
    """Shows a random image at each step; pays the first action."""

    def __init__(self):
        self.frames = np.zeros((3, SIZE, SIZE, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.frames[:] = self.np_random.integers(0, 256, self.frames.shape[1:], np.uint8)
        return np.concatenate(list(self.frames), axis=-1), {}

    def step(self, action):
        new = self.np_random.integers(0, 256, self.frames.shape[1:], np.uint8)
        self.frames = np.concatenate([self.frames[1:], new[None]])
        return np.concatenate(list(self.frames), axis=-1), float(action[0]), False, False, {}


@pytest.fixture(autouse=True)
def screens(monkeypatch):
    for module in (simulators, evaluation):
        monkeypatch.setattr(module, "make_environment", lambda task: TimeLimit(Screen(), task.horizon))


@pytest.fixture
def dataset():
    rng, rows = np.random.default_rng(0), 3 * (HORIZON + 1)
    made = Frames(
        frames=rng.integers(0, 256, (rows, SIZE, SIZE, 3), np.uint8),
        actions=rng.uniform(-1, 1, (rows, TASK.action_size)).astype(np.float32),
        rewards=rng.normal(size=rows).astype(np.float32),
        discounts=np.ones(rows, np.float32),
        firsts=np.arange(rows) % (HORIZON + 1) == 0,
    )
    return Dataset(TASK, "recipe", made, made.fingerprint())


SEEING = {**SMALL, "channels": (4, 4), "strides": (2, 1)}
AGENTS = {
    "drq_bc": DrQBC(**SMALL),
    "cql": PixelCQL(**SEEING, actions_per_state=2),
    "rlpd": PixelRLPD(**SEEING, members=3, random_steps=2),
    "moorl": PixelMOORL(**SEEING, utd=2, random_steps=2),
}


@pytest.mark.parametrize("name", AGENTS)
def test_offline_then_online(name, dataset):
    agent = AGENTS[name]
    run = train(agent, TASK, seeds=2, updates=6, env_steps=9, evaluate_every=3, evaluate_every_steps=9,
                episodes=1, dataset=dataset)  # fmt: skip
    assert run.curves["env_steps"].max() == 9
    assert np.isfinite(run.curves.select_dtypes("number").iloc[-2:]).all(axis=None)
    kernels = [leaf for leaf in jax.tree.leaves(run.states) if leaf.ndim == 5]
    assert not np.array_equal(kernels[0][0], kernels[0][1])  # seeds differ


def test_cloning_images(dataset):
    """What it fits is in the images: no constant action comes as near."""
    agent = PixelBC(**SEEING | {"feature_size": 16, "hidden": (32,), "batch_size": 16}, learning_rate=3e-3)
    run = train(agent, TASK, seeds=1, updates=300, evaluate_every=100, episodes=1, dataset=dataset)
    taken = dataset.rows.actions[~dataset.rows.firsts]
    assert run.curves["bc_loss"].iloc[-1] < 0.5 * taken.var(axis=0).mean()


def batch_of(dataset, count=4):
    footage = jax.device_put(dataset.rows.footage(NStep()))
    return footage.take(jnp.arange(count))


def test_only_the_critics_train_the_encoder(dataset):
    agent, batch = PixelRLPD(**SEEING, members=3), batch_of(dataset)
    state = agent.init(jax.random.key(0), batch_of(dataset, 1))
    draws = agent.draw(jax.random.key(1), batch)
    moved, _ = agent.update_critic(state, batch, draws)
    also, _ = agent.update(state, batch, draws)
    chex.assert_trees_all_equal(also.critic.params, moved.critic.params)
    before, after = state.critic.params["encoder"], moved.critic.params["encoder"]
    assert all((old != new).any() for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))
    # The targets follow with an encoder of their own.
    followed = polyak(state.target_critic, moved.critic.params, agent.tau)
    chex.assert_trees_all_close(moved.target_critic, followed, rtol=1e-6)


def test_cqls_policy_loss_does_not_reach_the_encoder(dataset):
    """Without learning the critics nothing of their parameters moves, though the policy does."""
    agent, batch = PixelCQL(**SEEING, actions_per_state=2, critic_learning_rate=0.0), batch_of(dataset)
    params = agent.init(jax.random.key(0), batch_of(dataset, 1))
    draws = agent.draw(jax.random.key(1), batch)

    def policy_loss(critic):
        parts = {name: getattr(params, name).params for name in ("actor", "critic", "log_alpha", "log_alpha_prime")}
        return agent.loss(parts | {"critic": critic}, params.target_critic, batch, draws, False)[1]["policy_loss"]

    assert all((leaf == 0).all() for leaf in jax.tree.leaves(jax.grad(policy_loss)(params.critic.params)))


def test_moorls_meta_update_interpolates_the_encoder(dataset):
    agent, batch = PixelMOORL(**SEEING, utd=1, meta_rate=0.25), batch_of(dataset)
    state = agent.init(jax.random.key(0), batch_of(dataset, 1))
    draws = agent.draw(jax.random.key(1), batch)
    inner, _ = agent.inner_update(state, batch, draws)
    after, _ = agent.update(state, batch, draws)
    encoders = (each.critic.params["encoder"] for each in (state, inner, after))
    for old, new, met in zip(*map(jax.tree.leaves, encoders), strict=True):
        np.testing.assert_allclose(met, old + 0.25 * (new - old), rtol=1e-5, atol=1e-7)
    policy = agent.policy(after)
    chex.assert_trees_all_equal(policy["judged"]["encoder"], after.critic.params["encoder"])


def test_learning_from_its_own_experience(dataset):
    run = train(
        DrQ(**SMALL, random_steps=8), TASK, seeds=1, updates=0, env_steps=16, evaluate_every_steps=8, episodes=1
    )
    assert np.isfinite(run.curves["critic_loss"].iloc[-1])


def test_an_online_seed_holds_what_its_episodes_showed():
    """Frames, actions and rewards in the buffer are those of the simulator, over an episode's edge."""
    agent = DrQ(**SMALL, random_steps=HORIZON + 3)
    phases = agent.phases(0, HORIZON + 4)
    prepared = Prepared(None, Normalizer.identity(TASK.observation_shape))
    trainer = Trainer(phases, TASK, prepared, (0,))
    trainer.start(HORIZON + 3)()
    buffer = jax.tree.map(lambda leaf: np.asarray(leaf)[0], trainer._groups[0][0].buffer)
    trainer.close()
    assert int(buffer.placed) == HORIZON + 1 + 4
    assert buffer.rows.begins[: int(buffer.placed)].tolist() == [0] * (HORIZON + 1) + [HORIZON + 1] * 4
    np.testing.assert_allclose(buffer.rows.rewards, buffer.rows.actions[:, 0] * (buffer.rows.rewards != 0), rtol=1e-6)
    assert int(buffer.written) == (HORIZON + 1 - 3) + 1


def test_what_images_do_not_go_with_is_said(dataset):
    with pytest.raises(MoorlError, match="not normalized"):
        Preparation(normalize_observations=True).apply(dataset)
    with pytest.raises(MoorlError, match="different steps"):
        span_rule((Offline(DrQBC(n_step=3), 1), Offline(DrQBC(n_step=1), 1)))
    phases = (Online(DrQBC(**SMALL), 3, Balanced()),)
    with pytest.raises(MoorlError, match="cannot draw from images"):
        Trainer(phases, TASK, Preparation().apply(dataset, span=DrQBC().n_step_returns()), (0,))
