import contextlib
import dataclasses
import hashlib
import http.server
import resource
import shutil
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import gymnasium_robotics
import minari
import numpy as np
import pytest

from moorl_jax.data import d4rl, hdf5, minari_source, plans, recipe, sources
from moorl_jax.data.d4rl import answers  # tests have another in its place
from moorl_jax.errors import DatasetError, NotAvailableError, StorageError, UnknownNameError
from moorl_jax.tasks import SUITES, TASKS, find


@pytest.fixture
def own_file(hopper, hopper_rows):
    """A file in D4RL's place that is not D4RL's."""
    path = d4rl.file_of(hopper)
    hdf5.write(path, hopper_rows, {})
    return path


@pytest.fixture
def d4rl_file(own_file, monkeypatch):
    """The same, where D4RL's own is of its size."""
    known = {"https://server/gym_mujoco_v2/hopper_medium-v2.hdf5": {"bytes": str(own_file.stat().st_size)}}
    monkeypatch.setattr(d4rl, "_known", lambda: known)
    return own_file


class TestChoose:
    def test_an_original_file_comes_first(self, hopper, d4rl_file, tmp_path):
        assert sources.choose(hopper, policies=tmp_path) == "d4rl"

    def test_a_file_is_not_d4rls_by_its_name_alone(self, hopper, own_file):
        assert sources.choose(hopper) == sources.choose(hopper, "file") == "file"
        with pytest.raises(NotAvailableError, match=r"hopper_medium-v2\.hdf5: its size is not that of D4RL's own"):
            sources.choose(hopper, "d4rl")
        for source in ("d4rl", "file"):
            dataset = sources.load(hopper, source)
            assert (dataset.source, len(dataset.rows.rewards)) == ("file", 2000)

    def test_where_d4rls_size_is_not_known_its_name_must_do(self):
        task = find("relocate-human-v1")
        d4rl.file_of(task).parent.mkdir(parents=True)
        d4rl.file_of(task).touch()
        assert sources.choose(task) == "d4rl"

    def test_a_file_that_is_not_there_is_not_made(self, hopper, tmp_path):
        with pytest.raises(NotAvailableError, match="no source 'file'"):
            sources.choose(hopper, "file", tmp_path)
        with pytest.raises(DatasetError, match="no such file"):
            sources.load(hopper, "file", tmp_path)

    def test_d4rls_server_comes_next(self, hopper, tmp_path, monkeypatch):
        monkeypatch.setattr(d4rl, "answers", lambda: True)
        assert sources.choose(hopper, policies=tmp_path) == "d4rl"

    def test_then_what_the_package_can_make_itself(self, hopper, tmp_path):
        assert sources.choose(hopper, policies=tmp_path) == "embedded"

    def test_then_a_recipe_of_policies_at_hand(self, tmp_path):
        task = find("pen-cloned-v1")
        assert sources.choose(task, policies=tmp_path) == "recipe"
        sources.file_of(task, "recipe").parent.mkdir(parents=True)
        sources.file_of(task, "recipe").touch()
        assert sources.choose(task) == "recipe"

    @pytest.mark.parametrize("task", ["hammer-cloned-v1", "pen-cloned-v1", "kitchen-partial-v0"])
    def test_else_d4rls_absence_is_to_be_told(self, task):
        assert sources.choose(find(task)) == "d4rl"

    def test_a_task_of_minaris_has_minari_alone(self, tmp_path):
        assert sources.choose(find("minari-pen-human-v2"), policies=tmp_path) == "minari"

    @pytest.mark.parametrize("task", SUITES["vd4rl-all"])
    def test_of_images_all_can_be_made_without_policies(self, task):
        assert sources.choose(find(task)) == "embedded"
        assert plans.plan(find(task), None, "embedded")

    def test_a_source_by_name(self, hopper, d4rl_file):
        assert sources.choose(hopper, "embedded") == "embedded"

    def test_unknown_and_unavailable_sources(self, hopper):
        with pytest.raises(UnknownNameError, match="did you mean d4rl"):
            sources.choose(hopper, "d4lr")
        with pytest.raises(NotAvailableError, match="walker2d-medium-v2 has no source 'embedded'; it has d4rl"):
            sources.choose(find("walker2d-medium-v2"), "embedded")
        with pytest.raises(NotAvailableError, match="sawyer-push has no dataset: it is for agents that learn online"):
            sources.choose(find("sawyer-push"))


