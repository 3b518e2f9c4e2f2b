"""V-D4RL's files (Lu et al. 2022, arXiv 2206.04779): where they lie, and the readers of both layouts.

At 64 pixels each episode is a compressed npz, frames (rows, height, width, channels); at 84 pixels shards of several
episodes are HDF5, frames (rows, channels, height, width). A row holds a frame and the action that led to it.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import h5py
import numpy as np

from moorl_jax.data.folders import kept_in
from moorl_jax.data.frames import Frames, room
from moorl_jax.errors import DatasetError
from moorl_jax.tasks import Task
from moorl_jax.types import Progress

MIRROR = "https://huggingface.co/datasets/conglu/vd4rl"
FIRST, MIDDLE, LAST = 0, 1, 2  #: step types
AT_ONCE = 1024  #: frames that are turned from channels first to channels last at a time


def folder_of(task: Task) -> Path:
    """Return where V-D4RL's files of the task lie or would lie."""
    return kept_in("VD4RL_DATASET_DIR", ".vd4rl") / task.datasets["vd4rl"]


def files(folder: Path) -> list[Path]:
    """Return the files of a dataset in order, none where there are none."""
    return sorted([*folder.glob("*.npz"), *folder.glob("*.hdf5")])


def read(folder: Path, progress: Progress | None = None) -> Frames:
    """Read all files of a folder, each frame into its place at once, so that frames are in memory but once.

    Raises DatasetError, with the file and a remedy, where one is missing, truncated or of another layout.
    """
    found = files(folder)
    if not found:
        raise DatasetError(f"{folder}: there are no .npz or .hdf5 files; get them from {MIRROR}")
    small = [_columns(path) for path in found]
    joined = {name: np.concatenate([each[name] for each in small]) for name in small[0]}
    frames: np.ndarray | None = None
    done = 0
    for path, each in zip(found, small, strict=True):
        count, filled = len(each["rewards"]), 0
        for begin, images in _images(path):
            if frames is None:
                frames = room((len(joined["rewards"]), *images.shape[1:]))
            if images.dtype != np.uint8:
                raise DatasetError(f"{path}: its frames are {images.dtype}, not bytes; this is not V-D4RL's layout")
            if images.shape[1:] != frames.shape[1:] or begin + len(images) > count:
                raise DatasetError(
                    f"{path}: frames have shape {images.shape} where {frames.shape[1:]} came before and there are "
                    f"{count} rows; the files are not of one dataset"
                )
            frames[done + begin : done + begin + len(images)] = images
            filled += len(images)
        if filled != count:
            raise DatasetError(f"{path}: there are {filled} frames for {count} rows; fetch the file again")
        done += count
        if progress:
            progress(done, len(joined["rewards"]))
    assert frames is not None
    return Frames(frames, **joined)


def _columns(path: Path) -> dict[str, np.ndarray]:
    """Return all of a file but its frames."""
    names = {"actions": "action", "rewards": "reward", "discounts": "discount"}
    with _opened(path) as file:
        columns = {ours: _array(file, theirs, path).astype(np.float32) for ours, theirs in names.items()}
        if path.suffix == ".npz":
            columns["firsts"] = _array(file, "is_first", path).astype(bool)
        else:
            columns["firsts"] = _array(file, "step_type", path) == FIRST
    columns = {name: value if name == "actions" else value.reshape(-1) for name, value in columns.items()}
    counts = {len(value) for value in columns.values()}
    if len(counts) > 1:
        raise DatasetError(f"{path}: the columns have different lengths, {sorted(counts)}; fetch the file again")
    if not columns["firsts"][:1].all():
        raise DatasetError(f"{path}: its first row does not begin an episode; fetch the file again")
    # Nothing led to an episode's first frame, whatever a file holds there; dm_control itself has no reward then.
    for name, nothing in (("actions", 0.0), ("rewards", 0.0), ("discounts", 1.0)):
        columns[name][columns["firsts"]] = nothing
    return columns


def _images(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (row, frames) of a file, channels last."""
    with _opened(path) as file:
        if path.suffix == ".npz":
            yield 0, _array(file, "image", path)
            return
        for begin in range(0, len(file["reward"]), AT_ONCE):
            frames = _array(file, "observation", path, slice(begin, begin + AT_ONCE))
            yield begin, frames.transpose(0, 2, 3, 1)


def _array(file: Any, key: str, path: Path, rows: Any = ()) -> np.ndarray:
    if key not in file:
        there = ", ".join(sorted(file)) or "nothing"
        raise DatasetError(f"{path}: the key '{key}' is missing (found: {there}); this is not V-D4RL's layout")
    values: np.ndarray = file[key][rows]
    return values


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file of either kind; every fault of reading it is named."""
    try:
        with np.load(path, allow_pickle=False) if path.suffix == ".npz" else h5py.File(path, "r") as file:
            yield file
    except DatasetError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DatasetError(
            f"{path}: the file is truncated or damaged ({error}); delete it and fetch it again"
        ) from error
