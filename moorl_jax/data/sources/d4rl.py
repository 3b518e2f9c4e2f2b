"""The original D4RL files: where they lie on this machine, and how to get them."""

import csv
import functools
import hashlib
import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from moorl_jax.data import hdf5, publishing
from moorl_jax.data.folders import kept_in
from moorl_jax.data.frames import Frames
from moorl_jax.data.rows import Rows
from moorl_jax.data.sources.made import OR_MADE
from moorl_jax.data.sources.source import Getter, InFiles
from moorl_jax.errors import DatasetError
from moorl_jax.types import Progress

SERVER = "https://rail.eecs.berkeley.edu/datasets/offline_rl"
PATIENCE = 10.0  #: seconds without data after which a download is aborted
ASKING = 3.0  #: seconds to wait when checking whether the server is up
LIMIT = 1_000_000_000  #: maximum bytes of a download of unknown size; D4RL's largest file has 748 million
D4RL_FILES = Path(__file__).with_name("d4rl_files.csv")


class D4RL(InFiles):
    """D4RL's file of the task, below D4RL_DATASET_DIR."""

    name = "d4rl"
    made_of = "D4RL's own"

    @property
    def place(self) -> Path:
        """The file, named as D4RL's."""
        return directory() / Path(self.task.datasets[self.name]).name

    @property
    def unavailable(self) -> str:
        """Also unavailable if a different file is already there, which must not be overwritten."""
        if self.is_another():
            wrong = "its size differs from D4RL's file; train on it with --source file, or move it away"
            return f"{self.place}: {wrong}"
        return super().unavailable

    def is_another(self) -> bool:
        """Return whether there is a file at `place` that is not D4RL's, by its size; by its rows where those are known.

        One of the right size is read only if its sha256 is D4RL's, too.
        """
        if self.name not in self.task.datasets or not self.is_here():
            return False
        known = self._listed()
        if known.get("rows"):
            with suppress(DatasetError):  # who reads it says what is wrong
                return hdf5.count(self.place) != int(known["rows"])
            return False
        return bool(known) and self.place.stat().st_size != int(known["bytes"])

    def serves(self) -> bool:
        """Tell whether the file is here or D4RL's server answers."""
        return self.is_here() or answers()

    def authenticity(self) -> str:
        """Compare the file's sha256 with D4RL's, if known; raise DatasetError if it differs."""
        known = self._listed()
        if known.get("rows"):
            return "as many rows as D4RL's; there is no sha256 to check it against"
        if not known.get("sha256"):
            return "D4RL's by name; there is no sha256 to check it against"
        if sha256(self.place) != known["sha256"]:
            raise DatasetError(f"{self.place}: its sha256 is not that of D4RL's own; move it away, then fetch it again")
        return "D4RL's own, byte for byte"

    def read(self, progress: Progress | None) -> Rows | Frames:
        """Read the file; raise DatasetError where it is not D4RL's."""
        self.authenticity()
        return super().read(progress)

    def getter(self) -> Getter:
        """Return the download function; it is atomic: a complete, verified file or none.

        The download raises DatasetError, naming the file, where to put it and whether the data can be made instead,
        where the server cannot be reached, within seconds, or sends anything but this file; StorageError where the
        file cannot be written.
        """
        return self._download

    def _download(self, progress: Progress | None) -> None:
        url, path = f"{SERVER}/{self.task.datasets[self.name]}", self.place
        instead = OR_MADE if "recipe" in self.task.datasets else self.task.no_recipe
        by_hand = "; ".join(filter(None, (f"download it elsewhere and put it at {path}", instead)))
        known = _known().get(url)
        most = int(known["bytes"]) if known and known["bytes"] else LIMIT
        digest, done, total = hashlib.sha256(), 0, 0
        with publishing.published(path, most) as partial:
            with publishing.storing(path, most), partial.open("wb") as file:
                for chunk, total in received(url, by_hand):
                    done += file.write(chunk)
                    digest.update(chunk)
                    if max(done, total) > most:
                        raise DatasetError(f"{url}: the server sends more than {most:,} bytes; {by_hand}")
                    if progress:
                        progress(done, total)
            if total and done != total:
                raise DatasetError(
                    f"{url}: the connection ended after {done} of {total} bytes; try again, or {by_hand}"
                )
            try:
                hdf5.read(partial).check(self.task, str(partial))
            except DatasetError as error:
                wrong = str(error).removeprefix(f"{partial}: ")
                raise DatasetError(f"{url}: what the server sent cannot be used ({wrong}); {by_hand}") from error
            if known and known["sha256"] and digest.hexdigest() != known["sha256"]:
                raise DatasetError(f"{url}: the file the server sent is not D4RL's (sha256 mismatch); {by_hand}")

    def _listed(self) -> dict[str, str]:
        """Return the file's row in D4RL_FILES; nothing where it has none."""
        return next((row for url, row in _known().items() if url.endswith(f"/{self.task.datasets[self.name]}")), {})


def is_d4rls(path: Path) -> bool:
    """Return whether a file, wherever it lies, is one of D4RL's, byte for byte."""
    size = str(path.stat().st_size)
    alike = [known["sha256"] for known in _known().values() if known["bytes"] == size and known.get("sha256")]
    return bool(alike) and sha256(path) in alike


def sha256(path: Path) -> str:
    """Return a file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory() -> Path:
    """Return where D4RL's files lie: D4RL's own cache directory, or D4RL_DATASET_DIR."""
    return kept_in("D4RL_DATASET_DIR", ".d4rl", "datasets")


@functools.cache
def answers() -> bool:
    """Return whether D4RL's server is up; checked once per process, and within seconds even without a network."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(SERVER, method="HEAD"), timeout=ASKING):
                answered.set()
        except urllib.error.HTTPError:  # an answer too, whatever the server says of a directory
            answered.set()
        except (http.client.HTTPException, OSError, ValueError):
            pass

    asking = threading.Thread(target=ask, daemon=True)  # in a thread: a DNS lookup may outlast the timeout
    asking.start()
    asking.join(ASKING)
    return answered.is_set()


def received(url: str, by_hand: str) -> Iterator[tuple[bytes, int]]:
    """Yield a file piece by piece, each with the size that the server claims for the whole, 0 where it claims none."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            if urlsplit(answer.url).scheme != urlsplit(url).scheme:
                raise DatasetError(f"{url}: the server redirects away from https, to {answer.url}; {by_hand}")
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(1 << 20):
                yield chunk, total
    except (http.client.HTTPException, OSError, ValueError) as error:  # urllib's own errors are OSErrors
        raise DatasetError(f"{url}: cannot be downloaded ({error}); {by_hand}") from error


@functools.cache
def _known() -> dict[str, dict[str, str]]:
    """Return what is known of files that the server has, by URL: size in `bytes` and `sha256`, or how many `rows`.

    Source: TensorFlow Datasets, `tensorflow_datasets/d4rl/*/checksums.tsv`; Kitchen's and relocate's, which it lacks,
    arXiv 2004.07219, the table of tasks, where it is exact.
    """
    with D4RL_FILES.open(encoding="utf-8", newline="") as file:
        return {row["url"]: row for row in csv.DictReader(file)}
