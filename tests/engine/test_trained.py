import dataclasses

import jax
import numpy as np
import pytest

import moorl_jax
from moorl_jax.agents import SAC
from moorl_jax.data import Preparation, Prepared
from moorl_jax.engine import recipes
from moorl_jax.engine.evaluation import STREAM
from moorl_jax.engine.keys import episode_start
from moorl_jax.engine.training import train
from moorl_jax.errors import MoorlError
from moorl_jax.tasks import make_environment


@pytest.fixture(scope="module")
def run(hopper, hopper_data):
    """A short training whose policy's observations are normalized; Hopper's episodes end early."""
    return train(
        "bc",
        hopper,
        seeds=(2, 5),
        updates=4,
        evaluate_every=2,
        episodes=1,
        dataset=hopper_data,
        preparation=Preparation(normalize_observations=True),
    )


@pytest.fixture(scope="module")
def trained(run, tmp_path_factory):
    place = tmp_path_factory.mktemp("result") / "run"
    moorl_jax.save(run, place)
    return moorl_jax.load(place)


def test_the_policy_of_a_result_takes_observations_as_the_environment_gives_them(trained, run):
    """Played by hand, it earns what the last evaluation says."""
    for seed in run.seeds:
        environment = make_environment(run.task)
        observation, _ = environment.reset(seed=episode_start(STREAM, seed, 1, 0))
        total, ended = 0.0, False
        while not ended:
            action = trained.policy(observation, seed=seed)
            assert action.shape == (3,)
            observation, reward, terminal, timeout, _ = environment.step(action)
            total, ended = total + reward, terminal or timeout
        last = run.curves[run.curves["seed"] == seed]["return"].iloc[-1]
        assert total == pytest.approx(last, rel=1e-4)


def test_a_run_has_the_same_policy_and_batches_are_taken(trained, run, rng):
    batch = rng.standard_normal((4, 11))
    actions = run.policy(batch, seed=5)
    assert actions.shape == (4, 3)
    np.testing.assert_array_equal(trained.policy(batch, seed=5), actions)
    np.testing.assert_allclose(trained.policy(batch[0], seed=5), actions[0], rtol=1e-5)
    np.testing.assert_array_equal(trained.policy(batch), run.policy(batch, seed=2))
    assert (trained.policy(batch) != actions).any()


@pytest.mark.parametrize(
    ("observation", "seed", "fault"),
    [
        (np.zeros(10), None, r"hopper-medium-v2 shows \(11,\), or a batch of these, not \(10,\)"),
        (np.float64(0), None, "or a batch of these"),
        (np.zeros((2, 2, 11)), None, "or a batch of these"),
        (np.zeros(11), 0, "there is no seed 0; there are 2, 5"),
    ],
)
def test_a_wrong_question_is_named(trained, observation, seed, fault):
    with pytest.raises(MoorlError, match=fault):
        trained.policy(observation, seed=seed)


def test_noise_is_another_at_each_call_unless_it_is_numbered(run, hopper, rng):
    agent, observation = SAC(hidden=(8,)), rng.standard_normal(11)
    state = agent.init(
        jax.random.key(0), recipes.example(agent.phases(0, 10_000), hopper, Prepared(None, run.normalizer))
    )
    params = jax.tree.map(lambda leaf: leaf[None], agent.policy(state))
    policy = dataclasses.replace(run.policy, agent=agent, params=params, seeds=(0,))
    first, second = (policy(observation, deterministic=False) for _ in range(2))
    assert (first != second).any()
    again = [policy(observation, deterministic=False, noise=7) for _ in range(2)]
    np.testing.assert_array_equal(*again)
    np.testing.assert_array_equal(policy(observation), policy(observation))


def test_a_run_and_a_result_are_shown_in_five_lines(trained, run):
    for shown, name in ((repr(run), "BC"), (repr(trained), "bc")):
        lines = shown.split("\n")
        assert len(lines) == 5
        assert lines[0] == f"{name} on hopper-medium-v2, embedded data"
        assert lines[1] == "seeds 2, 5: 4 updates, 0 env steps"
        assert lines[2].endswith(" at the last of 2 evaluations")
        assert lines[3] == "curves: seed, phase, updates, env_steps, seconds, return, score, bc_loss"
        assert lines[4].startswith("states: BCState of ")
    assert repr(trained.policy) == "policy(11) -> 3 actions"
    assert trained.config["seeds"] == [2, 5]
    assert len(trained.curves) == 4
