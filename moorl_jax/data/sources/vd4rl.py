"""V-D4RL's files (Lu et al. 2022, arXiv 2206.04779), which the user downloads."""

from pathlib import Path

from moorl_jax.data.folders import kept_in
from moorl_jax.data.image_files import MIRROR
from moorl_jax.data.sources.made import OR_MADE
from moorl_jax.data.sources.source import Getter, InFiles
from moorl_jax.errors import DatasetError


class VD4RL(InFiles):
    """V-D4RL's folder of the task, below VD4RL_DATASET_DIR."""

    name = "vd4rl"
    made_of = "V-D4RL's own"

    @property
    def place(self) -> Path:
        """The folder, named as in V-D4RL."""
        return kept_in("VD4RL_DATASET_DIR", ".vd4rl") / self.task.datasets[self.name]

    def getter(self) -> Getter:
        """Raise DatasetError: the user downloads the files."""
        raise DatasetError(
            f"{self.task.name}: there are no files in {self.place}; get vd4rl/{self.task.datasets[self.name]} from "
            f"{MIRROR} and put its files there, or set VD4RL_DATASET_DIR to V-D4RL's directory, {OR_MADE}"
        )
