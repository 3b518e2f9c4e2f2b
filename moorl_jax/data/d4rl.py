"""The original D4RL files: where they lie on this machine, and how to get them."""

import http.client
import os
import urllib.request
from pathlib import Path

from moorl_jax.data.folders import kept_in
from moorl_jax.data.hdf5 import is_hdf5
from moorl_jax.errors import DatasetError
from moorl_jax.tasks import Task
from moorl_jax.types import Progress

SERVER = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
PATIENCE = 10.0  #: seconds without a byte after which a download is given up


def file_of(task: Task) -> Path:
    """Return where D4RL's file of the task lies or would lie: D4RL's own cache directory."""
    return kept_in("D4RL_DATASET_DIR", ".d4rl", "datasets") / Path(task.datasets["d4rl"]).name


def download(task: Task, progress: Progress | None = None) -> Path:
    """Download D4RL's file of the task and return its path; it appears whole or not at all.

    Raises DatasetError within seconds where the server cannot be reached, naming the file and where to put it.
    """
    url, path = f"{SERVER}/{task.datasets['d4rl']}", file_of(task)
    by_hand = f"download it elsewhere and put it at {path}"
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer, partial.open("wb") as file:
            total, done = int(answer.headers.get("Content-Length") or 0), 0
            while chunk := answer.read(1 << 20):
                done += file.write(chunk)
                if progress:
                    progress(done, total)
        if total and done != total:
            raise DatasetError(f"{url}: the connection ended after {done} of {total} bytes; try again, or {by_hand}")
        if not is_hdf5(partial):
            raise DatasetError(f"{url}: the server sent something else than an HDF5 file; {by_hand}")
        os.replace(partial, path)
    except (http.client.HTTPException, OSError) as error:  # urllib's own errors are OSErrors
        raise DatasetError(f"{url}: cannot be downloaded ({error}); {by_hand}") from error
    finally:
        partial.unlink(missing_ok=True)
    return path
