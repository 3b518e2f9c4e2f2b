"""The original D4RL files: where they lie on this machine, and how to get them."""

import csv
import functools
import http.client
import os
import urllib.request
from pathlib import Path

from moorl_jax.data.hdf5 import is_hdf5
from moorl_jax.errors import DatasetError
from moorl_jax.tasks import Task
from moorl_jax.types import Progress

SERVER = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
PATIENCE = 10.0  #: seconds without a byte after which a download is given up
KNOWN = Path(__file__).with_name("d4rl_files.csv")


def file_of(task: Task) -> Path:
    """Return where D4RL's file of the task lies or would lie: D4RL's own cache directory."""
    folder = os.environ.get("D4RL_DATASET_DIR") or Path.home() / ".d4rl" / "datasets"
    return Path(folder) / Path(task.datasets["d4rl"]).name


def is_theirs(task: Task) -> bool:
    """Tell whether the file that lies there has the size of D4RL's own; where that is not known, its name must do."""
    known = [row for url, row in _known().items() if url.endswith(f"/{task.datasets['d4rl']}")]
    return not known or file_of(task).stat().st_size == int(known[0]["bytes"])


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


@functools.cache
def _known() -> dict[str, dict[str, str]]:
    """Return what is known of files that the server has, by URL: their size in `bytes` and their `sha256`.

    Source: TensorFlow Datasets, `tensorflow_datasets/d4rl/*/checksums.tsv`, which lacks Kitchen's, relocate's and
    those of antmaze-medium-play.
    """
    with KNOWN.open(encoding="utf-8", newline="") as file:
        return {row["url"]: row for row in csv.DictReader(file)}
