import itertools
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
from moorl_jax.engine import results, seals
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.errors import CheckpointsError, MoorlError

IDENTITY = {
    "task": "hopper",
    "agent_config": {"offline": {"tau": 1}},
    "seeds": (0, 1),
    "plan": {"updates": 3},
    "code": "a",
    "versions": {"jax": "1"},
    "backend": {"platform": "cpu", "devices": 2, "cores": 2},
}
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
    saved = Checkpoints(tmp_path / "run", IDENTITY, pytest.fail).latest()
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(saved.arrays[name], value)
        assert saved.arrays[name].dtype == value.dtype
    assert saved.record["curves"][0]["score"][0] == 0.1
    assert (saved.then, saved.now) == ({}, {})


def test_the_last_two_are_kept(keeper, tmp_path):
    for progress in (3, 20, 100):
        keeper.save(progress, number(progress), {})
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.is_dir()) == ["00000020", "00000100"]
    assert keeper.latest().arrays["phase"] == 100


def turn_into_a_directory(path):
    path.unlink()
    path.mkdir()


def turn_into_a_file(path):
    shutil.rmtree(path)
    path.write_bytes(b"a file")


def sealed_anew(name, text):
    def damage(last):
        (last / name).write_text(text, encoding="utf-8")
        seals.seal(last)

    return damage


# What may have happened to the last checkpoint, given its directory.
DAMAGES = {
    "arrays gone": lambda last: shutil.rmtree(last / "arrays"),
    "arrays a file": lambda last: turn_into_a_file(last / "arrays"),
    "record gone": lambda last: (last / "record.json").unlink(),
    "record a directory": lambda last: turn_into_a_directory(last / "record.json"),
    "identity gone": lambda last: (last / "identity.json").unlink(),
    "identity empty": lambda last: (last / "identity.json").write_bytes(b""),
    "identity null": lambda last: (last / "identity.json").write_bytes(b"null"),
    "identity a list": lambda last: (last / "identity.json").write_bytes(b"[]"),
    "identity binary": lambda last: (last / "identity.json").write_bytes(bytes(range(256))),
    "identity a directory": lambda last: turn_into_a_directory(last / "identity.json"),
    "seal gone": lambda last: (last / seals.SEAL).unlink(),
    "seal empty": lambda last: (last / seals.SEAL).write_bytes(b""),
    "seal binary": lambda last: (last / seals.SEAL).write_bytes(bytes(range(256))),
    "seal a directory": lambda last: turn_into_a_directory(last / seals.SEAL),
    "another file": lambda last: (last / "arrays" / "more").write_bytes(b"x"),
    "empty": lambda last: (shutil.rmtree(last), last.mkdir()),
    "a file": turn_into_a_file,
    "identity null, and sealed": sealed_anew("identity.json", "null"),
    "identity cut short, and sealed": sealed_anew("identity.json", "{"),
    "record a list, and sealed": sealed_anew("record.json", "[]"),
    "arrays without their names, and sealed": sealed_anew("arrays/_METADATA", "{}"),
    "a link to nowhere": lambda last: (shutil.rmtree(last), last.symlink_to("nowhere")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_named_and_the_one_before_used(keeper, tmp_path, warnings, damage):
    keeper.save(1, number(1), {})
    keeper.save(2, number(2), {})
    DAMAGES[damage](tmp_path / "run" / "00000002")
    assert keeper.latest().arrays["phase"] == 1
    assert len(warnings) == 1
    assert "00000002 is damaged" in warnings[0]
    assert "\n" not in warnings[0]
    keeper.save(2, number(2), {})  # the run comes by again
    assert keeper.latest().arrays["phase"] == 2


def test_a_flipped_bit_is_found_in_every_file(keeper, tmp_path, warnings):
    keeper.save(1, ARRAYS, {"curves": []})
    for file in [path for path in (tmp_path / "run").rglob("*") if path.is_file()]:
        content = file.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(CheckpointsError, match="holds no whole checkpoint"):
                keeper.latest()
        file.write_bytes(content)
    assert keeper.latest()
    assert not warnings


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_none_is_whole_nothing_is_deleted(keeper, tmp_path, warnings, damage):
    """Hours may lie in what a repaired disk, or an earlier version, can read."""
    keeper.save(2, number(2), {})
    DAMAGES[damage](tmp_path / "run" / "00000002")
    with pytest.raises(
        CheckpointsError, match=r"run holds no whole checkpoint .* move it away to begin anew"
    ) as caught:
        keeper.latest()
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["00000002"]
    assert not warnings


def test_a_file_in_the_place_of_the_directory_is_named(keeper, tmp_path):
    (tmp_path / "run").write_bytes(b"")
    with pytest.raises(CheckpointsError, match="run is no directory of checkpoints; move it away"):
        keeper.latest()


def test_what_a_killed_save_left_is_in_nobodys_way(keeper, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "00000001.partial").write_bytes(b"")
    assert keeper.latest() is None
    keeper.save(1, number(1), {})
    assert keeper.latest().arrays["phase"] == 1


def test_one_that_cannot_be_read_just_now_is_not_deleted(keeper, monkeypatch):
    keeper.save(1, number(1), {})
    keeper.save(2, number(2), {})
    monkeypatch.setattr(module.ocp.StandardCheckpointer, "restore", _raise(OSError("too many open files")))
    with pytest.raises(MoorlError, match="cannot be read, and are left alone: too many open files"):
        keeper.latest()
    monkeypatch.undo()
    assert keeper.latest().arrays["phase"] == 2


def _raise(error):
    def raising(*_args):
        raise error

    return raising


def test_a_save_that_is_interrupted_leaves_the_one_before(keeper, monkeypatch):
    keeper.save(1, number(1), {})

    monkeypatch.setattr(seals, "seal", _raise(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        keeper.save(2, number(2), {})
    monkeypatch.undo()
    assert keeper.latest().arrays["phase"] == 1


@pytest.mark.parametrize("hours", [6, -6])
def test_a_clock_that_is_set_while_a_checkpoint_is_written_does_not_matter(keeper, monkeypatch, hours):
    """Every look at the wall clock finds it hours from the last one; what is saved is whole all the same."""
    now, looks = time.time(), itertools.count()
    monkeypatch.setattr(time, "time", lambda: now + 3600 * hours * next(looks))
    keeper.save(1, number(1), {})
    arrays = keeper.latest().arrays
    for name, value in number(1).items():
        np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"seeds": (0,), "plan": {"updates": 4}},
            "of-other-plan-seeds",
            "another training, which differs in plan.updates, seeds; finish that one by its own command, or move",
        ),
        (
            {"code": "b"},
            "of-other-code",
            "another training, which differs in code; go on from them with --resume-anyway",
        ),
        ({"versions": {"jax": "2"}}, "of-other-versions", "differs in versions.jax; go on from them with"),
        (
            {"agent_config": {"offline": {"tau": 2}}},
            "of-other-agent_config",
            "differs in agent_config.offline.tau; finish that one",
        ),
        ({"agent_config": {"offline": None}}, "of-other-agent_config", "differs in agent_config.offline; finish"),
        ({"task": "ant", "code": "b"}, "of-other-code-task", "differs in code, task; finish that one"),
        (
            {"backend": {"platform": "gpu", "devices": 1, "cores": 9}},
            "of-other-backend",
            "differs in backend.platform; finish",
        ),
    ],
)
def test_another_trainings_checkpoints_are_refused(keeper, tmp_path, changes, kind, message):
    """Copied in, swapped or simply there: whose they are stands in each of them."""
    keeper.save(1, ARRAYS, {})
    with pytest.raises(CheckpointsError, match=message) as caught:
        Checkpoints(tmp_path / "run", IDENTITY | changes, pytest.fail).latest()
    assert caught.value.kind == kind
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["00000001"]