class TestLoad:
    def test_an_original_file(self, hopper, d4rl_file, hopper_rows):
        dataset = sources.load(hopper, "d4rl")
        assert (dataset.source, dataset.fingerprint) == ("d4rl", hopper_rows.fingerprint())
        assert len(dataset.transitions) == 2000 - hopper_rows.timeouts[:-1].sum() - 1

    def test_a_faulty_file_is_refused(self, hopper, hopper_rows):
        rows = dataclasses.replace(hopper_rows, rewards=np.full(2000, np.nan, np.float32))
        hdf5.write(d4rl.file_of(hopper), rows, {})
        with pytest.raises(DatasetError, match=r"hopper_medium-v2\.hdf5: 'rewards' is NaN"):
            sources.load(hopper, "d4rl")

    def test_a_file_of_an_earlier_recipe_is_made_again(self, hopper, hopper_rows, monkeypatch):
        monkeypatch.setattr("moorl_jax.data.plans.EMBEDDED_STEPS", 400)
        hdf5.write(sources.file_of(hopper, "embedded"), hopper_rows, {"metadata/version": "0"})
        assert len(sources.load(hopper, "embedded").rows.rewards) == 400

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
        assert sources.at_hand(hopper, "minari")
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
        monkeypatch.setattr("moorl_jax.data.minari_source.HUB", "http://127.0.0.1:9")
        started = time.monotonic()
        with pytest.raises(DatasetError, match="minari download mujoco/hopper/medium-v0"):
            sources.load(find("minari-hopper-medium-v0"), "minari")
        assert time.monotonic() - started < 10


def test_what_cannot_be_fetched_may_be_made(monkeypatch):
    monkeypatch.setattr(d4rl, "SERVER", "http://127.0.0.1:9")
    with pytest.raises(DatasetError, match="or make it from trained policies: --policies DIR"):
        sources.load(find("antmaze-umaze-v2"), "d4rl")
    with pytest.raises(DatasetError, match="human demonstrations of hammer are not among the policies"):
        sources.load(find("hammer-cloned-v1"), "d4rl")


def side_by_side(load):
    """Call it twice at once, as two processes would; return what came of both, and what they were told."""
    said = []
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(load, said.append) for _ in range(2)]
    return [each.result() for each in both], said


class TestTwoAtOnce:
    def test_a_dataset_is_made_once(self, hopper, hopper_rows, monkeypatch):
        makings = []

        def generate(task, parts, path, seed, progress):
            makings.append(path)
            time.sleep(0.5)
            hdf5.write(path, hopper_rows, {"metadata/version": str(recipe.VERSIONS["locomotion"])})

        monkeypatch.setattr(recipe, "generate", generate)
        both, said = side_by_side(lambda tell: sources.load(hopper, "embedded", tell=tell))
        assert [dataset.fingerprint for dataset in both] == [hopper_rows.fingerprint()] * 2
        assert len(makings) == 1
        assert said == [f"{makings[0]}: another process is making it; waiting"]
        assert list(makings[0].parent.iterdir()) == makings

    def test_what_is_to_be_made_anew_is_made_in_turn(self, hopper, monkeypatch):
        running = []

        def generate(task, parts, path, seed, progress):
            running.append(path)
            assert len(running) == 1
            time.sleep(0.2)
            running.pop()

        monkeypatch.setattr(recipe, "generate", generate)
        side_by_side(lambda tell: sources.make(hopper, "embedded", tell=tell))


