"""Forty kills at random moments: what goes on after them ends as what was never stopped, and nothing is left over."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd
import psutil
import pytest

from moorl_jax.data import hdf5, recipe, sources
from moorl_jax.engine import results
from moorl_jax.engine.extension import LAST
from moorl_jax.engine.results import CHECKPOINT
from tests.test_processes import PATIENCE, STATUS, of_session, words

KILLS = 10
SEED = 0
BY = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": str(Path(__file__).parents[1]),
}
# JAX, killed as it writes to its cache of programs, leaves half of one there: who is to be killed only reads it.
ONLY_READS = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}

TRAIN = (
    "moorl_jax train --task hopper-medium-v2 --source embedded --seeds 2 --episodes 1 --checkpoint-seconds 0 "
    "--set hidden=(16,16) --set batch_size=32 --out result"
)
TRAININGS = {
    "offline, td3_bc": f"{TRAIN} --agent td3_bc --updates 2000",
    "offline, iql": f"{TRAIN} --agent iql --updates 2000",
    "offline-to-online, cal_ql": f"{TRAIN} --agent cal_ql --set critic_hidden=(16,16) --updates 200 --env-steps 200",
    "parallel sweep, td3_bc and iql": (
        "moorl_jax bench --task hopper-medium-v2 --source embedded --seeds 1 --updates 2000 --parallel 2 "
        "--agents small.py:SmallTD3BC,small.py:SmallIQL"
    ),
}

# A sweep writes checkpoints every minute, and changes no field of an agent.
SMALL = """
from moorl_jax.agents import IQL, TD3BC, static
from moorl_jax.engine.together import train_together

train_together.__kwdefaults__["checkpoint_seconds"] = 0


class SmallTD3BC(TD3BC):
    hidden: tuple[int, ...] = static((16, 16))


class SmallIQL(IQL):
    hidden: tuple[int, ...] = static((16, 16))
"""


class Place:
    """A directory that a training runs in and writes to."""

    def __init__(self, directory: Path, command: str):
        self.directory = directory
        self._command = [sys.executable, "-m", *command.split()]
        self.clear()

    def clear(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        (self.directory / "small.py").write_text(SMALL, encoding="utf-8")

    def start(self, **environment):
        """Start the training, or go on with it, in a session of its own."""
        said = (self.directory.parent / "said.txt").open("w", encoding="utf-8")
        return subprocess.Popen(
            self._command,
            cwd=self.directory,
            env={**os.environ, **ENVIRONMENT, **environment},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )

    def said(self):
        return (self.directory.parent / "said.txt").read_text(encoding="utf-8").splitlines()

    def files(self):
        """Return all paths but those of arrays, whose names are of chance."""
        paths = [path.relative_to(self.directory) for path in self.directory.rglob("*")]
        return {path for path in paths if not {CHECKPOINT, "arrays"} & set(path.parts[:-1])}

    def has_checkpoints(self):
        return any(self.directory.rglob("*.running/0*[0-9]"))

    def require_same(self, other: "Place"):
        """Fail unless here are the same files, curves and states as there."""
        assert self.files() == other.files()
        written = [path for path in self.files() if path.name == "provenance.json"]
        assert written
        for path in written:
            here, there = self.directory / path.parent, other.directory / path.parent
            curves = [pd.read_csv(place / "curves.csv").drop(columns="seconds") for place in (here, there)]
            pd.testing.assert_frame_equal(*curves, check_exact=True)
            # `moorl-jax train` keeps the last checkpoint, too.
            kept = [name for name in (CHECKPOINT, f"{LAST}/arrays") if (here / name).exists()]
            for name in kept:
                with ocp.StandardCheckpointer() as checkpointer:
                    states = [checkpointer.restore(place / name) for place in (here, there)]
                jax.tree.map(np.testing.assert_array_equal, *states)


def wait_until_it_heeds(process):
    """Wait out Python's own start, in which signals are still Python's; measured in its time, for ours may be short."""
    spent = psutil.Process(process.pid).cpu_times
    while process.poll() is None and spent().user + spent().system < 0.3:
        time.sleep(0.01)


def has_ended(process, by):
    """Tell whether it had done all when the signal came: Python, as it exits, heeds none, and they kill it."""
    return process.returncode == 0 or (by != signal.SIGKILL and process.returncode == -by)


def end(process, by):
    """Send the signal, as a terminal would, and see that all processes end, a worker once it is done importing."""
    send = os.killpg if by == signal.SIGINT else os.kill
    send(process.pid, by)
    process.wait(PATIENCE)
    assert process.returncode == STATUS[by] or has_ended(process, by)
    deadline = time.monotonic() + 6 * PATIENCE
    while left := of_session(process.pid):
        assert time.monotonic() < deadline, f"still alive: {left}"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize("training", TRAININGS)
def test_killed_at_random_moments_a_training_ends_as_if_never_stopped(tmp_path, hopper, hopper_rows, training):
    notes = {"metadata/version": str(recipe.VERSIONS["locomotion"])}
    hdf5.write(sources.find(hopper, "embedded").place, hopper_rows, notes)
    data = Path(os.environ["MOORL_DATA_DIR"])
    before = set(data.rglob("*"))
    straight, killed = (Place(tmp_path / name, TRAININGS[training]) for name in ("straight", "killed"))
    assert straight.start().wait() == 0, straight.said()

    count = resumed = 0

    def go_on():
        nonlocal resumed
        resumed += killed.has_checkpoints()
        return killed.start(**ONLY_READS)

    def finish():
        process = go_on()
        assert process.wait() == 0, killed.said()
        killed.require_same(straight)
        killed.clear()

    began = time.monotonic()
    finish()
    whole = time.monotonic() - began
    rng = np.random.default_rng([SEED, list(TRAININGS).index(training)])
    while count < KILLS:
        process = go_on()
        wait_until_it_heeds(process)
        after, by = rng.uniform(0, whole), BY[rng.integers(len(BY))]
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            count += 1
            print(f"kill {count} of {KILLS}: {by.name} after {after:.2f} s")  # shown where what follows fails
            end(process, by)
        stopped = not has_ended(process, by)
        if stopped:
            assert process.returncode == STATUS[by], killed.said()
            assert killed.said() == ([] if by == signal.SIGKILL else words(by))
        if not stopped or results.exists(killed.directory / "result"):
            if stopped:  # killed as it ended: a sweep deletes what is left then, and one by hand the user
                shutil.rmtree(results.running(killed.directory / "result"), ignore_errors=True)
            killed.require_same(straight)
            killed.clear()
    finish()
    assert resumed, "no kill came between a checkpoint and the end"
    assert set(data.rglob("*")) == before
