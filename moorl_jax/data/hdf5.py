"""Files in D4RL's HDF5 layout: reading them with every fault named, writing them whole or not at all."""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from moorl_jax.data import publishing
from moorl_jax.data.rows import Rows, as_flags, as_float32, require_memory
from moorl_jax.errors import DatasetError, one_line

FLAGS = ("terminals", "timeouts")
COLUMNS = ("rewards", *FLAGS)  #: what D4RL may store as (N, 1)
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
SMALLEST_USER_BLOCK = 512  #: bytes before the signature; others are twice, four times, ... as long
MOST_LINKS = 16  #: followed from a key to what it names, as HDF5 itself does


def read(path: Path) -> Rows:
    """Read a file of D4RL's layout.

    Raises DatasetError, with the file, the key and a remedy, when it is not HDF5, is truncated, lacks a key, or does
    not itself hold what it names: nothing outside it is ever read.
    """
    with opened(path) as file:
        optional = [key for key in ("timeouts", "next_observations") if find(file, key, path) is not None]
        arrays = {
            key: (_flags if key in FLAGS else _numbers)(file, key, path)
            for key in ("observations", "actions", "rewards", "terminals", *optional)
        }
        return Rows(timeouts=arrays.pop("timeouts", None), **arrays)


def count(path: Path) -> int:
    """Return how many rows a file of D4RL's layout has, of which none is read; raise DatasetError as `read` does."""
    with opened(path) as file:
        return len(dataset(file, "rewards", path, "D4RL's"))


def note(path: Path, name: str) -> str | None:
    """Return the file's text `metadata/<name>`, None where there is none; raise DatasetError as `read` does."""
    key = f"metadata/{name}"
    with opened(path) as file:
        found = find(file, key, path)
        if not isinstance(found, h5py.Dataset):
            return None
        _require_stored(found, key, path)
        return found.asstr()[()] if found.shape == () and h5py.check_string_dtype(found.dtype) else None


def find(file: h5py.File, key: str, path: Path) -> h5py.Group | h5py.Dataset | None:
    """Return what the file itself holds under the key, None where that is nothing.

    Raises DatasetError where the way there leads through a link to another file.
    """
    place, parts, followed = file["/"], key.split("/"), 0
    while parts:
        part = parts.pop(0).encode()
        if not isinstance(place, h5py.Group) or not place.id.links.exists(part):
            return None
        kind = place.id.links.get_info(part).type
        if kind == h5py.h5l.TYPE_SOFT and followed < MOST_LINKS:
            followed += 1
            target = place.id.links.get_val(part).decode()
            place = file["/"] if target.startswith("/") else place
            parts = [step for step in target.split("/") if step not in ("", ".")] + parts
        elif kind == h5py.h5l.TYPE_HARD:
            place = place[part]
        else:
            raise DatasetError(
                f"{path}: '{key}' is a link that leads out of the file or in a circle; store its values in the file"
            )
    return place


def require_own(path: Path) -> None:
    """Raise DatasetError unless the file itself holds whole all that it names, and memory has room for it."""
    with opened(path) as file:
        names: list[str] = []
        file.visititems_links(lambda name, _: names.append(name))
        found = {name: find(file, name, path) for name in names}
        arrays = {name: data for name, data in found.items() if isinstance(data, h5py.Dataset)}
        for name, data in arrays.items():
            _require_stored(data, name, path)
        require_memory(sum(data.nbytes for data in arrays.values()), f"{path}: it takes", "make a smaller file of it")


def dataset(file: h5py.File, key: str, path: Path, layout: str) -> h5py.Dataset:
    """Return an array of numbers that the file itself holds whole, not read yet; `layout` says whose file it is."""
    found, not_theirs = find(file, key, path), f"this is not a file of {layout} layout"
    if found is None:
        there = one_line(", ".join(sorted(file)) or "nothing")
        raise DatasetError(f"{path}: the key '{key}' is missing (found: {there}); {not_theirs}")
    if isinstance(found, h5py.Dataset):
        _require_stored(found, key, path)
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiub" or found.ndim == 0:
        raise DatasetError(f"{path}: '{key}' is not an array of numbers; {not_theirs}")
    return found


def _require_stored(data: h5py.Dataset, key: str, path: Path) -> None:
    """Raise DatasetError unless the file itself holds the whole array, in a form that can be read and has room."""
    made = data.id.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL or made.get_external_count():
        raise DatasetError(f"{path}: '{key}' is stored in other files; store its values in the file")
    for number, _, _, name in (made.get_filter(position) for position in range(made.get_nfilters())):
        if not h5py.h5z.filter_avail(number):
            raise DatasetError(
                f"{path}: '{key}' is compressed by the filter {name.decode() or number}, which this HDF5 library "
                "lacks; compress it by gzip instead (h5repack -f GZIP=1)"
            )
    shape, size = data.shape or (), data.dtype.itemsize
    if data.chunks:
        size *= math.prod(data.chunks)
        pieces = math.prod(-(-length // chunk) for length, chunk in zip(shape, data.chunks, strict=True))
        whole = data.id.get_num_chunks() >= pieces
    else:
        pieces = math.prod(shape)
        whole = data.id.get_storage_size() >= pieces * size
    if not whole:
        raise DatasetError(
            f"{path}: '{key}' has {shape} numbers, not all of which were written; fetch or make it again"
        )
    require_memory(pieces * size, f"{path}: '{key}' takes", "make a smaller file of it")


def _values(file: h5py.File, key: str, path: Path) -> np.ndarray:
    """Return one array, whatever its numeric type; a column of scalars as a vector, as D4RL stores some."""
    values: np.ndarray = dataset(file, key, path, "D4RL's")[()]
    return values[:, 0] if key in COLUMNS and values.ndim == 2 and values.shape[1] == 1 else values


def _numbers(file: h5py.File, key: str, path: Path) -> np.ndarray:
    return as_float32(_values(file, key, path), f"{path}: '{key}'")


def _flags(file: h5py.File, key: str, path: Path) -> np.ndarray:
    return as_flags(_values(file, key, path), f"{path}: '{key}'")


def is_hdf5(path: Path) -> bool:
    """Tell whether a file holds HDF5's signature, at its beginning or after a user block."""
    size, begin = path.stat().st_size, 0
    with path.open("rb") as file:
        while begin < size:
            file.seek(begin)
            if file.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                return True
            begin = 2 * begin or SMALLEST_USER_BLOCK
    return False


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading; whatever goes wrong until it is closed becomes a DatasetError that names the cause."""
    try:
        if not path.is_file():
            raise DatasetError(f"{path}: no such file")
        if not is_hdf5(path):
            with path.open("rb") as start:
                page = b"<" in start.read(512)
            looks = "an HTML page, perhaps an error page saved under this name" if page else "something else"
            raise DatasetError(f"{path}: not an HDF5 file but {looks}; move it away, then fetch or make it again")
        with h5py.File(path, "r") as file:
            yield file
    except DatasetError:
        raise
    except PermissionError as error:
        raise DatasetError(f"{path}: may not be read by this user; change its permissions") from error
    except Exception as error:  # h5py raises errors of many kinds over bad bytes
        if "lock file" in str(error):
            cause = (
                "another process holds HDF5's lock, for it is writing the file; wait for it, or set "
                "HDF5_USE_FILE_LOCKING=FALSE where the file system has no locks"
            )
        else:
            cause = f"truncated or damaged ({one_line(error)}); move it away, then fetch or make it again"
        raise DatasetError(f"{path}: {cause}") from error


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
