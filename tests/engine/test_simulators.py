import numpy as np
import pytest

from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.simulators import Simulators
from moorl_jax.replay.buffer import CUT
from moorl_jax.tasks import find
from moorl_jax.types import ReturnsToGo


def simulators(task, returns=None, **prepared):
    normalizer = Normalizer(np.full(task.observation_shape, 0.5, np.float32), np.full(task.observation_shape, 2.0))
    return Simulators(task, Prepared(None, normalizer, **prepared), (0,), returns, env_steps=1000)


def test_online_observations_and_rewards_are_prepared_as_the_datas():
    task = find("antmaze-umaze-v2")
    plain = Simulators(task, Prepared(None, Normalizer.identity((29,))), (0,), None, env_steps=1000)
    mapped = simulators(task, reward_scale=10.0, reward_shift=-5.0)
    np.testing.assert_allclose(mapped.observations, (plain.observations - 0.5) / 2.0, rtol=1e-5)
    for inner in (plain, mapped):
        environments = inner._environments
        environments.restore(0, environments.save(0) | {"goal": np.zeros(2)})  # where the ant is
    actions = np.zeros((1, 8), np.float32)
    for reward, terminals in ((plain.step(actions), (1.0, 1.0)), (mapped.step(actions), (5.0, 1.0))):
        assert (reward.transitions.rewards[0], reward.transitions.terminals[0]) == terminals
    plain.close()
    mapped.close()


def test_a_failed_episodes_returns_are_those_of_failure_for_ever():
    """Cal-QL bounds the values of a sparse task's failures so; a time-out is no terminal."""
    task = find("antmaze-umaze-v2")
    one = simulators(task, ReturnsToGo(0.9, failure_reward=-5.0), reward_scale=10.0, reward_shift=-5.0)
    for _ in range(task.horizon):
        outcome = one.step(np.zeros((1, 8), np.float32))
        assert outcome.transitions.terminals[0] == 0.0
    assert outcome.lengths.tolist() == [task.horizon]
    np.testing.assert_allclose(outcome.returns[0], -50.0, rtol=1e-6)
    one.close()


@pytest.mark.parametrize(
    "name",
    [
        "hopper",
        "antmaze-umaze-v2",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("walker-walk", "kitchen-complete-v0", "pen-human-v1")
        ),
    ],
)
def test_a_seed_that_diverged_is_stepped_no_further_and_another_as_if_alone(name, rng):
    """MuJoCo took NaN for no action and paid for it, dm_control raised; saved and restored it still stands."""
    task = find(name)
    prepared = Prepared(None, Normalizer.identity(task.observation_shape))
    both, alone, resumed = (Simulators(task, prepared, seeds, None, env_steps=9) for seeds in ((0, 1), (1,), (0, 1)))
    for step, action in enumerate(rng.uniform(-1, 1, (9, task.action_size)).astype(np.float32)):
        first = np.where(step < 3, action, np.nan).astype(np.float32)
        outcome, other = both.step(np.stack([first, action])), alone.step(action[None])
        assert np.isnan(outcome.transitions.rewards).tolist() == [step >= 3, False]
        assert outcome.begins.tolist() == [step == 0, step == 0]
        assert outcome.taken.tolist() == [step < 3, True]
        np.testing.assert_array_equal(outcome.transitions.next_observations[1], other.transitions.next_observations[0])
        assert outcome.transitions.rewards[1] == other.transitions.rewards[0]
        if step >= 3:
            np.testing.assert_array_equal(outcome.observations[0], outcome.transitions.observations[0])
        if step == 5:
            resumed.restore(both.save())
            both.close()
            both = resumed
    assert both._environments.save(0)["clock"] == 3
    assert both.diverged.tolist() == [True, False]
    both.pause()
    assert both.ends(0).tolist() == [0, 0, CUT]
    assert len(both.ends(1)) == 9
    both.close()
    alone.close()
