"""Files in D4RL's HDF5 layout: reading them with every fault named, writing them whole or not at all."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from moorl_jax.data import publishing
from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError

COLUMNS = ("rewards", "terminals", "timeouts")  #: what D4RL may store as (N, 1)
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def read(path: Path) -> Rows:
    """Read a file of D4RL's layout.

    Raises DatasetError, with the file, the key and a remedy, when it is not HDF5, is truncated, or lacks a key.
    """
    with _opened(path) as file:
        arrays: dict[str, np.ndarray | None] = {
            key: _numbers(file, key, path) for key in ("observations", "actions", "rewards")
        }
        arrays["terminals"] = _flags(file, "terminals", path)
        arrays["timeouts"] = _flags(file, "timeouts", path) if "timeouts" in file else None
        has_next = "next_observations" in file
        arrays["next_observations"] = _numbers(file, "next_observations", path) if has_next else None
        return Rows(**arrays)  # type: ignore[arg-type]


def note(path: Path, name: str) -> str | None:
    """Return the file's text `metadata/<name>`, None where there is none; raise DatasetError as `read` does."""
    with _opened(path) as file:
        key = f"metadata/{name}"
        return file[key].asstr()[()] if key in file else None


def _array(file: h5py.File, key: str, path: Path) -> np.ndarray:
    """Return one array, whatever its numeric type; a column of scalars as a vector, as D4RL stores some."""
    if key not in file:
        there = ", ".join(sorted(file)) or "nothing"
        raise DatasetError(f"{path}: the key '{key}' is missing (found: {there}); this is not a file of D4RL's layout")
    if not isinstance(file[key], h5py.Dataset) or file[key].dtype.kind not in "fiub" or file[key].ndim == 0:
        raise DatasetError(f"{path}: '{key}' is not an array of numbers; this is not a file of D4RL's layout")
    values = file[key][()]
    return values[:, 0] if key in COLUMNS and values.ndim == 2 and values.shape[1] == 1 else values


def _numbers(file: h5py.File, key: str, path: Path) -> np.ndarray:
    return _array(file, key, path).astype(np.float32, copy=False)


def _flags(file: h5py.File, key: str, path: Path) -> np.ndarray:
    values = _array(file, key, path)
    if not np.isin(values, (0, 1)).all():
        raise DatasetError(f"{path}: '{key}' holds other values than 0 and 1; fetch or make the dataset again")
    return values.astype(bool)


def is_hdf5(path: Path) -> bool:
    """Tell whether a file begins as HDF5 does."""
    with path.open("rb") as file:
        return file.read(len(HDF5_MAGIC)) == HDF5_MAGIC


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise DatasetError(f"{path}: no such file")
    if not is_hdf5(path):
        with path.open("rb") as start:
            page = b"<" in start.read(512)
        looks = "an HTML page, perhaps an error page saved under this name" if page else "something else"
        raise DatasetError(f"{path}: not an HDF5 file but {looks}; delete it and download it again")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DatasetError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # all that h5py raises over bad bytes
        raise DatasetError(
            f"{path}: the file is truncated or damaged ({error}); delete it and download it again"
        ) from error


def write(path: Path, rows: Rows, extra: dict[str, np.ndarray | str]) -> None:
    """Write rows in D4RL's layout, `extra` beside them under its own keys; the file appears whole or not at all.

    Raises StorageError where it cannot be written.
    """
    columns = {**rows.arrays(), **extra}
    memory = io.BytesIO()  # where a disk is full, HDF5 writing to it would take the interpreter down
    with h5py.File(memory, "w") as file:
        for key, value in columns.items():
            if isinstance(value, str):
                file[key] = value
            else:
                # Level 1 of gzip: D4RL's filter at a fifth of its time.
                file.create_dataset(key, data=value, compression="gzip", compression_opts=1)
    content = memory.getbuffer()
    with publishing.published(path, len(content)) as partial:
        with publishing.storing(path, len(content)):
            partial.write_bytes(content)
        with h5py.File(partial, "r") as file:
            for key, value in columns.items():
                if file[key].shape != np.shape(value):
                    raise DatasetError(f"{path}: '{key}' was written as {file[key].shape}, not {np.shape(value)}")
