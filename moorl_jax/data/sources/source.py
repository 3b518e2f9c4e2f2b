"""What a source is: where data of one task lies, how it is got, and how it is read."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from moorl_jax.data import hdf5, image_files, publishing
from moorl_jax.data.dataset import Dataset
from moorl_jax.data.frames import Frames
from moorl_jax.data.rows import Rows
from moorl_jax.tasks import Task
from moorl_jax.types import Progress

Getter = Callable[[Progress | None], object]
"""Downloads or makes data; it is given where to report progress."""


@dataclass(frozen=True)
class Source(ABC):
    """One task's data from one place. A new source defines the abstract methods; the others have usual answers."""

    name: ClassVar[str]  #: in commands, results and the catalogue's `datasets`
    task: Task

    @property
    @abstractmethod
    def place(self) -> Path:
        """Where the data lies or would lie."""

    @property
    @abstractmethod
    def made_of(self) -> str:
        """What the data is made of, in a few words that `from` may stand before."""

    @abstractmethod
    def is_here(self) -> bool:
        """Tell whether the data is on this machine, ready to read."""

    @abstractmethod
    def getter(self) -> Getter:
        """Return what downloads or makes the data; nobody else gets it while that runs.

        Raises NotAvailableError or DatasetError, with what to do instead, where the data cannot be got.
        """

    @abstractmethod
    def read(self, progress: Progress | None) -> Rows | Frames:
        """Return what lies in the place; `load` checks it. Raises DatasetError where it cannot be read."""

    @property
    def unavailable(self) -> str:
        """Why the source has no data of the task; empty where it has some."""
        if self.name in self.task.datasets:
            return ""
        return f"{self.task.name} has no source '{self.name}'; it has {', '.join(self.task.datasets)}"

    @property
    def location(self) -> str:
        """Where the data lies, in words for a person."""
        return str(self.place)

    def serves(self) -> bool:
        """Tell whether the data is here, or can be got as far as one knows before one tries."""
        return self.is_here()

    def is_current(self) -> bool:
        """Tell whether the data is here and need not be got again."""
        return self.is_here()

    def authenticity(self) -> str:
        """Say whether data that is here is its publisher's byte for byte, where that can be known.

        Raises DatasetError where it is not.
        """
        return ""

    def get(self, progress: Progress | None = None, tell: Callable[[str], None] = print, anew: bool = False) -> None:
        """Download or make the data unless it is here and current; `anew`, even then.

        Where another process gets it just now, say so to `tell` and wait. Raises what `getter` raises, DatasetError
        where getting fails, StorageError where the data cannot be written.
        """
        if anew or not self.is_current():
            getter = self.getter()
            with publishing.alone(self.place, tell):
                if anew or not self.is_current():
                    getter(progress)

    def load(self, progress: Progress | None = None, tell: Callable[[str], None] = print) -> Dataset:
        """Return the data, checked, after getting it where it is not here.

        Raises what `get` raises, and DatasetError where the data is faulty.
        """
        self.get(progress, tell)
        rows = self.read(progress)
        rows.check(self.task, self.location)
        return Dataset(self.task, self.name, rows, rows.fingerprint())


class InFiles(Source):
    """A source whose place is a file of D4RL's layout or, for images, a folder of files in V-D4RL's."""

    def is_here(self) -> bool:
        """Tell whether the file, or files in the folder, lie there."""
        return bool(image_files.files(self.place)) if self.task.pixels else self.place.is_file()

    def read(self, progress: Progress | None) -> Rows | Frames:
        """Read the file, or all files of the folder."""
        return image_files.read(self.place, progress) if self.task.pixels else hdf5.read(self.place)
