"""The whole loop on tiny images, without a GPU, a display or dm_control."""

import dataclasses
import itertools

import chex
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit

from moorl_jax.agents import DrQ, DrQBC, PixelBC, PixelCQL, PixelMOORL, PixelRLPD
from moorl_jax.agents.drq import DrQState
from moorl_jax.data import Dataset, Normalizer, Preparation, Prepared
from moorl_jax.data.frames import Frames
from moorl_jax.engine import evaluation, simulators
from moorl_jax.engine import trainer as engine
from moorl_jax.engine.devices import Placement
from moorl_jax.engine.recipes import span_rule
from moorl_jax.engine.trainer import Trainer
from moorl_jax.engine.training import train
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Offline, Online
from moorl_jax.replay import Balanced
from moorl_jax.tasks import InTurn, find, stepping
from moorl_jax.types import NStep
from tests.agents.stepping import step

SIZE, HORIZON = 20, 6
TASK = dataclasses.replace(
    find("vd4rl-cheetah_run-medium"), observation_shape=(SIZE, SIZE, 9), horizon=HORIZON, evaluation_episodes=1
)
SMALL = {"feature_size": 4, "hidden": (8,), "batch_size": 4, "pad": 1}


class Screen(gymnasium.Env):
    """Shows another image at each step, which its seed and its clock decide; pays the first action."""

    def reset(self, *, seed=None, options=None):
        self.number, self.clock = seed, 0
        return self.stack(), {}

    def step(self, action):
        self.clock += 1
        return self.stack(), float(action[0]), False, False, {}

    def stack(self):
        """Return the last three images, the first one standing in for those before it."""
        return np.concatenate([self.image(max(self.clock - back, 0)) for back in (2, 1, 0)], axis=-1)

    def image(self, clock):
        return np.random.default_rng((self.number, clock)).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def saved_screen(environment):
    return {name: np.array(getattr(environment.unwrapped, name)) for name in ("number", "clock")}


def restored_screen(environment, saved):
    environment.reset(seed=int(saved["number"]))
    environment.unwrapped.clock = environment._elapsed_steps = int(saved["clock"])


@pytest.fixture(autouse=True)
def screens(monkeypatch):
    """The simulators that were made, in place of those that render."""
    made = []

    def make(task, count, as_data=False):
        new = [TimeLimit(Screen(), task.horizon) for _ in range(count)]
        made.extend(new)
        return InTurn(new)

    for module in (simulators, evaluation):
        monkeypatch.setattr(module, "make_environments", make)
    monkeypatch.setattr(stepping, "save_environment", saved_screen)
    monkeypatch.setattr(stepping, "restore_environment", restored_screen)
    return made


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["drq_bc", "moorl", "cql", "rlpd"])
def test_offline_then_online(name, dataset):
    agent = AGENTS[name]
    run = train(
        agent,
        TASK,
        seeds=2,
        updates=6,
        env_steps=9,
        evaluate_every=3,
        evaluate_every_steps=9,
        episodes=1,
        dataset=dataset,
    )
    assert run.curves["env_steps"].max() == 9
    assert np.isfinite(run.curves.select_dtypes("number").iloc[-2:]).all(axis=None)


def test_cloning_images(dataset):
    """What it fits is in the images: no constant action comes as near."""
    agent = PixelBC(**SEEING | {"feature_size": 16, "hidden": (32,), "batch_size": 16}, learning_rate=3e-3)
    run = train(agent, TASK, seeds=1, updates=300, evaluate_every=100, episodes=1, dataset=dataset)
    taken = dataset.rows.actions[~dataset.rows.firsts]
    assert run.curves["bc_loss"].iloc[-1] < 0.5 * taken.var(axis=0).mean()


def batch_of(dataset, count=4):
    footage = jax.device_put(dataset.rows.footage(NStep()))
    return footage.take(jnp.arange(count))


@pytest.mark.slow
def test_no_actor_loss_reaches_the_encoder(dataset):
    """RLPD's moves by the critics' gradient alone; CQL's as well where the policy's loss is another. It does move."""
    batch = batch_of(dataset)
    rlpd, cql = PixelRLPD(**SEEING, members=3), PixelCQL(**SEEING, actions_per_state=2)
    state = rlpd.init(jax.random.key(0), batch_of(dataset, 1))
    draws = rlpd.draw(jax.random.key(1), batch)
    after, _ = step(rlpd.update, state, batch, draws)

    @jax.jit
    @jax.grad
    def critic_gradient(critic):
        q = rlpd.values(critic, rlpd.see(critic, batch.observations), batch.actions)
        return jnp.mean((q - rlpd.target(state, batch, draws)) ** 2)

    gradient = critic_gradient(state.critic.params)
    expected = state.critic.descend(gradient, rlpd.critic_learning_rate)
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(gradient["encoder"]))
    chex.assert_trees_all_close(after.critic.params["encoder"], expected.params["encoder"], rtol=1e-6)

    state = cql.init(jax.random.key(0), batch_of(dataset, 1))
    draws = cql.draw(jax.random.key(1), batch)
    after, metrics = step(cql.update, state, batch, draws)
    other, other_metrics = step(cql.update, state, batch, draws | {"policy": -draws["policy"]})
    assert metrics["policy_loss"] != other_metrics["policy_loss"]
    chex.assert_trees_all_equal(after.critic.params, other.critic.params)
    moved = jax.tree.map(lambda new, old: (new != old).any(), after.critic.params, state.critic.params)
    assert all(jax.tree.leaves(moved["encoder"]))


