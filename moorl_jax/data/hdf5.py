"""Files in D4RL's HDF5 layout: reading them with every fault named, writing them whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def read(path: Path) -> Rows:
    """Read a file of D4RL's layout.

    Raises DatasetError, with the file, the key and a remedy, when it is not HDF5, is truncated, or lacks a key.
    """
    with _opened(path) as file:
        arrays: dict[str, np.ndarray | None] = {}
        for key, dtype in {
            "observations": np.float32,
            "actions": np.float32,
            "rewards": np.float32,
            "terminals": bool,
            "timeouts": bool,
            "next_observations": np.float32,
        }.items():
            if key in file:
                if not isinstance(file[key], h5py.Dataset):
                    raise DatasetError(f"{path}: '{key}' is a group, not an array; this is not D4RL's layout")
                arrays[key] = file[key][()].astype(dtype, copy=False)
            elif key in ("timeouts", "next_observations"):
                arrays[key] = None
            else:
                there = ", ".join(sorted(file)) or "nothing"
                raise DatasetError(
                    f"{path}: the key '{key}' is missing (found: {there}); this is not a file of D4RL's layout"
                )
        # D4RL stores some rewards and flags as a column.
        for key in ("rewards", "terminals", "timeouts"):
            value = arrays[key]
            if value is not None and value.ndim == 2 and value.shape[1] == 1:
                arrays[key] = value[:, 0]
        return Rows(**arrays)  # type: ignore[arg-type]


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(512)
    if not start.startswith(HDF5_MAGIC):
        looks = "an HTML page, perhaps an error page saved under this name" if b"<" in start else "something else"
        raise DatasetError(f"{path}: not an HDF5 file but {looks}; delete it and download it again")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        raise DatasetError(
            f"{path}: the file is truncated or damaged ({error}); delete it and download it again"
        ) from error


def write(path: Path, rows: Rows, extra: dict[str, np.ndarray | str]) -> None:
    """Write rows in D4RL's layout, `extra` beside them under its own keys; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with h5py.File(partial, "w") as file:
            for key, value in {**rows.arrays(), **extra}.items():
                if isinstance(value, str):
                    file[key] = value
                else:
                    # Level 1 of gzip: D4RL's filter at a fifth of its time.
                    file.create_dataset(key, data=value, compression="gzip", compression_opts=1)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
