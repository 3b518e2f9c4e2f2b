"""What a source is: where one task's data is stored, how to obtain it, and how to read it."""

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
"""Downloads or generates data; called with an optional progress callback."""


@dataclass(frozen=True)
class Source(ABC):
    """One task's data from one place. Subclasses define the abstract methods; the others have defaults."""

    name: ClassVar[str]  #: in commands, results and the catalogue's `datasets`
    task: Task

    @property
    @abstractmethod
    def place(self) -> Path:
        """Where the data lies or would lie."""

    @property
    @abstractmethod
    def made_of(self) -> str:
        """What the data is made of, as a short phrase that can follow 'from'."""

    @abstractmethod
    def is_here(self) -> bool:
        """Tell whether the data is on this machine, ready to read."""

    @abstractmethod
    def getter(self) -> Getter:
        """Return the function that downloads or generates the data; `get` calls it under a lock.

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
    def called(self) -> str:
        """The name of the source that results say the data is from."""
        return self.name

    @property
    def location(self) -> str:
        """Where the data lies, in words for a person."""
        return str(self.place)

    def serves(self) -> bool:
        """Return whether the data is local or, as far as can be told in advance, obtainable."""
        return self.is_here()

    def is_current(self) -> bool:
        """Return whether the data is local and up to date."""
        return self.is_here()

    def authenticity(self) -> str:
        """Describe whether local data is byte-for-byte the publisher's; empty if that cannot be known.

        Raises DatasetError where it is not.
        """
        return ""

    def get(self, progress: Progress | None = None, tell: Callable[[str], None] = print, anew: bool = False) -> None:
        """Download or generate the data unless it is local and up to date; with `anew`, always.

        If another process is already doing so, report it to `tell` and wait. Raises what `getter` raises, DatasetError
        where getting fails, StorageError where the data cannot be written.
        """
        if anew or not self.is_current():
            getter = self.getter()
            with publishing.alone(self.place, tell):
                if anew or not self.is_current():
                    getter(progress)

    def load(self, progress: Progress | None = None, tell: Callable[[str], None] = print) -> Dataset:
        """Return the validated data, obtaining it first if necessary.

        Raises what `get` raises, and DatasetError where the data is faulty.
        """
        self.get(progress, tell)
        return Dataset.checked(self.task, self.called, self.read(progress), self.location)


class InFiles(Source):
    """A source whose place is a file of D4RL's layout or, for images, a folder of files in V-D4RL's."""

    def is_here(self) -> bool:
        """Tell whether the file, or files in the folder, lie there."""
        return bool(image_files.files(self.place)) if self.task.pixels else self.place.is_file()

    def read(self, progress: Progress | None) -> Rows | Frames:
        """Read the file, or all files of the folder."""
        return image_files.read(self.place, progress) if self.task.pixels else hdf5.read(self.place)