class TestDownloadOfMinaris:
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
        assert not sources.at_hand(self.TASK, "minari")
        hub.fault = None
        assert len(self.load().rows.rewards) == 3

    def test_one_that_is_faulty_gets_no_name(self, hub):
        (hub.data / "metadata.json").write_text("{}", encoding="utf-8")
        with pytest.raises(DatasetError, match=r"cannot be downloaded \(.*metadata\.json: it lacks the spaces"):
            self.load()
        assert not sources.at_hand(self.TASK, "minari")


@pytest.fixture
def server(monkeypatch):
    """A server of D4RL's layout on this machine; `content` maps paths to (claimed length, bytes)."""

    class Handler(http.server.BaseHTTPRequestHandler):
        content: dict[str, tuple[int, bytes]] = {}
        asked: list[str] = []
        seconds = 0.0  #: that an answer takes

        def do_GET(self):
            self.asked.append(self.path)
            time.sleep(self.seconds)
            if self.path not in self.content:
                self.send_error(404)
                return
            length, body = self.content[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(d4rl, "SERVER", f"http://127.0.0.1:{running.server_port}")
        yield Handler
        running.shutdown()


class TestAnswers:
    @pytest.fixture(autouse=True)
    def _never_asked(self):
        answers.cache_clear()
        yield
        answers.cache_clear()

    def test_a_server_answers_though_it_lists_no_files(self, server):
        assert answers()

    def test_without_a_network_there_is_none_and_it_is_asked_once(self, monkeypatch):
        monkeypatch.setattr(d4rl, "SERVER", "http://127.0.0.1:9")
        assert not answers()
        monkeypatch.setattr(d4rl.urllib.request, "urlopen", None)
        assert not answers()

    def test_one_that_keeps_silent_is_given_up_within_seconds(self, monkeypatch):
        monkeypatch.setattr(d4rl, "ASKING", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setattr(d4rl, "SERVER", f"http://127.0.0.1:{silent.getsockname()[1]}")
            started = time.monotonic()
            assert not answers()
        assert time.monotonic() - started < 5


class TestDownload:
    @pytest.fixture
    def body(self, hopper_rows, server, tmp_path):
        """A whole file, which the server has."""
        hdf5.write(tmp_path / "x.hdf5", hopper_rows, {})
        body = (tmp_path / "x.hdf5").read_bytes()
        server.content["/gym_mujoco_v2/hopper_medium-v2.hdf5"] = (len(body), body)
        return body

    def test_a_file_is_fetched_whole(self, hopper, hopper_rows, body):
        reports = []
        dataset = sources.load(hopper, "d4rl", progress=lambda *report: reports.append(report))
        assert dataset.fingerprint == hopper_rows.fingerprint()
        assert reports[-1] == (len(body), len(body))

    def test_by_two_at_once_a_file_is_fetched_once(self, hopper, hopper_rows, body, server):
        server.seconds = 0.5
        both, _ = side_by_side(lambda tell: sources.load(hopper, "d4rl", tell=tell))
        assert [dataset.fingerprint for dataset in both] == [hopper_rows.fingerprint()] * 2
        assert len(server.asked) == 1
        assert list(d4rl.file_of(hopper).parent.iterdir()) == [d4rl.file_of(hopper)]

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ("of another sha256", "another file than D4RL's"),
            ("longer than it is known to be", "sends more than 100 bytes"),
            ("longer than any", "sends more than 1,000 bytes"),
            ("with rewards of NaN", r"cannot be used \('rewards' is NaN or infinite in 2000 rows"),
        ],
    )
    def test_a_file_that_is_not_d4rls_gets_no_name(
        self, hopper, hopper_rows, body, server, monkeypatch, answer, message
    ):
        address = f"{d4rl.SERVER}/gym_mujoco_v2/hopper_medium-v2.hdf5"
        known = {"bytes": str(len(body)), "sha256": hashlib.sha256(body).hexdigest()}
        if answer == "of another sha256":
            known["sha256"] = "0" * 64
        if answer == "longer than it is known to be":
            known["bytes"] = "100"
        if answer == "longer than any":
            known = None
            monkeypatch.setattr(d4rl, "LIMIT", 1_000)
        if answer == "with rewards of NaN":
            known = None
            nan = dataclasses.replace(hopper_rows, rewards=np.full(2000, np.nan, np.float32))
            hdf5.write(d4rl.file_of(hopper), nan, {})
            body = d4rl.file_of(hopper).read_bytes()
            d4rl.file_of(hopper).unlink()
            server.content["/gym_mujoco_v2/hopper_medium-v2.hdf5"] = (len(body), body)
        monkeypatch.setattr(d4rl, "_known", lambda: {address: known} if known else {})
        with pytest.raises(DatasetError, match=f"^{address}: .*{message}.*put it at"):
            sources.load(hopper, "d4rl")
        assert list(d4rl.file_of(hopper).parent.iterdir()) == []

    def test_a_full_disk_is_not_the_servers_fault(self, hopper, body):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            with pytest.raises(StorageError, match=rf"^{d4rl.file_of(hopper)}: cannot be written \(File too large\)"):
                sources.load(hopper, "d4rl")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(d4rl.file_of(hopper).parent.iterdir()) == []
        sources.load(hopper, "d4rl")

    def test_what_is_known_is_of_the_catalogues_files_on_a_server_that_proves_itself(self):
        files = {f"{d4rl.SERVER}/{task.datasets['d4rl']}" for task in TASKS.values() if "d4rl" in task.datasets}
        assert all(address.startswith("https://") for address in files)
        assert set(d4rl._known()) <= files
        for known in d4rl._known().values():
            assert int(known["bytes"]) < d4rl.LIMIT
            assert len(bytes.fromhex(known["sha256"])) == 32

    def test_a_redirect_to_a_server_that_proves_nothing_is_refused(self, hopper, server, monkeypatch):
        answer = contextlib.nullcontext(SimpleNamespace(url="https://elsewhere/file"))
        monkeypatch.setattr(d4rl.urllib.request, "urlopen", lambda url, timeout: answer)
        with pytest.raises(DatasetError, match="leads to https://elsewhere/file"):
            sources.load(hopper, "d4rl")

    @pytest.mark.parametrize("answer", ["cut off", "an HTML page", "missing", "no server", "no length"])
    def test_a_failure_names_the_place_and_leaves_nothing(self, hopper, server, monkeypatch, answer):
        if answer == "cut off":
            server.content["/gym_mujoco_v2/hopper_medium-v2.hdf5"] = (1000, b"x" * 10)
        if answer == "an HTML page":
            server.content["/gym_mujoco_v2/hopper_medium-v2.hdf5"] = (15, b"<!DOCTYPE html>")
        if answer == "no length":
            server.content["/gym_mujoco_v2/hopper_medium-v2.hdf5"] = ("much", b"x")
        if answer == "no server":
            monkeypatch.setattr(d4rl, "SERVER", "http://127.0.0.1:9")
        started = time.monotonic()
        with pytest.raises(DatasetError, match=r"put it at .*hopper_medium-v2\.hdf5"):
            sources.load(hopper, "d4rl")
        assert time.monotonic() - started < 10
        assert list(d4rl.file_of(hopper).parent.iterdir()) == []


def test_without_a_home_data_lies_below_the_temporary_directory(monkeypatch, hopper):
    """As in a container that runs under a number without an entry in /etc/passwd."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for variable in ("MOORL_DATA_DIR", "D4RL_DATASET_DIR", "VD4RL_DATASET_DIR"):
        monkeypatch.delenv(variable)
    for source in ("recipe", "d4rl"):
        assert Path(tempfile.gettempdir()) in sources.file_of(hopper, source).parents
