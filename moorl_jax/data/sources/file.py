"""A file of the user's own."""

from dataclasses import dataclass
from pathlib import Path

from moorl_jax.data import hdf5
from moorl_jax.data.frames import Frames
from moorl_jax.data.rows import OwnSuccessors, Rows
from moorl_jax.data.sources.d4rl import D4RL, is_d4rls
from moorl_jax.data.sources.source import Getter, InFiles
from moorl_jax.errors import DatasetError
from moorl_jax.types import Progress


@dataclass(frozen=True)
class File(InFiles):
    """A file of D4RL's layout, or for images a folder of V-D4RL's: at a path, or a foreign file at D4RL's path.

    The next observations that it holds are used as they are, unless the file is D4RL's.
    """

    name = "file"
    made_of = "your own file"
    path: Path | None = None  #: that of a task of one's own, else D4RL's place, by default

    @property
    def place(self) -> Path:
        """The path."""
        if self.path or self.task.own:
            return self.path or Path(self.task.datasets[self.name])
        return D4RL(self.task).place

    @property
    def unavailable(self) -> str:
        """A file at a given path suits any task; otherwise there must be one at D4RL's path."""
        return "" if self.path or D4RL(self.task).is_another() else super().unavailable

    @property
    def called(self) -> str:
        """D4RL's file is called D4RL's, wherever it lies."""
        return self.name if self.task.pixels else _called(self.place)

    def getter(self) -> Getter:
        """Raise DatasetError: nobody else has the user's file."""
        missing = "there are no .npz or .hdf5 files" if self.task.pixels else "no such file"
        raise DatasetError(f"{self.place}: {missing}")

    def read(self, progress: Progress | None) -> Rows | Frames:
        """Read the file, or all files of the folder."""
        return super().read(progress) if self.task.pixels else read(self.place)[1]


def read(path: Path) -> tuple[str, Rows]:
    """Return the rows of a file in D4RL's layout, and the name of the source they are called by.

    Next observations that it holds are used as they are, unless the file is D4RL's. Raises DatasetError as `hdf5.read`.
    """
    rows, called = hdf5.read(path), _called(path)
    own = called == File.name and rows.next_observations is not None
    return called, OwnSuccessors(**vars(rows)) if own else rows


def _called(path: Path) -> str:
    return D4RL.name if is_d4rls(path) else File.name
