"""Shared by all tests: two CPU devices, empty data directories, and a small dataset of real Hopper steps."""

import os
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

jax.config.update("jax_platforms", "cpu")  # what these tests compare bit for bit, an accelerator may round
jax.config.update("jax_num_cpu_devices", 2)
# Tests compile the same small programs over and over.
jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp(prefix="moorl-jax-tests-"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

from moorl_jax.data import Dataset, Rows, plans, recipe  # noqa: E402  devices are set before JAX starts
from moorl_jax.tasks import find  # noqa: E402

POLICIES = os.environ.get("MOORL_POLICIES")


@pytest.fixture(autouse=True)
def _no_data_at_hand(tmp_path_factory, monkeypatch):
    """Keep tests from reading, or writing into, the user's own datasets."""
    empty = tmp_path_factory.mktemp("data")
    monkeypatch.setenv("MOORL_DATA_DIR", str(empty / "moorl"))
    monkeypatch.setenv("D4RL_DATASET_DIR", str(empty / "d4rl"))
    monkeypatch.setenv("VD4RL_DATASET_DIR", str(empty / "vd4rl"))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(empty / "minari"))
    monkeypatch.delenv("MOORL_POLICIES", raising=False)


@pytest.fixture(autouse=True)
def _few_programs_left_over():
    """Let go of compiled programs: each keeps memory mapped, and Linux lets a process map 65,530 pieces."""
    yield
    mapped = Path("/proc/self/maps")
    if mapped.exists() and mapped.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def policies():
    """The directory of trained policies, where this machine has one."""
    if not POLICIES or not Path(POLICIES).is_dir():
        pytest.skip("no directory of trained policies: set MOORL_POLICIES to run this")
    return Path(POLICIES)


@pytest.fixture(scope="session")
def hopper():
    return find("hopper-medium-v2")


@pytest.fixture(scope="session")
def hopper_rows(hopper):
    """Two thousand steps of the embedded policy."""
    actor, _ = plans.plan(hopper, None, "embedded")[0]
    columns = recipe.roll_out(hopper, actor, 2000, (0,))
    return Rows(**{key: value for key, value in columns.items() if not key.startswith("infos/")})


@pytest.fixture(scope="session")
def hopper_data(hopper, hopper_rows):
    return Dataset(hopper, "embedded", hopper_rows, hopper_rows.fingerprint())


@pytest.fixture
def rng():
    return np.random.default_rng(0)
