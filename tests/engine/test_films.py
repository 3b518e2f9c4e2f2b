import dataclasses

import gymnasium
import imageio.v2
import jax
import numpy as np
import pytest
from gymnasium import spaces

from moorl_jax.agents import BC
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine import films, recipes
from moorl_jax.engine.policy import Policy
from moorl_jax.errors import MoorlError, NotAvailableError
from moorl_jax.tasks import Task, camera, find


@pytest.fixture
def policy():
    """Return an untrained policy of a task; those of the catalogue, by name, have episodes of 8 env steps."""

    def untrained(task):
        task, agent = dataclasses.replace(find(task), horizon=8) if isinstance(task, str) else task, BC(hidden=(4,))
        normalizer = Normalizer.identity(task.observation_shape)
        state = agent.init(jax.random.key(0), recipes.example(agent.phases(1, 0), task, Prepared(None, normalizer)))
        return Policy(agent, task, normalizer, jax.tree.map(lambda leaf: leaf[None], agent.policy(state)), (0,))

    return untrained


@pytest.mark.usefixtures("_can_render")
@pytest.mark.parametrize(
    ("name", "suffix", "frames"),
    [
        ("hopper", ".gif", 2),  # of 125 env steps a second every fourth
        ("hopper", ".mp4", 2),
        pytest.param("antmaze-umaze-v2", ".gif", 8, marks=pytest.mark.slow),  # 10 env steps a second, and all are drawn
        pytest.param("walker-walk", ".gif", 8, marks=pytest.mark.slow),
        pytest.param("pen-expert-v1", ".gif", 3, marks=pytest.mark.slow),
        pytest.param("kitchen-complete-v0", ".gif", 8, marks=pytest.mark.slow),
        pytest.param("sawyer-push", ".gif", 3, marks=pytest.mark.slow),
    ],
)
def test_an_episode_is_filmed(policy, tmp_path, name, suffix, frames):
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg", reason="mp4 needs ffmpeg, which is not installed: the extra 'video'")
    path = tmp_path / f"film{suffix}"
    films.film(policy(name), 0, 0, path)
    film = [np.asarray(frame)[..., :3] for frame in imageio.v2.get_reader(path)]
    assert len(film) == frames
    assert film[0].shape == (camera.HEIGHT, camera.WIDTH, 3)
    assert film[0].std() > 5
    assert (film[0] != film[-1]).any()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.usefixtures("_can_render")
def test_a_seed_that_diverged_leaves_no_film(policy, tmp_path):
    sound = policy("hopper")
    lost = dataclasses.replace(sound, params=jax.tree.map(lambda leaf: leaf * np.nan, sound.params))
    with pytest.raises(MoorlError, match="seed 0 has diverged: its policy cannot be filmed"):
        films.film(lost, 0, 0, tmp_path / "film.gif")
    assert not list(tmp_path.iterdir())


class Blinking(gymnasium.Env):
    """An environment of a user's own, that draws itself."""

    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))
    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}

    def __init__(self, render_mode="rgb_array"):
        self.render_mode, self.step_count = render_mode, 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.step_count += 1
        return np.zeros(2, np.float32), 0.0, False, False, {}

    def render(self):
        return np.full((32, 32, 3), 255 * (self.step_count % 2), np.uint8) if self.render_mode else None


def test_an_environment_without_a_model_is_filmed_as_it_draws_itself(policy, tmp_path):
    path = tmp_path / "film.gif"
    films.film(policy(Task.of(Blinking, horizon=6)), 0, 0, path)
    film = imageio.v2.get_reader(path)
    assert [np.asarray(frame).mean() > 128 for frame in film] == [False, True] * 3
    assert film.get_meta_data()["duration"] == pytest.approx(1000 / 15, abs=10)
    silent = Task.of(lambda: Blinking(None), name="silent")
    with pytest.raises(NotAvailableError, match="silent cannot be filmed: without a MuJoCo model it needs render_mode"):
        films.film(policy(silent), 0, 0, path)


def test_another_suffix_is_refused(policy, tmp_path):
    with pytest.raises(MoorlError, match=r"film\.avi: films end in \.mp4 or \.gif"):
        films.film(policy("hopper"), 0, 0, tmp_path / "film.avi")


def test_a_machine_that_cannot_render_is_one_line(policy, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no\ndisplay")

    monkeypatch.setattr(camera, "OffScreenViewer", broken)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(
        NotAvailableError, match=r"this machine cannot render \(osmesa: no display\); .* MUJOCO_GL=egl$"
    ):
        films.film(policy("hopper"), 0, 0, tmp_path / "film.gif")
