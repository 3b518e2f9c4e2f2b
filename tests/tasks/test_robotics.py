"""Adroit and Kitchen against D4RL's rules, Sawyer against Meta-World's, and every environment's saved state."""

import warnings

import numpy as np
import pytest
from metaworld.policies import ENV_POLICY_MAP

from moorl_jax.tasks import TASKS, find, make_environment, restore_environment, save_environment
from moorl_jax.tasks.catalogue import SAWYER

ENVIRONMENTS = list(
    {
        (of.family, of.environment, of.subject, of.rewards, of.observation_shape): of.name
        for of in TASKS.values()
        if of.family != "ogbench"  # tests/tasks/test_ogbench.py
    }.values()
)


def test_an_ant_with_a_dataset_sees_contact_forces_of_zero():
    data, online = (make_environment(find(name)) for name in ("ant-medium-v2", "ant"))
    observation, expected = data.reset(seed=0)[0], online.reset(seed=0)[0]
    for action in np.random.default_rng(0).uniform(-1.0, 1.0, (50, 8)):
        np.testing.assert_array_equal(observation, [*expected, *np.zeros(84)])
        observation, reward, *ended, _ = data.step(action)
        expected, *also, _ = online.step(action)
        assert [reward, *ended] == also


def play(environment, actions):
    return [environment.step(action) for action in actions]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_sizes_are_the_catalogues(name):
    task = find(name)
    environment = make_environment(task)
    observation, _ = environment.reset(seed=0)
    assert observation.shape == environment.observation_space.shape == task.observation_shape
    assert environment.action_space.shape == (task.action_size,)
    assert np.all(environment.action_space.high == 1.0)
    environment.close()


