"""Files of images in V-D4RL's two layouts (Lu et al. 2022, arXiv 2206.04779).

At 64 pixels each episode is a compressed npz, frames (rows, height, width, channels); at 84 pixels shards of several
episodes are HDF5, frames (rows, channels, height, width). A row holds a frame and the action that led to it.
"""

import math
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from moorl_jax.data import hdf5
from moorl_jax.data.frames import Frames, allocate
from moorl_jax.data.rows import as_float32, require_memory
from moorl_jax.errors import DatasetError, one_line
from moorl_jax.types import Progress

MIRROR = "https://huggingface.co/datasets/conglu/vd4rl"
FIRST, MIDDLE, LAST = 0, 1, 2  #: step types
NOT_VD4RLS = "this is not V-D4RL's layout"
AT_ONCE = 1024  #: frames that are turned from channels first to channels last at a time


def files(folder: Path) -> list[Path]:
    """Return the files of a dataset in order."""
    return sorted([*folder.glob("*.npz"), *folder.glob("*.hdf5")])


def read(folder: Path, progress: Progress | None = None) -> Frames:
    """Read all files of a folder, each frame straight into its place, so that the frames are in memory only once.

    Raises DatasetError, with the file and a remedy, where one is missing, truncated or of another layout.
    """
    found = files(folder)
    if not found:
        raise DatasetError(f"{folder}: there are no .npz or .hdf5 files; get them from {MIRROR}")
    notes: list[str] = []
    small = [_columns(path, notes) for path in found]
    for path, each in zip(found, small, strict=True):
        if each["actions"].shape[1:] != small[0]["actions"].shape[1:]:
            raise DatasetError(
                f"{path}: its actions are not those of {found[0].name}; the files are not of one dataset"
            )
    joined = {name: np.concatenate([each[name] for each in small]) for name in small[0]}
    frames: np.ndarray | None = None
    done = 0
    for path, each in zip(found, small, strict=True):
        count, filled = len(each["rewards"]), 0
        for begin, images in _images(path):
            if images.dtype != np.uint8:
                raise DatasetError(f"{path}: its frames are {images.dtype}, not bytes; {NOT_VD4RLS}")
            if frames is None:
                frames = allocate((len(joined["rewards"]), *images.shape[1:]))
            if images.shape[1:] != frames.shape[1:] or begin + len(images) > count:
                raise DatasetError(
                    f"{path}: frames have shape {images.shape} where {frames.shape[1:]} came before and there are "
                    f"{count} rows; the files are not of one dataset"
                )
            frames[done + begin : done + begin + len(images)] = images
            filled += len(images)
        if filled != count:
            raise DatasetError(f"{path}: there are {filled} frames for {count} rows; leave the file out")
        done += count
        if progress:
            progress(done, len(joined["rewards"]))
    assert frames is not None
    return Frames(frames, **joined, notes=tuple(notes))


def _columns(path: Path, notes: list[str]) -> dict[str, np.ndarray]:
    """Return all of a file but its frames; what is odd about it is added to the notes.

    V-D4RL published episodes of humanoid_walk whose flags have a row more than all else (conglu1997/v-d4rl, issue 13):
    such an episode lacks its last step.
    """
    names = {"actions": "action", "rewards": "reward", "discounts": "discount"}
    with _opened(path) as array:
        columns = {ours: np.array(as_float32(array(key)[()], f"{path}: '{key}'")) for ours, key in names.items()}
        firsts = array("is_first")[()].astype(bool) if path.suffix == ".npz" else array("step_type")[()] == FIRST
        columns["firsts"] = firsts
    columns = {name: value if name == "actions" else value.reshape(-1) for name, value in columns.items()}
    rows = len(columns["rewards"])
    if path.suffix == ".npz" and len(columns["firsts"]) == rows + 1:
        columns["firsts"] = columns["firsts"][:rows]
        notes.append(f"{path.name}: its flags have {rows + 1} rows, all else has {rows}; the last flag is left out")
    lengths = {name: len(value) for name, value in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"{path}: its columns have different lengths, {lengths}; leave the file out")
    if not columns["firsts"][:1].any():
        raise DatasetError(f"{path}: its first row does not begin an episode; leave the file out")
    # Nothing led to an episode's first frame, whatever a file holds there; dm_control itself has no reward then.
    for name, nothing in (("actions", 0.0), ("rewards", 0.0), ("discounts", 1.0)):
        columns[name][columns["firsts"]] = nothing
    return columns


def _images(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, frames) of a file, channels last."""
    with _opened(path) as array:
        if path.suffix == ".npz":
            yield 0, array("image")[()]
            return
        frames = array("observation")
        if frames.ndim != 4:
            raise DatasetError(f"{path}: 'observation' has shape {frames.shape}; {NOT_VD4RLS}")
        for begin in range(0, len(frames), AT_ONCE):
            yield begin, frames[begin : begin + AT_ONCE].transpose(0, 2, 3, 1)


@contextmanager
def _opened(path: Path) -> Iterator[Callable[[str], Any]]:
    """Open a file of either kind; yield what returns its array of a name, of one dimension at least.

    Whatever goes wrong until it is closed becomes a DatasetError that names the cause.
    """
    if path.suffix == ".hdf5":
        with hdf5.opened(path) as file:
            yield lambda key: hdf5.dataset(file, key, path, "V-D4RL's")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            yield lambda key: _member(archive, key, path)
    except DatasetError:
        raise
    except Exception as error:  # zipfile and NumPy raise errors of many kinds over bad bytes
        raise DatasetError(
            f"{path}: truncated or damaged ({one_line(error)}); move it away, then fetch or make it again"
        ) from error


def _member(archive: zipfile.ZipFile, key: str, path: Path) -> np.ndarray:
    """Return an array of numbers from an npz file, reading no more of it than there is memory for."""
    if f"{key}.npy" not in archive.namelist():
        there = one_line(", ".join(sorted(archive.namelist())).replace(".npy", "") or "nothing")
        raise DatasetError(f"{path}: the key '{key}' is missing (found: {there}); {NOT_VD4RLS}")
    with archive.open(f"{key}.npy") as member:
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(member)]
        shape, columns_first, dtype = read_header(member)
        if dtype.kind not in "fiub" or not shape:
            raise DatasetError(f"{path}: '{key}' is not an array of numbers; {NOT_VD4RLS}")
        size = math.prod(shape) * dtype.itemsize
        stored = archive.getinfo(f"{key}.npy").file_size - member.tell()
        if size != stored:
            raise DatasetError(
                f"{path}: '{key}' of shape {shape} takes {size} bytes, {stored} are stored; leave it out"
            )
        require_memory(size, f"{path}: '{key}' takes", "leave the file out")
        values = np.frombuffer(member.read(size), dtype)
    return values.reshape(shape, order="F" if columns_first else "C")