@pytest.mark.slow
def test_moorls_meta_update_interpolates_the_encoder(dataset):
    agent, batch = PixelMOORL(**SEEING, utd=1, meta_rate=0.25), batch_of(dataset)
    state = agent.init(jax.random.key(0), batch_of(dataset, 1))
    draws = agent.draw(jax.random.key(1), batch)
    inner, _ = step(agent.inner_update, state, batch, draws)
    after, _ = step(agent.update, state, batch, draws)
    encoders = (each.critic.params["encoder"] for each in (state, inner, after))
    for old, new, met in zip(*map(jax.tree.leaves, encoders), strict=True):
        np.testing.assert_allclose(met, old + 0.25 * (new - old), rtol=1e-5, atol=1e-7)
    policy = agent.policy(after)
    chex.assert_trees_all_equal(policy["evaluated"]["encoder"], after.critic.params["encoder"])


@pytest.mark.slow
def test_learning_from_its_own_experience(dataset):
    run = train(
        DrQ(**SMALL, random_steps=8), TASK, seeds=1, updates=0, env_steps=16, evaluate_every_steps=8, episodes=1
    )
    assert np.isfinite(run.curves["critic_loss"].iloc[-1])


def test_drqs_noise_falls_from_the_first_env_step():
    """At env step t, random ones among them, it is the authors' schedule(t), `drqbc/utils.py`."""
    agent = DrQ(random_steps=2_000, noise_updates=250_000.0)
    _, switch, _ = agent.phases(0, 10_000)
    state = switch.change(DrQState(None, None, None, None, jnp.int32(0)), jax.random.key(0), None)
    for updates in (0, 1, 123_000, 250_000):
        expected = np.interp(2_000 + updates, [0, 250_000], [1.0, 0.1])
        assert agent.noise(state.steps + updates) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_drqs_noise_has_fallen_by_all_env_steps():
    assert walk(online()).steps.tolist() == [2 * HORIZON]


def online(seeds=(0,), env_steps=2 * HORIZON):
    """A trainer that will learn from its own experience."""
    phases = DrQ(**SMALL, random_steps=HORIZON + 3).phases(0, env_steps)
    return Trainer([phases], TASK, Prepared(None, Normalizer.identity(TASK.observation_shape)), seeds)


def walk(trainer, calls=(100,)):
    """Take a trainer to its end in calls of these sizes, the last one again and again."""
    sizes = itertools.chain(calls, itertools.repeat(calls[-1]))
    while not trainer.finished:
        if trainer.left <= 0:
            trainer.next_phase()
            continue
        trainer.start(min(next(sizes), trainer.left))()
    return trainer.states()


def test_an_online_seed_holds_what_its_episodes_showed(screens):
    """Frames, actions and rewards in the buffer are the simulator's, over an episode's edge."""
    trainer = online()
    numbers, taken = [screens[0].unwrapped.number], []
    step = Screen.step

    def noted(screen, action):
        taken.append(action.copy())
        return step(screen, action)

    screens[0].unwrapped.step = lambda action: noted(screens[0].unwrapped, action)
    trainer.start(HORIZON + 3)()
    numbers.append(screens[0].unwrapped.number)
    buffer = jax.tree.map(lambda leaf: np.asarray(leaf)[0], trainer._groups[0].buffer)
    trainer.close()
    shown = []
    for number, clocks in zip(numbers, (HORIZON + 1, 4), strict=True):
        screen = Screen()
        screen.number = number
        shown += [screen.image(clock) for clock in range(clocks)]
    placed = int(buffer.placed)
    np.testing.assert_array_equal(buffer.rows.frames[:placed], shown)
    assert buffer.rows.begins[:placed].tolist() == [0] * (HORIZON + 1) + [HORIZON + 1] * 4
    led = np.setdiff1d(np.arange(placed), [0, HORIZON + 1])
    np.testing.assert_array_equal(buffer.rows.actions[led], taken)
    np.testing.assert_array_equal(buffer.rows.rewards[led], np.array(taken)[:, 0])
    assert int(buffer.written) == (HORIZON + 1 - 3) + 1


@pytest.mark.slow
def test_resumed_amid_learning_from_images_it_ends_the_same():
    straight = walk(online())
    trainer = online()
    trainer.start(HORIZON + 3)()
    trainer.next_phase()
    trainer.start(2)()
    saved = trainer.save()
    resumed = online()
    resumed.restore(saved)
    chex.assert_trees_all_equal(walk(resumed), straight)


@pytest.mark.slow
def test_seeds_in_a_group(monkeypatch):
    apart = [walk(online((seed,))) for seed in (0, 1)]
    monkeypatch.setattr(engine, "placements", lambda seeds, images: (Placement(jax.local_devices()[0], ((0, 1),)),))
    together = walk(online((0, 1)))
    for position, alone in enumerate(apart):
        mine = jax.tree.map(lambda leaf, position=position: leaf[position : position + 1], together)
        chex.assert_trees_all_close(mine, alone, rtol=1e-3, atol=1e-5)


def test_what_images_do_not_go_with_is_said(dataset):
    with pytest.raises(MoorlError, match="not normalized"):
        Preparation(normalize_observations=True).apply(dataset)
    with pytest.raises(MoorlError, match="different steps"):
        span_rule((Offline(DrQBC(n_step=3), 1), Offline(DrQBC(n_step=1), 1)))
    phases = (Online(DrQBC(**SMALL), 3, Balanced()),)
    with pytest.raises(MoorlError, match="cannot draw from images"):
        Trainer([phases], TASK, Preparation().apply(dataset, span=DrQBC().n_step_returns()), (0,))
    phases = PixelMOORL(**SEEING, acting="adapted", random_steps=2).phases(0, 6)
    with pytest.raises(MoorlError, match="the meta policy acts, not 'adapted'"):
        Trainer([phases], TASK, Preparation().apply(dataset), (0,))
