"""One process holds a lock, whatever becomes of the files beside it."""

import shutil
import subprocess
import sys

import pytest

from moorl_jax.errors import BusyError
from moorl_jax.locks import held

COUNTER = """
import sys, time
from pathlib import Path
from moorl_jax.locks import held
place = Path(sys.argv[1])
for _ in range(50):
    with held(place, waiting=lambda: None):
        number = int(place.read_text(encoding="utf-8"))
        time.sleep(0.001)
        place.write_text(str(number + 1), encoding="utf-8")
"""


def test_who_does_not_wait_is_told(tmp_path):
    with held(tmp_path / "it"), pytest.raises(BusyError), held(tmp_path / "it"):
        pass


def test_a_lock_outlives_what_is_deleted_and_leaves_nothing(tmp_path):
    place = tmp_path / "it"
    place.mkdir()
    with held(place):
        shutil.rmtree(place)
        with pytest.raises(BusyError), held(place):
            pass
    with held(place):
        pass
    assert not list(tmp_path.iterdir())


def test_processes_that_wait_take_turns(tmp_path):
    place = tmp_path / "count"
    place.write_text("0", encoding="utf-8")
    running = [subprocess.Popen([sys.executable, "-c", COUNTER, str(place)]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert place.read_text(encoding="utf-8") == "200"
    assert list(tmp_path.iterdir()) == [place]
