import contextlib
import dataclasses
import hashlib
import http.server
import resource
import socket
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from moorl_jax.data import hdf5, sources
from moorl_jax.data.sources import D4RL, d4rl
from moorl_jax.data.sources.d4rl import answers  # tests have another in its place
from moorl_jax.errors import DatasetError, StorageError
from moorl_jax.tasks import TASKS
from tests.data.sources.test_sources import side_by_side


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
        monkeypatch.setattr(d4rl, "_known", dict)  # its files are smaller than D4RL's
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
        assert list(D4RL(hopper).place.parent.iterdir()) == [D4RL(hopper).place]

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ("of another sha256", "sha256 mismatch"),
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
            hdf5.write(D4RL(hopper).place, nan, {})
            body = D4RL(hopper).place.read_bytes()
            D4RL(hopper).place.unlink()
            server.content["/gym_mujoco_v2/hopper_medium-v2.hdf5"] = (len(body), body)
        monkeypatch.setattr(d4rl, "_known", lambda: {address: known} if known else {})
        with pytest.raises(DatasetError, match=f"^{address}: .*{message}.*put it at"):
            sources.load(hopper, "d4rl")
        assert list(D4RL(hopper).place.parent.iterdir()) == []

    def test_a_full_disk_is_not_the_servers_fault(self, hopper, body):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        try:
            with pytest.raises(StorageError, match=rf"^{D4RL(hopper).place}: cannot be written \(File too large\)"):
                sources.load(hopper, "d4rl")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(D4RL(hopper).place.parent.iterdir()) == []
        sources.load(hopper, "d4rl")

    def test_what_is_known_is_of_the_catalogues_files_on_a_server_that_proves_itself(self):
        files = {f"{d4rl.SERVER}/{task.datasets['d4rl']}" for task in TASKS.values() if "d4rl" in task.datasets}
        assert all(address.startswith("https://") for address in files)
        assert set(d4rl._known()) <= files
        for known in d4rl._known().values():
            assert int(known["rows"] or 1) > 0
            assert bool(known["rows"]) != bool(known["bytes"])
            if known["bytes"]:
                assert int(known["bytes"]) < d4rl.LIMIT
                assert len(bytes.fromhex(known["sha256"])) == 32

    def test_a_redirect_to_a_server_that_proves_nothing_is_refused(self, hopper, server, monkeypatch):
        answer = contextlib.nullcontext(SimpleNamespace(url="https://elsewhere/file"))
        monkeypatch.setattr(d4rl.urllib.request, "urlopen", lambda url, timeout: answer)
        with pytest.raises(DatasetError, match="redirects away from https, to https://elsewhere/file"):
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
        assert list(D4RL(hopper).place.parent.iterdir()) == []
