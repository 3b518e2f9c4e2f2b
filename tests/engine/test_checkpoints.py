import os
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pandas as pd
import pytest

from moorl_jax.data import hdf5, recipe, sources
from moorl_jax.engine import checkpoints as module
from moorl_jax.engine import results
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.errors import MoorlError

IDENTITY = {"task": "hopper", "seeds": (0, 1), "plan": {"updates": 3}}
ARRAYS = {"state['kernel']": np.arange(6, dtype=np.float32).reshape(2, 3), "phase": np.array(2)}


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def keeper(tmp_path, warnings):
    return Checkpoints(tmp_path / "run", IDENTITY, warnings.append)


def number(arrays):
    return {**ARRAYS, "phase": np.array(arrays)}


def test_what_is_saved_comes_back(keeper, tmp_path):
    assert keeper.latest() is None
    keeper.save(5, ARRAYS, {"curves": [{"score": [0.1, float("nan")]}]})
    arrays, record = Checkpoints(tmp_path / "run", IDENTITY, pytest.fail).latest()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], value)
        assert arrays[name].dtype == value.dtype
    assert record["curves"][0]["score"][0] == 0.1


def test_the_last_two_are_kept(keeper, tmp_path):
    for progress in (3, 20, 100):
        keeper.save(progress, number(progress), {})
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == ["00000020", "00000100"]
    assert keeper.latest()[0]["phase"] == 100


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "no checksums"])
def test_a_damaged_one_is_named_and_the_one_before_used(keeper, tmp_path, warnings, damage):
    keeper.save(1, number(1), {})
    keeper.save(2, number(2), {})
    last = tmp_path / "run" / "00000002"
    biggest = max((path for path in last.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(biggest.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        biggest.write_bytes(content)
    elif damage == "cut":
        biggest.write_bytes(content[:-10])
    elif damage == "missing":
        shutil.rmtree(last / "arrays")
    else:
        (last / module.CHECKSUMS).unlink()
    assert keeper.latest()[0]["phase"] == 1
    assert len(warnings) == 1
    assert "00000002 is damaged" in warnings[0]
    keeper.save(2, number(2), {})  # the run comes by again
    assert keeper.latest()[0]["phase"] == 2


def test_one_that_cannot_be_read_just_now_is_not_deleted(keeper, monkeypatch):
    keeper.save(1, number(1), {})
    keeper.save(2, number(2), {})
    monkeypatch.setattr(module.ocp.StandardCheckpointer, "restore", _raise(OSError("too many open files")))
    with pytest.raises(OSError, match="too many open files"):
        keeper.latest()
    monkeypatch.undo()
    assert keeper.latest()[0]["phase"] == 2


def _raise(error):
    def raising(*_args):
        raise error

    return raising


def test_a_save_that_is_interrupted_leaves_the_one_before(keeper, monkeypatch):
    keeper.save(1, number(1), {})

    monkeypatch.setattr(module, "_checksums", _raise(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        keeper.save(2, number(2), {})
    monkeypatch.undo()
    assert keeper.latest()[0]["phase"] == 1


def test_another_trainings_checkpoints_are_refused(keeper, tmp_path):
    with pytest.raises(MoorlError, match="another training, which differs in plan, seeds"):
        Checkpoints(tmp_path / "run", {**IDENTITY, "seeds": (0,), "plan": {"updates": 4}}, print)


def test_killed_at_any_moment_a_run_ends_as_if_it_had_never_stopped(tmp_path, hopper, hopper_rows):
    """SIGKILL, several times, offline and online: the same curves and states, bit for bit."""
    hdf5.write(
        sources.file_of(hopper, "embedded"), hopper_rows, {"metadata/version": str(recipe.VERSIONS["locomotion"])}
    )

    def command(out):
        words = (
            "train --agent td3_bc --task hopper-medium-v2 --source embedded --seeds 2 --updates 3000 --env-steps 400 "
            f"--evaluate-every 500 --evaluate-every-steps 50 --episodes 1 --checkpoint-seconds 0 --out {out}"
        )
        return [sys.executable, "-m", "moorl_jax", *words.split(), "--set", "hidden=(16, 16)"]

    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(command(tmp_path / "straight"), check=True, env=environment, capture_output=True)
    running, found = results.running(tmp_path / "killed"), []
    for least, patience in ((0, 0.0), (0, 0.3), (3_000, 0.1)):  # checkpoints above 3,000 are online
        process = subprocess.Popen(command(tmp_path / "killed"), env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 200
        while process.poll() is None and time.monotonic() < deadline:
            numbers = sorted(int(path.name) for path in running.glob("0*") if path.name.isdigit())
            if numbers and numbers[-1] > max([least, *found]):
                time.sleep(patience)  # into the next part, or the midst of writing
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
        found.append(numbers[-1])
    assert found[-1] > 3_000
    subprocess.run(command(tmp_path / "killed"), check=True, env=environment, capture_output=True)
    assert not running.exists()
    straight, killed = (results.read(tmp_path / name) for name in ("straight", "killed"))
    columns = [column for column in straight.curves if column != "seconds"]
    pd.testing.assert_frame_equal(killed.curves[columns], straight.curves[columns], check_exact=True)
    states = [results.load_states(result)[2] for result in (straight, killed)]
    jax.tree.map(np.testing.assert_array_equal, *states)