def test_a_checkpoint_swapped_in_is_refused(keeper, tmp_path):
    keeper.save(1, ARRAYS, {})
    Checkpoints(tmp_path / "other", IDENTITY | {"task": "ant"}, pytest.fail).save(2, ARRAYS, {})
    shutil.move(tmp_path / "other" / "00000002", tmp_path / "run")
    with pytest.raises(CheckpointsError, match="differs in task"):
        keeper.latest()


def test_a_directory_without_a_checkpoint_is_nobodys(tmp_path):
    """So a user may mend an agent that raised before its first."""
    Checkpoints(tmp_path / "run", IDENTITY, pytest.fail).latest()
    assert Checkpoints(tmp_path / "run", IDENTITY | {"code": "mended"}, pytest.fail).latest() is None
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "then", "now"),
    [
        ({"code": "b"}, {"code": "a"}, {"code": "b"}),
        ({"versions": {"jax": "2"}}, {"versions.jax": "1"}, {"versions.jax": "2"}),
        ({"plan": {"updates": 3, "added": 1}}, {"plan.added": "(absent)"}, {"plan.added": 1}),
        (
            {"agent_config": {"offline": {"tau": 1, "added": 2}}},
            {"agent_config.offline.added": "(absent)"},
            {"agent_config.offline.added": 2},
        ),
    ],
)
def test_newer_code_goes_on_where_asked_to(keeper, tmp_path, changes, then, now):
    keeper.save(1, ARRAYS, {})
    newer = Checkpoints(tmp_path / "run", IDENTITY | changes, pytest.fail, resume_anyway=True)
    saved = newer.latest()
    assert (saved.then, saved.now) == (then, now)
    newer.save(2, ARRAYS, {})
    assert not newer.latest().then


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ({"devices": 1, "cores": 2}, "backend.devices was 1 and is 2"),
        ({"devices": 4, "cores": 8}, "backend.devices was 4 and is 2, backend.cores was 8 and is 2"),
        ({}, "backend.devices was (absent) and is 2, backend.cores was (absent) and is 2"),  # an earlier version's
    ],
)
def test_on_other_devices_or_cores_it_goes_on_and_says_so(keeper, tmp_path, warnings, then, said):
    Checkpoints(tmp_path / "run", IDENTITY | {"backend": {"platform": "cpu", **then}}, pytest.fail).save(1, ARRAYS, {})
    saved = keeper.latest()
    assert warnings == [f"{tmp_path}/run/00000001: going on from it, but not bit for bit: {said}"]
    assert saved.now == dict.fromkeys(saved.then, 2)
    keeper.save(2, ARRAYS, {})
    assert not keeper.latest().then
    assert len(warnings) == 1


def test_another_training_is_not_resumed_though_asked_to(keeper, tmp_path):
    keeper.save(1, ARRAYS, {})
    with pytest.raises(CheckpointsError, match="differs in code, task"):
        Checkpoints(tmp_path / "run", IDENTITY | {"code": "b", "task": "ant"}, pytest.fail, resume_anyway=True).latest()


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_as_if_it_had_never_stopped(tmp_path, hopper, hopper_rows):
    """SIGKILL, several times, offline and online: the same curves and states, bit for bit."""
    hdf5.write(
        sources.find(hopper, "embedded").place, hopper_rows, {"metadata/version": str(recipe.VERSIONS["locomotion"])}
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
