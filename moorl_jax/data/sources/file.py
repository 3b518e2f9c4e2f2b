"""A file of the user's own."""

from dataclasses import dataclass
from pathlib import Path

from moorl_jax.data.sources.d4rl import D4RL
from moorl_jax.data.sources.source import Getter, InFiles
from moorl_jax.errors import DatasetError


@dataclass(frozen=True)
class File(InFiles):
    """A file of D4RL's layout, or for images a folder of V-D4RL's: at a path, or a foreign file at D4RL's path."""

    name = "file"
    made_of = "your own file"
    path: Path | None = None  #: D4RL's place by default

    @property
    def place(self) -> Path:
        """The path."""
        return self.path or D4RL(self.task).place

    @property
    def unavailable(self) -> str:
        """A file at a given path suits any task; otherwise there must be one at D4RL's path."""
        return "" if self.path or D4RL(self.task).is_another() else super().unavailable

    def getter(self) -> Getter:
        """Raise DatasetError: nobody else has the user's file."""
        missing = "there are no .npz or .hdf5 files" if self.task.pixels else "no such file"
        raise DatasetError(f"{self.place}: {missing}")
