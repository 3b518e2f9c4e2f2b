import dataclasses
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from moorl_jax.data import filming, image_files
from moorl_jax.data.plans import Actor
from moorl_jax.errors import NotAvailableError
from moorl_jax.tasks import find, make_environment, restore_environment, save_environment

TASK = find("vd4rl-cheetah_run-random")


@pytest.fixture
def environment():
    """A simulator that renders, where this machine can."""
    try:
        made = make_environment(TASK)
        made.reset(seed=0)
    except NotAvailableError as error:
        pytest.skip(f"this machine cannot render images without a display: {error}")
    yield made
    made.close()


def played(environment, actions):
    return [environment.step(action) for action in actions]


def actions(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, TASK.action_size)).astype(np.float32)


def test_images_are_the_suites_own_to_the_bit(environment):
    """Camera, stack and action repeat; the smaller buffer it renders into changes no pixel."""
    from dm_control import suite

    own = suite.load("cheetah", "run", task_kwargs={"random": 0})
    own.task.random.seed(7)
    own.reset()
    observation, _ = environment.reset(seed=7)
    images = [own.physics.render(84, 84, camera_id=0)] * 3
    np.testing.assert_array_equal(observation, np.concatenate(images, axis=-1))
    for action in actions(4):
        observation, reward, terminal, timeout, _ = environment.step(action)
        paid = sum(own.step(action).reward for _ in range(2))
        images = [*images[1:], own.physics.render(84, 84, camera_id=0)]
        np.testing.assert_array_equal(observation, np.concatenate(images, axis=-1))
        assert reward == pytest.approx(paid)
        assert not terminal
        assert not timeout
    own.close()


def test_an_episode_lasts_500_env_steps_and_times_out(environment, monkeypatch):
    monkeypatch.setattr(environment.unwrapped, "_rendered", lambda: np.zeros((84, 84, 3), np.uint8))
    environment.reset(seed=0)
    steps = played(environment, actions(500))
    assert [(terminal, timeout) for _, _, terminal, timeout, _ in steps[-2:]] == [(False, False), (False, True)]


def test_any_thread_may_reset_step_and_close(environment):
    """As the engine does: a lane's thread steps what the main thread reset."""
    other = make_environment(TASK)
    with ThreadPoolExecutor(1) as elsewhere:
        expected, _ = environment.reset(seed=1)
        elsewhere.submit(played, environment, actions(2)).result()
        np.testing.assert_array_equal(elsewhere.submit(other.reset, seed=1).result()[0], expected)
        played(other, actions(2))
        elsewhere.submit(other.close).result()


def test_a_saved_simulator_goes_on_exactly(environment):
    environment.reset(seed=3)
    played(environment, actions(5))
    saved = save_environment(environment)
    expected = played(environment, actions(5, seed=1))
    played(environment, actions(3, seed=2))
    restore_environment(environment, saved)
    for (ours, reward, *_), (theirs, paid, *_) in zip(played(environment, actions(5, seed=1)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert reward == paid


@pytest.mark.parametrize(
    "name", [pytest.param("vd4rl-cheetah_run-random", marks=pytest.mark.slow), "vd4rl-cheetah_run-random-64px"]
)
def test_a_recipe_writes_the_layouts_of_vd4rl(environment, name, tmp_path, monkeypatch):
    """Twice the same, and what is read back is what was filmed."""
    task = dataclasses.replace(find(name), horizon=3)
    folder, parts = tmp_path / "made", [(Actor("uniform"), 2 * task.horizon)]
    filming.generate(task, parts, folder)
    rows = image_files.read(folder)
    rows.check(task, "here")
    assert len(image_files.files(folder)) == (2 if "64px" in name else 1)
    assert rows.episode_returns()[1].tolist() == [3, 3]
    assert not filming.outdated(folder)
    again = filming.film(task, Actor("uniform"), (0, 0, 1))
    np.testing.assert_array_equal(rows.frames[4:], again["image"])
    np.testing.assert_array_equal(rows.actions[4:], again["action"])
    monkeypatch.setattr(filming, "VERSION", filming.VERSION + 1)
    assert filming.outdated(folder)


def test_where_nothing_can_be_rendered_the_missing_packages_are_named(monkeypatch):
    """OpenGL's binding raises AttributeError where EGL's library is missing; processes started later ask for none."""
    for name in ("DISPLAY", "MUJOCO_GL"):
        monkeypatch.delenv(name, raising=False)
    for module in [name for name in sys.modules if name.startswith(("moorl_jax.tasks.control", "dm_control"))]:
        monkeypatch.delitem(sys.modules, module)

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "dm_control":
                raise AttributeError("'NoneType' object has no attribute 'eglQueryString'")

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(NotAvailableError, match=r"MUJOCO_GL is 'egl'.*EGL needs no display.*libegl1"):
        make_environment(TASK)
    assert "MUJOCO_GL" not in os.environ