@pytest.mark.parametrize(
    ("name", "as_data"),
    [*((name, False) for name in ENVIRONMENTS), ("kitchen-mixed-v0", True), ("minari-kitchen-mixed-v2", True)],
)
def test_a_restored_simulator_goes_on_bit_for_bit(name, as_data, rng):
    task = find(name)
    actions = rng.uniform(-1, 1, (24, task.action_size)).astype(np.float32)
    environment, other = make_environment(task, as_data), make_environment(task, as_data)
    environment.reset(seed=5)
    play(environment, actions[:12])
    _approach(task, environment)
    saved = save_environment(environment)
    other.reset(seed=9)
    play(other, actions[:3])
    restore_environment(other, saved)
    for ours, theirs in zip(play(environment, actions[12:]), play(other, actions[12:]), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
    environment.close()
    other.close()


def _approach(task, environment):
    """Put an ant's goal beside it and finish a sub-task in the kitchen, so that what is saved of them shows."""
    inner = environment.unwrapped
    if task.family == "antmaze":
        inner.goal = inner.data.qpos[:2] + np.array([0.3, 0.0])
    if hasattr(inner, "subtasks"):
        inner.data.qpos[22] = -0.75  # the microwave
        environment.step(np.zeros(9))
        assert not inner.extra_state()["unfinished"][0]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_episodes_seed_decides_it(name, rng):
    task = find(name)
    actions = rng.uniform(-1, 1, (5, task.action_size)).astype(np.float32)
    ends = []
    for seed in (1, 1, 2):
        environment = make_environment(task)
        environment.reset(seed=seed)
        ends.append(play(environment, actions)[-1][0])
        environment.close()
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


class TestAdroit:
    @pytest.mark.parametrize(("hand", "held"), [("door", "S_handle"), ("hammer", None), ("relocate", None)])
    def test_a_far_palm_costs_what_it_pays_in_gymnasium_robotics(self, hand, held, rng):
        ours = make_environment(find(f"{hand}-human-v1")).unwrapped
        theirs = make_environment(find(f"minari-{hand}-human-v2")).unwrapped
        ours.reset(seed=4)
        theirs.reset(seed=4)
        for action in rng.uniform(-1, 1, (10, ours.action_space.shape[0])):
            _, reward, *_ = ours.step(action)
            _, other, *_ = theirs.step(action)
            goal = ours.data.site(held).xpos if held else ours.data.body("Object").xpos
            distance = np.linalg.norm(ours.data.site("S_grasp").xpos - goal)
            assert reward == pytest.approx(other - 0.2 * distance)

    def test_a_dropped_pen_ends_the_episode(self):
        environment = make_environment(find("pen-human-v1"))
        inner = environment.unwrapped
        environment.reset(seed=0)
        _, before, terminal, _, _ = environment.step(np.zeros(24))
        assert not terminal
        state = inner.get_env_state()
        state["qpos"][-6] += 0.2  # downward
        inner.set_env_state(state)
        _, reward, terminal, _, _ = environment.step(np.zeros(24))
        assert terminal
        assert reward < before - 5.0
        environment.close()

    @pytest.mark.parametrize(("hand", "horizon"), [("pen", 100), ("door", 200), ("hammer", 200), ("relocate", 200)])
    def test_the_horizon_truncates(self, hand, horizon):
        environment = make_environment(find(f"{hand}-human-v1"))
        environment.reset(seed=0)
        held = environment.unwrapped.get_env_state()
        for step in range(1, horizon + 1):
            if hand == "pen":
                environment.unwrapped.set_env_state(held)  # or it would fall
            _, _, terminal, timeout, _ = environment.step(np.zeros(environment.action_space.shape))
            assert (terminal, timeout) == (False, step == horizon)
        environment.close()


class TestKitchen:
    @pytest.fixture
    def kitchen(self):
        environment = make_environment(find("kitchen-complete-v0"))
        environment.reset(seed=0)
        yield environment
        environment.close()

    def test_what_is_wanted_ends_the_observation(self, kitchen):
        observation, _ = kitchen.reset(seed=0)
        wanted = np.zeros(30)
        wanted[17:20] = [-0.69, -0.05, 0.37]  # light switch, slide cabinet
        wanted[22] = -0.75  # microwave
        wanted[23:] = [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06]  # kettle
        np.testing.assert_allclose(observation[30:], wanted)

    def test_noise_is_a_tenth_of_the_configured_amplitudes(self, kitchen):
        """0.1 for the robot and for turning blocks, 0.005 for what slides, 0.0005 for buttons."""
        seen = np.array([kitchen.reset(seed=seed)[0][:30] for seed in range(100)])
        spread = np.abs(seen - kitchen.unwrapped.data.qpos).max(axis=0)
        amplitude = np.concatenate([[0.1] * 9, [0.005] * 2, [0.0005] * 6, [0.005] * 3, [0.1] * 3, [0.005] * 3])
        amplitude = np.concatenate([amplitude, [0.1] * 3, [0.005]])
        assert np.all(spread <= 0.1 * amplitude + 1e-12)
        assert np.all(spread > 0.08 * amplitude)

    def test_a_finished_subtask_pays_once_and_the_last_ends_the_episode(self, kitchen):
        inner = kitchen.unwrapped
        places = [
            ("microwave", [22], [-0.75]),
            ("light switch", [17, 18], [-0.69, -0.05]),
            ("slide cabinet", [19], [0.37]),
        ]
        for number, (_, where, value) in enumerate(places):
            inner.data.qpos[where] = value
            _, reward, terminal, _, _ = kitchen.step(np.zeros(9))
            assert (reward, terminal) == (1.0, False), number
            assert kitchen.step(np.zeros(9))[1] == 0.0
        inner.data.qpos[23:] = [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06]
        _, reward, terminal, _, info = kitchen.step(np.zeros(9))
        assert (reward, terminal, info["success"]) == (1.0, True, 1.0)

    def test_sparse_pays_for_the_end_alone(self):
        kitchen = make_environment(find("franka-kitchen-sparse"))
        kitchen.reset(seed=0)
        inner = kitchen.unwrapped
        for finished, (where, value) in enumerate((([22], -0.75), ([17, 18], [-0.69, -0.05]), ([19], 0.37)), start=1):
            inner.data.qpos[where] = value
            _, reward, _, _, info = kitchen.step(np.zeros(9))
            assert (reward, info["success"]) == (0.0, finished / 4)
        inner.data.qpos[23:] = [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06]
        _, reward, terminal, _, info = kitchen.step(np.zeros(9))
        assert (reward, terminal, info["success"]) == (1.0, True, 1.0)

    def test_mixed_has_a_burner_for_the_cabinet(self):
        wanted = make_environment(find("kitchen-mixed-v0")).reset(seed=0)[0][30:]
        np.testing.assert_allclose(wanted[[11, 12, 19]], [-0.88, -0.01, 0.0])


class TestSawyer:
    """Meta-World's scripted experts solve its tasks, and lifting with pick-place's; random actions do not."""

    @pytest.mark.parametrize("subject", SAWYER)
    def test_an_expert_succeeds_and_is_paid_for_it(self, subject, rng):
        expert = ENV_POLICY_MAP[{"lift": "pick-place"}.get(subject, subject) + "-v3"]()
        environment, sparse = (make_environment(find(f"sawyer-{subject}{kind}")) for kind in ("", "-sparse"))
        observation, _ = environment.reset(seed=1)
        first, _ = sparse.reset(seed=1)
        np.testing.assert_array_equal(observation, first)
        succeeded = []
        for _ in range(200):
            with warnings.catch_warnings(action="ignore"):  # its actions are larger than 1
                action = np.clip(expert.get_action(observation), -1, 1)
            observation, reward, terminal, _, info = environment.step(action)
            _, other, *_ = sparse.step(action)
            assert 0.0 <= reward <= 10.0
            assert other == info["success"]
            assert not terminal
            succeeded.append(info["success"])
        assert max(succeeded) == 1.0
        environment.reset(seed=2)
        assert max(environment.step(rng.uniform(-1, 1, 4))[4]["success"] for _ in range(50)) == 0.0

    def test_the_goal_is_in_sight_and_another_in_each_episode(self):
        environment = make_environment(find("sawyer-push"))
        goals = [environment.reset(seed=seed)[0][-3:] for seed in (0, 1)]
        assert not np.allclose(*goals)
        np.testing.assert_array_equal(goals[1], environment.unwrapped._target_pos)

    def test_the_goal_of_lifting_is_straight_above_the_puck(self):
        observation, _ = make_environment(find("sawyer-lift")).reset(seed=0)
        np.testing.assert_allclose(observation[-3:] - observation[4:7], [0.0, 0.0, 0.2], atol=2e-3)

    def test_the_horizon_truncates(self):
        environment = make_environment(find("sawyer-coffee-push"))
        for seed in (0, 1):
            environment.reset(seed=seed)
            ends = [environment.step(np.zeros(4))[2:4] for _ in range(500)]
            assert ends == [(False, False)] * 499 + [(False, True)]


def test_humanoids_actions_are_scaled():
    environment = make_environment(find("humanoid"))
    environment.reset(seed=0)
    environment.step(np.full(17, 0.5, np.float32))
    np.testing.assert_allclose(environment.unwrapped.data.ctrl, 0.2)
