import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from moorl_jax.agents import BC, CQL, IQL, TD3BC
from moorl_jax.engine.devices import lanes
from moorl_jax.engine.offline import OfflineTrainer

SMALL = {"hidden": (16, 16), "batch_size": 32}
AGENTS = {
    "bc": BC(**SMALL),
    "td3_bc": TD3BC(**SMALL),
    "iql": IQL(**SMALL),
    "cql": CQL(**SMALL, actions_per_state=2, blocks=2),
}


def train(agent, data, seeds, *calls):
    trainer = OfflineTrainer(agent, data.transitions, seeds)
    for updates in calls:
        metrics = trainer.gather(trainer.run(updates))
    return trainer.states(), metrics


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("name", AGENTS)
def test_a_seeds_result_is_the_same_in_any_company(name, hopper_data):
    """Bit for bit: alone, beside others, first or last, on this device or that."""
    states, metrics = train(AGENTS[name], hopper_data, (5, 0, 7), 20)
    for position, seed in enumerate((5, 0, 7)):
        alone, metrics_alone = train(AGENTS[name], hopper_data, (seed,), 20)
        assert_same(jax.tree.map(lambda leaf, p=position: leaf[p], states), jax.tree.map(lambda leaf: leaf[0], alone))
        assert_same(
            {key: value[position] for key, value in metrics.items()}, {k: v[0] for k, v in metrics_alone.items()}
        )


def test_seeds_differ(hopper_data):
    states, _ = train(AGENTS["bc"], hopper_data, (0, 1), 5)
    kernel = states.actor.params["layer0"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01


@pytest.mark.parametrize("name", AGENTS)
def test_the_length_of_a_call_changes_nothing(name, hopper_data):
    once, _ = train(AGENTS[name], hopper_data, (0,), 20)
    often, _ = train(AGENTS[name], hopper_data, (0,), 4, 10, 6)
    assert_same(once, often)


def test_updates_are_rounded_up_to_whole_cycles(hopper_data):
    trainer = OfflineTrainer(AGENTS["td3_bc"], hopper_data.transitions, (0,))
    trainer.run(3)
    assert trainer.updates == 4
    state = trainer.states()
    assert state.critic.moments.count == 4
    assert state.actor.moments.count == 2


def test_seeds_are_dealt_over_devices_evenly():
    assert [lane.positions for lane in lanes(1)] == [(0,)]
    assert [lane.positions for lane in lanes(3)] == [(0, 2), (1,)]
    assert len({lane.device for lane in lanes(3)}) == 2


def test_one_device_gives_what_two_give(hopper_data, tmp_path):
    """The same seeds in a process of one device; float32 rounding is the same, for each seed is its own program."""
    states, _ = train(AGENTS["iql"], hopper_data, (0, 1), 10)
    np.savez(tmp_path / "data.npz", **vars(hopper_data.transitions))
    script = f"""
import jax, numpy as np
from moorl_jax.agents import IQL
from moorl_jax.engine.offline import OfflineTrainer
from moorl_jax.types import Transitions
assert len(jax.local_devices()) == 1
data = Transitions(**np.load({str(tmp_path / "data.npz")!r}))
trainer = OfflineTrainer(IQL(hidden=(16, 16), batch_size=32), data, (0, 1))
trainer.gather(trainer.run(10))
np.savez({str(tmp_path / "states.npz")!r}, *jax.tree.leaves(trainer.states()))
"""
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    with np.load(tmp_path / "states.npz") as other:
        assert_same([other[name] for name in other.files], jax.tree.leaves(states))


def test_config_leaves_can_be_swept_by_vmap(hopper_data):
    """Numbers in a config are leaves: two learning rates in one program equal the runs one by one."""
    data = hopper_data.transitions
    batch = jax.tree.map(lambda leaf: leaf[:32], data)
    rates = np.array([1e-3, 1e-2], np.float32)
    agents = AGENTS["iql"].replace(actor_learning_rate=rates)
    axes = jax.tree.map(lambda _: None, AGENTS["iql"]).replace(actor_learning_rate=0)
    state = AGENTS["iql"].init(jax.random.key(0), batch)
    swept, _ = jax.vmap(lambda agent: agent.update(state, batch, None), in_axes=(axes,))(agents)
    for position, rate in enumerate(rates):
        single, _ = AGENTS["iql"].replace(actor_learning_rate=rate).update(state, batch, None)
        jax.tree.map(
            lambda many, one, p=position: np.testing.assert_allclose(many[p], one, rtol=1e-5, atol=1e-6), swept, single
        )


def test_blocks_only_change_the_rounding(hopper_data):
    batch = jax.tree.map(lambda leaf: leaf[:32], hopper_data.transitions)
    whole, parts = (AGENTS["cql"].replace(blocks=blocks) for blocks in (1, 8))
    state = whole.init(jax.random.key(0), batch)
    draws = whole.draw(jax.random.key(1), batch)
    (one, metrics), (many, metrics_many) = (agent.update(state, batch, draws) for agent in (whole, parts))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6), one.critic.params, many.critic.params
    )
    for key, value in metrics.items():
        assert float(metrics_many[key]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), key
