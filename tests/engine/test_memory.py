"""What a training holds in memory besides the frames of its dataset, in processes of their own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moorl_jax.data import filming, sources
from moorl_jax.data.image_files import FIRST, LAST, MIDDLE
from moorl_jax.tasks import find

TASK = find("vd4rl-cheetah_run-medium")
FRAME = 84 * 84 * 3

# Of its children a process knows but the largest, so each training has a parent of its own.
PARENT = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write(root, episodes, monkeypatch):
    """Write episodes of one grey each, ten a file."""
    monkeypatch.setenv("VD4RL_DATASET_DIR", str(root))
    folder = sources.find(TASK, "vd4rl").place
    folder.mkdir(parents=True)
    kinds = np.full(TASK.horizon + 1, MIDDLE)
    kinds[0], kinds[-1] = FIRST, LAST
    ones = np.ones(len(kinds), np.float32)
    columns = {
        "action": np.zeros((len(kinds), TASK.action_size), np.float32),
        "reward": ones,
        "discount": ones,
        "is_first": kinds == FIRST,
        "is_last": kinds == LAST,
    }
    for done in range(10, episodes + 1, 10):
        greys = [np.full((len(kinds), 84, 84, 3), done - 10 + each, np.uint8) for each in range(10)]
        filming.write(folder, [{"image": grey} | columns for grey in greys], done)


@pytest.mark.slow
def test_a_hundred_thousand_frames_take_little_more_memory_than_themselves(tmp_path, monkeypatch):
    """At most a tenth more, for two seeds of DrQ+BC; what else they need, a dataset of 5,010 frames needs too."""
    moorl_jax = Path(sys.executable).with_name("moorl-jax")
    spend = "--source vd4rl --updates 2 --seeds 2 --episodes 1"
    peaks = {}
    for episodes in (10, 200):
        write(tmp_path / f"of {episodes}", episodes, monkeypatch)
        command = [moorl_jax, "train", "--agent", "drq_bc", "--task", TASK.name, *spend.split()]
        parent = [sys.executable, "-c", PARENT, *command, "--out", tmp_path / f"result of {episodes}"]
        peaks[episodes] = int(subprocess.run(parent, check=True, capture_output=True, text=True).stdout)
    frames = 190 * 501 * FRAME
    assert 0.9 * frames < peaks[200] - peaks[10] < 1.1 * frames
