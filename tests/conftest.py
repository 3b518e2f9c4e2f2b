"""Shared by all tests: two CPU devices, empty data directories, and a small dataset of real Hopper steps."""

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

# Tests compile the same small programs over and over: once is enough for all processes of a run, those they start too.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="moorl-jax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import numpy as np
import pytest

jax.config.update("jax_platforms", "cpu")  # what these tests compare bit for bit, an accelerator may round
jax.config.update("jax_num_cpu_devices", 2)

from moorl_jax.data import Dataset, Rows, plans, recipe
from moorl_jax.data.sources import d4rl
from moorl_jax.errors import NotAvailableError
from moorl_jax.tasks import camera, find, make_environment

POLICIES = os.environ.get("MOORL_POLICIES")


@pytest.fixture(autouse=True)
def _no_data_at_hand(tmp_path_factory, monkeypatch):
    """Keep tests from reading, or writing into, the user's own datasets, and from asking D4RL's server."""
    monkeypatch.setattr(d4rl, "answers", lambda: False)
    empty = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("MOORL_DATA_DIR", str(empty / "moorl"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(empty / "d4rl"))
    monkeypatch.setenv("VD4RL_DATASET_DIR", str(empty / "vd4rl"))
    monkeypatch.setenv("OGBENCH_DATASET_DIR", str(empty / "ogbench"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(empty / "minari"))
    monkeypatch.delenv("MOORL_POLICIES", raising=False)


@pytest.fixture(autouse=True)
def _few_programs_left_over():
    """Let go of compiled programs: each keeps memory mapped, and Linux lets a process map 65,530 pieces."""
    yield
    mapped = Path("/proc/self/maps")
    if mapped.exists() and mapped.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture
def _heard():
    """Let the programs that a test starts hear signals, which this run may ignore: in the background, or by nohup."""
    ignored = {number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN}
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session")
def policies():
    """The directory of trained policies, where this machine has one."""
    if not POLICIES or not Path(POLICIES).is_dir():
        pytest.skip("no directory of trained policies: set MOORL_POLICIES to run this")
    return Path(POLICIES)


@pytest.fixture
def _can_render():
    try:
        with camera.Camera(find("hopper"), make_environment(find("hopper"))):
            pass
    except NotAvailableError as error:
        pytest.skip(f"films need a machine that can render: {error}")


@pytest.fixture
def walker(tmp_path):
    """A directory with a policy of the shape of D4RL's ant, that stands still."""
    sizes, arrays = {"fc0": (256, 29), "fc1": (256, 256)}, {}
    for name, shape in sizes.items():
        arrays |= {f"{name}.weight": np.zeros(shape, np.float32), f"{name}.bias": np.zeros(shape[0], np.float32)}
    for name in ("last_fc", "last_fc_log_std"):
        arrays |= {f"{name}.weight": np.zeros((8, 256), np.float32), f"{name}.bias": np.full(8, -1.0, np.float32)}
    (tmp_path / "antmaze").mkdir()
    np.savez(tmp_path / "antmaze/ant_hierarch_pol_actor.npz", **arrays)
    return tmp_path


@pytest.fixture(scope="session")
def hopper():
    return find("hopper-medium-v2")


@pytest.fixture(scope="session")
def hopper_rows(hopper):
    """Two thousand steps of the embedded policy."""
    actor, _ = plans.embedded(hopper)[0]
    columns = recipe.roll_out(hopper, actor, 2000, (0,))
    return Rows(**{key: value for key, value in columns.items() if not key.startswith("infos/")})


@pytest.fixture(scope="session")
def hopper_data(hopper, hopper_rows):
    return Dataset(hopper, "embedded", hopper_rows, hopper_rows.fingerprint())


@pytest.fixture
def rng():
    return np.random.default_rng(0)
