"""Data that appears whole or not at all, whatever becomes of its maker or its disk."""

import contextlib
import os
import resource
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from moorl_jax.data import filming, publishing
from moorl_jax.data.plans import Actor
from moorl_jax.errors import DatasetError, StorageError
from moorl_jax.tasks import find
from tests.data.test_image_files import episodes

WRITE = """
import resource, sys
from pathlib import Path
import numpy as np
from moorl_jax.data import Rows, hdf5
from moorl_jax.errors import StorageError
count = 20_000
numbers = np.random.default_rng(0).normal(size=(count, 14)).astype(np.float32)
none = np.zeros(count, bool)
rows = Rows(numbers[:, :11], numbers[:, 11:], numbers[:, 0], none, none)
place = Path(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
try:
    hdf5.write(place, rows, {"metadata/seed": "0"})
except StorageError as error:
    print(error)
assert not list(place.parent.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
hdf5.write(place, rows, {"metadata/seed": "0"})
assert hdf5.read(place).fingerprint() == rows.fingerprint()
"""


class TestAlone:
    def test_a_second_one_is_told_and_waits(self, tmp_path):
        inside, done, said = threading.Event(), threading.Event(), []

        def first():
            with publishing.alone(tmp_path / "set", pytest.fail):
                inside.set()
                done.wait(10)
                (tmp_path / "set").touch()

        maker = threading.Thread(target=first)
        maker.start()
        inside.wait(10)

        def tell(line):
            said.append(line)
            done.set()

        with publishing.alone(tmp_path / "set", tell):
            assert (tmp_path / "set").exists()
        maker.join()
        assert said == [f"{tmp_path / 'set'}: another process is making it; waiting"]

    def test_what_a_killed_one_left_is_removed_and_nothing_else(self, tmp_path):
        for name in (".set.x1.partial", ".settle.x1.partial"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "set").touch()
        with publishing.alone(tmp_path / "set", pytest.fail):
            pass
        assert [path.name for path in tmp_path.iterdir()] == [".settle.x1.partial"]


class TestPublished:
    def test_a_folder_is_replaced_when_all_is_well(self, tmp_path):
        for number in ("1", "2"):
            with publishing.published(tmp_path / "set", 1) as partial:
                partial.mkdir()
                (partial / number).touch()
                assert [path.name for path in (tmp_path / "set").glob("*")] == ["1"] * (number == "2")
        assert [path.name for path in tmp_path.rglob("*")] == ["set", "2"]

    def test_a_fault_leaves_what_there_was(self, tmp_path):
        (tmp_path / "set").write_text("old", encoding="utf-8")
        with contextlib.suppress(KeyError), publishing.published(tmp_path / "set", 1) as partial:
            partial.write_text("half", encoding="utf-8")
            raise KeyError
        assert [path.name for path in tmp_path.iterdir()] == ["set"]
        assert (tmp_path / "set").read_text(encoding="utf-8") == "old"

    def test_two_never_write_under_one_name(self, tmp_path):
        with publishing.published(tmp_path / "a", 1) as one, publishing.published(tmp_path / "a", 1) as other:
            assert one != other
            one.touch()
            other.touch()


class TestAPlaceThatCannotBeWritten:
    def test_a_full_disk_is_one_line_and_no_crash_of_hdf5(self, tmp_path):
        """`ulimit -f`, in a process of its own: HDF5 itself crashed there, at the end of the interpreter."""
        (tmp_path / "data").mkdir()
        place = tmp_path / "data" / "hopper.hdf5"
        ran = subprocess.run([sys.executable, "-c", WRITE, str(place)], capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert ran.stdout.count("\n") == 1
        size = place.stat().st_size
        assert ran.stdout.startswith(
            f"{place}: cannot be written (File too large); it takes up to {size / 1e6:,.1f} MB"
        )

    @pytest.mark.parametrize("below", ["a file", "/dev/full", "/proc"])
    def test_it_is_named_before_anything_is_made(self, tmp_path, below):
        (tmp_path / "a file").touch()
        place = tmp_path / below / "of mine" / "set"
        fault = pytest.raises(StorageError, match=rf"^{place}: cannot be written \(.*\); make room")
        with fault, publishing.alone(place, pytest.fail):
            pytest.fail("it was not to be entered")

    def test_the_last_bytes_count_too(self, tmp_path):
        """What is written when a file is closed."""
        fault = pytest.raises(StorageError, match=r"No space left on device\); it takes up to 0\.5 MB")
        with fault, publishing.storing(tmp_path / "set", 500_000), open("/dev/full", "w", encoding="utf-8") as file:
            file.write("bytes")


class TestFilms:
    """Two episodes at 64 pixels; what the films show does not matter here."""

    TASK = find("vd4rl-cheetah_run-random-64px")

    @pytest.fixture(autouse=True)
    def _no_processes(self, monkeypatch):
        made = list(episodes((500, 500), 64))
        monkeypatch.setattr(filming, "film", lambda task, actor, seed: made[seed[-1]])
        monkeypatch.setattr(filming, "ProcessPoolExecutor", lambda *_: contextlib.nullcontext(SimpleNamespace(map=map)))

    def film(self, folder):
        filming.generate(self.TASK, [(Actor("uniform"), 1_000)], folder)

    def test_an_episode_that_is_missing_is_noticed(self, tmp_path, monkeypatch):
        write = filming.write
        monkeypatch.setattr(filming, "write", lambda folder, shard, done: write(folder, shard[1:], done))
        with pytest.raises(DatasetError, match="films: 501 rows were written, not 1002"):
            self.film(tmp_path / "films")
        assert not list(tmp_path.iterdir())

    def test_a_full_disk_leaves_nothing_and_the_next_try_succeeds(self, tmp_path):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(
                StorageError, match=r"films: cannot be written \(File too large\); it takes up to 12\.3 MB"
            ):
                self.film(tmp_path / "films")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not list(tmp_path.iterdir())
        self.film(tmp_path / "films")
        assert sorted(os.listdir(tmp_path / "films")) == ["00000-501.npz", "00001-501.npz", "recipe.json"]
        assert np.load(tmp_path / "films" / "00001-501.npz")["image"].shape == (501, 64, 64, 3)
