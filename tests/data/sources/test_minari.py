import shutil
import time
from types import SimpleNamespace

import gymnasium
import gymnasium_robotics
import minari
import numpy as np
import pytest

from moorl_jax.data import sources
from moorl_jax.data.sources import minari as minari_source
from moorl_jax.errors import DatasetError
from moorl_jax.tasks import find


class TestRead:
    def test_minaris_rows(self):
        """A dataset recorded with the library comes back step by step, each episode ended by a flag."""
        hopper = find("minari-hopper-medium-v0")
        environment = minari.DataCollector(gymnasium.make("Hopper-v5", max_episode_steps=15))
        recorded = []
        for episode in range(4):
            observation, _ = environment.reset(seed=episode)
            ended = False
            while not ended:
                action = np.full(3, 0.1, np.float32)
                following, reward, terminal, timeout, _ = environment.step(action)
                recorded.append((observation, following, reward))
                observation, ended = following, terminal or timeout
        environment.create_dataset("mujoco/hopper/medium-v0", author="test", author_email="t@t", code_permalink="t")
        environment.close()
        assert sources.find(hopper, "minari").is_here()
        rows = sources.load(hopper, "minari").rows
        np.testing.assert_allclose(rows.observations, [step[0] for step in recorded], rtol=1e-6)
        np.testing.assert_allclose(rows.next_observations, [step[1] for step in recorded], rtol=1e-6)
        np.testing.assert_allclose(rows.rewards, [step[2] for step in recorded], rtol=1e-6)
        assert rows.timeouts.sum() == 4
        assert not rows.terminals.any()

    def test_minaris_dictionaries_are_flattened_as_the_environment_flattens_them(self):
        gymnasium.register_envs(gymnasium_robotics)
        task = find("minari-antmaze-umaze-v1")
        plain = gymnasium.make("AntMaze_UMaze-v4", max_episode_steps=12, continuing_task=False)
        environment = minari.DataCollector(plain)
        recorded = []
        for episode in range(2):
            observation, _ = environment.reset(seed=episode)
            for _ in range(12):
                recorded.append(gymnasium.spaces.flatten(plain.observation_space, observation))
                observation, *_ = environment.step(np.full(8, 0.1, np.float32))
        environment.create_dataset(task.datasets["minari"], author="test", author_email="t@t", code_permalink="t")
        environment.close()
        rows = sources.load(task, "minari").rows
        np.testing.assert_allclose(rows.observations, recorded, rtol=1e-6)
        assert rows.observations.shape == (24, 31)

    @pytest.fixture
    def episodes(self, monkeypatch):
        """The episodes of a dataset in Minari's directory: two of three steps, which end without a flag."""
        steps = {"rewards": np.ones(3), "actions": np.zeros((3, 3)), "observations": np.zeros((4, 11))}
        never = np.zeros(3, bool)
        two = [SimpleNamespace(id=number, **steps, terminations=never, truncations=never) for number in range(2)]
        dataset = SimpleNamespace(iterate_episodes=lambda: iter(two), observation_space=None)
        monkeypatch.setattr(minari, "load_dataset", lambda _: dataset)
        monkeypatch.setattr(minari_source, "_require_own", lambda _: None)
        return two

    def test_minaris_episodes_are_never_joined(self, episodes):
        """An episode flagged neither terminated nor truncated still ends where the next begins."""
        rows = minari_source.read("any")
        assert rows.timeouts.tolist() == [False, False, True] * 2

    @pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminations", "truncations"])
    def test_minaris_episodes_do_not_make_up_for_each_other(self, episodes, key):
        values = getattr(episodes[0], key)
        for episode, kept in zip(episodes, (values[:-1], np.concatenate([values, values[:1]])), strict=True):
            setattr(episode, key, kept)
        with pytest.raises(DatasetError, match="minari any: episode 0 has observations, actions, rewards"):
            minari_source.read("any")

    def test_minari_without_a_network_says_so_at_once(self, monkeypatch):
        monkeypatch.setattr("moorl_jax.data.sources.minari.HUB", "http://127.0.0.1:9")
        started = time.monotonic()
        with pytest.raises(DatasetError, match="minari download mujoco/hopper/medium-v0"):
            sources.load(find("minari-hopper-medium-v0"), "minari")
        assert time.monotonic() - started < 10


class TestDownload:
    TASK = find("minari-hopper-medium-v0")

    @pytest.fixture
    def hub(self, tmp_path, monkeypatch):
        """A hub on this machine, which sends a dataset file by file unless it has a fault."""
        name = self.TASK.datasets["minari"]
        place, state = minari_source.folder_of(name), SimpleNamespace(asked=0, seen=[], fault=None)
        state.data = tmp_path / "hub/data"
        environment = minari.DataCollector(gymnasium.make("Hopper-v5", max_episode_steps=3))
        environment.reset(seed=0)
        for _ in range(3):
            environment.step(np.zeros(3, np.float32))
        environment.create_dataset(name, author="t", author_email="t@t", code_permalink="t")
        environment.close()
        place.rename(state.data.parent)

        def download_dataset(name):
            state.asked += 1
            data = minari.storage.get_dataset_path(name) / "data"
            data.mkdir(parents=True)
            for file in sorted(state.data.iterdir()):
                shutil.copy(file, data)
                state.seen.append(place.exists())
                if state.fault:
                    raise state.fault

        monkeypatch.setenv("MINARI_REMOTE", "one of this machine's")
        monkeypatch.setattr(minari, "download_dataset", download_dataset)
        return state

    def load(self):
        return sources.load(self.TASK, "minari")

    def test_it_has_no_name_before_it_is_whole(self, hub):
        """Another process that asks meanwhile waits for it."""
        assert len(self.load().rows.rewards) == 3
        assert hub.seen == [False, False]
        self.load()
        assert hub.asked == 1

    @pytest.mark.parametrize("fault", [KeyboardInterrupt(), ConnectionError("the line is cut")])
    def test_one_that_was_interrupted_is_fetched_again(self, hub, fault):
        hub.fault = fault
        with pytest.raises((KeyboardInterrupt, DatasetError)):
            self.load()
        assert not sources.find(self.TASK, "minari").is_here()
        hub.fault = None
        assert len(self.load().rows.rewards) == 3

    def test_one_that_is_faulty_gets_no_name(self, hub):
        (hub.data / "metadata.json").write_text("{}", encoding="utf-8")
        with pytest.raises(DatasetError, match=r"cannot be downloaded \(.*metadata\.json: it lacks the spaces"):
            self.load()
        assert not sources.find(self.TASK, "minari").is_here()
