"""OGBench's single tasks against its package's environments."""

import os
import tempfile

import gymnasium
import mujoco
import numpy as np
import pytest

from moorl_jax.tasks import find, make_environment, restore_environment, save_environment
from moorl_jax.tasks.environments import PHYSICS

pytest.importorskip("ogbench", reason="OGBench's package is not installed: the extra 'ogbench'")

FAST = ("ogbench-pointmaze-teleport-navigate-task1",)
SLOW = (
    "ogbench-scene-play-task2",
    "ogbench-cube-single-play-task1",
    "ogbench-cube-double-play-task2",
    "ogbench-cube-triple-noisy-task5",
    "ogbench-puzzle-3x3-play-task4",
    "ogbench-puzzle-4x4-play-task3",
    "ogbench-antmaze-giant-navigate-task1",
    "ogbench-humanoidmaze-medium-stitch-task3",
    "ogbench-antsoccer-arena-navigate-task4",
)
NAMES = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def play(environment, actions):
    return [environment.step(action) for action in actions]


@pytest.mark.parametrize("name", NAMES)
def test_an_episode_follows_from_its_seed_and_can_be_gone_on_with_bit_for_bit(name, rng):
    task = find(name)
    actions = rng.uniform(-1, 1, (16, task.action_size)).astype(np.float32)
    environment, other = make_environment(task, as_data=True), make_environment(task, as_data=True)
    assert environment.observation_space.shape == task.observation_shape
    assert environment.action_space.shape == (task.action_size,)
    first, _ = environment.reset(seed=5)
    assert not np.array_equal(other.reset(seed=6)[0], first)
    play(other, actions[:3])
    np.testing.assert_array_equal(other.reset(seed=5)[0], first)
    play(environment, actions[:8])
    saved = save_environment(environment)
    play(other, actions[:5])
    restore_environment(other, saved)
    for ours, theirs in zip(play(environment, actions[8:]), play(other, actions[8:]), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
    environment.close()
    other.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ogbench-scene-play-task2", "ogbench-pointmaze-medium-stitch-task5"])
def test_it_steps_and_pays_as_the_packages(name, rng):
    task = find(name)
    ours, theirs = make_environment(task, as_data=True), gymnasium.make(task.environment)
    assert theirs.spec.max_episode_steps == task.horizon
    ours.reset(seed=1)
    theirs.reset(seed=1)
    inner, state = theirs.unwrapped, save_environment(ours)
    for known in ("_cur_button_states", "_target_button_states", "cur_goal_xy"):
        if known in state:
            setattr(inner, known, state[known].copy())
    mujoco.mj_setState(inner.model, inner.data, state["physics"], PHYSICS)
    for site in ("site_xpos", "site_xmat"):
        getattr(inner.data, site)[:] = state[site]
    for action in rng.uniform(-1, 1, (10, task.action_size)).astype(np.float32):
        mine, other = ours.step(action), theirs.step(action)
        np.testing.assert_array_equal(mine[0], other[0])
        assert mine[1:3] == other[1:3]
        assert mine[4]["success"] == other[4]["success"]
    ours.close()
    theirs.close()


def test_a_maze_leaves_no_file_and_none_open(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make_environment(find("ogbench-pointmaze-medium-navigate-task1")).close()  # once, for what is imported
    free = os.dup(0)  # the lowest number that no open file has
    os.close(free)
    make_environment(find("ogbench-pointmaze-medium-navigate-task1")).close()
    next_free = os.dup(0)
    os.close(next_free)
    assert next_free == free
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "before"), [("", -2.0), ("-sparse", -1.0)])
def test_a_scene_is_paid_by_its_parts_or_once_all_is_done(kind, before):
    environment = make_environment(find(f"ogbench-scene-play{kind}-task2"), as_data=True)
    environment.reset(seed=0)
    still, inner = np.zeros(5, np.float32), environment.unwrapped.inner
    assert environment.step(still)[1:3] == (before, False)
    for joint in ("drawer_slide", "window_slide"):  # what task 2 asks for
        inner.data.joint(joint).qpos[0] = 0.0
    environment.step(still)
    assert environment.step(still)[1:] == (0.0, True, False, {"success": 1.0})
    environment.close()


@pytest.mark.parametrize(("as_data", "before", "at_goal"), [(True, -1.0, 0.0), (False, 0.0, 1.0)])
def test_the_step_from_the_goal_is_paid_and_ends(as_data, before, at_goal):
    environment = make_environment(find("ogbench-pointmaze-medium-navigate-task1"), as_data)
    environment.reset(seed=0)
    still, inner = np.zeros(2, np.float32), environment.unwrapped.inner
    assert environment.step(still)[1:] == (before, False, False, {"success": 0.0})
    inner.set_xy(np.array(inner.cur_goal_xy))
    assert environment.step(still)[1:] == (at_goal, True, False, {"success": 1.0})
    environment.close()
