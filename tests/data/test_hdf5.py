import contextlib

import h5py
import numpy as np
import pytest

from moorl_jax.data import hdf5
from moorl_jax.errors import DatasetError


@pytest.fixture
def file(tmp_path, hopper_rows):
    path = tmp_path / "hopper.hdf5"
    hdf5.write(path, hopper_rows, {"infos/qpos": np.zeros((2000, 6), np.float32), "metadata/algorithm": "test"})
    return path


def test_what_is_written_is_read(file, hopper_rows):
    assert hdf5.read(file).fingerprint() == hopper_rows.fingerprint()
    assert not list(file.parent.glob("*.partial"))


def test_the_layout_is_d4rls(file):
    with h5py.File(file) as opened:
        assert {"observations", "actions", "rewards", "terminals", "timeouts", "infos", "metadata"} <= set(opened)
        assert opened["observations"].dtype == np.float32
        assert opened["terminals"].dtype == bool
        assert opened["observations"].compression == "gzip"


def soft_links(path, arrays):
    with h5py.File(path, "w") as file:
        for name, value in arrays.items():
            file[f"data/{name}"] = value
            file[name] = h5py.SoftLink(f"data/{name}" if name == "rewards" else f"/data/{name}")


def saved(opening=None, convert=lambda value: value, **filters):
    def save(path, arrays):
        with h5py.File(path, "w", **(opening or {})) as file:
            for name, value in arrays.items():
                file.create_dataset(name, data=convert(value), **filters)

    return save


@pytest.mark.parametrize(
    "save",
    [
        pytest.param(saved({"userblock_size": 512}), id="user block"),
        pytest.param(saved({"userblock_size": 4096}), id="longer user block"),
        pytest.param(saved({"libver": "latest"}), id="latest format"),
        pytest.param(saved(compression="lzf", shuffle=True, fletcher32=True), id="other filters"),
        pytest.param(saved(chunks=True, maxshape=None), id="resizable"),
        pytest.param(saved(convert=lambda v: v.astype(v.dtype if v.dtype == bool else np.float64)), id="float64"),
        pytest.param(saved(convert=lambda v: v.astype(v.dtype.newbyteorder(">"))), id="big-endian"),
        pytest.param(soft_links, id="links within the file"),
    ],
)
def test_other_forms_of_hdf5_are_read(save, tmp_path, hopper_rows):
    save(tmp_path / "x.hdf5", hopper_rows.arrays())
    assert hdf5.read(tmp_path / "x.hdf5").fingerprint() == hopper_rows.fingerprint()


def test_columns_of_rewards_and_flags_are_flattened(file, hopper_rows):
    with h5py.File(file, "r+") as opened:
        rewards = opened["rewards"][()]
        del opened["rewards"]
        opened["rewards"] = rewards[:, None]
    assert hdf5.read(file).fingerprint() == hopper_rows.fingerprint()


def test_time_outs_and_next_observations_may_be_missing(file):
    with h5py.File(file, "r+") as opened:
        del opened["timeouts"], opened["next_observations"]
    rows = hdf5.read(file)
    assert rows.timeouts is None
    assert rows.next_observations is None


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_never_a_traceback(file, seed):
    whole = bytearray(file.read_bytes())
    rng = np.random.default_rng(seed)
    for position in rng.integers(8, min(len(whole), 6000), 30):
        whole[position] = rng.integers(256)
    file.write_bytes(bytes(whole))
    with contextlib.suppress(DatasetError):
        hdf5.read(file)


def test_damaged_bytes_inside_are_named(file):
    whole = bytearray(file.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 4000] = b"\xff" * 4000
    file.write_bytes(bytes(whole))
    with pytest.raises(DatasetError, match=r"hopper\.hdf5"):
        hdf5.read(file)


def test_a_failed_write_leaves_nothing(tmp_path, hopper_rows):
    with pytest.raises(TypeError):
        hdf5.write(tmp_path / "x.hdf5", hopper_rows, {"infos/bad": object()})
    assert list(tmp_path.iterdir()) == []
