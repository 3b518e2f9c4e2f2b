"""Datasets of the Minari library, as the same rows that D4RL's files hold."""

import json
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium import spaces

from moorl_jax.data import hdf5, publishing
from moorl_jax.data.folders import kept_in
from moorl_jax.data.rows import Rows
from moorl_jax.data.sources.source import Getter, Source
from moorl_jax.errors import DatasetError, one_line
from moorl_jax.types import Progress

HUB = "https://huggingface.co"
if os.path.expanduser("~") == "~":  # no home directory: Minari would create a folder named ~ in the working directory
    os.environ.setdefault("MINARI_DATASETS_PATH", str(kept_in("MINARI_DATASETS_PATH", ".minari", "datasets")))
PATIENCE = 5.0  #: seconds to wait for the hub
COLUMNS = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")


class Minari(Source):
    """The task's dataset in Minari's local directory."""

    name = "minari"
    made_of = "Minari's own"

    @property
    def dataset(self) -> str:
        """Its name in Minari."""
        return self.task.datasets[self.name]

    @property
    def place(self) -> Path:
        """Its folder."""
        return folder_of(self.dataset)

    @property
    def location(self) -> str:
        """Its name in Minari."""
        return f"minari {self.dataset}"

    def is_here(self) -> bool:
        """Tell whether the folder holds data."""
        return (self.place / "data").is_dir()

    def getter(self) -> Getter:
        """Return the download, which reports no progress."""
        return lambda _: download(self.dataset)

    def read(self, progress: Progress | None) -> Rows:
        """Read all episodes."""
        return read(self.dataset)


def folder_of(name: str) -> Path:
    """Return where a dataset lies or would lie in Minari's local directory."""
    return kept_in("MINARI_DATASETS_PATH", ".minari", "datasets") / name


def download(name: str) -> None:
    """Fetch the dataset into Minari's directory, where it appears whole, checked, or not at all.

    Raises DatasetError where it cannot be downloaded or is faulty, within seconds where the hub is unreachable;
    StorageError where nothing can be written there.
    """
    remedy = f"run `minari download {name}` elsewhere and copy it to Minari's directory (MINARI_DATASETS_PATH)"
    with publishing.published(folder_of(name)) as partial:
        try:
            # Minari itself retries for half a minute before it says that its hub cannot be reached.
            if not os.environ.get("MINARI_REMOTE"):
                urllib.request.urlopen(HUB, timeout=PATIENCE).close()
            with _directory(partial.parent):
                minari.download_dataset(name)
                read(name)
        except Exception as error:
            reason = one_line(str(error).removeprefix(f"minari {name}: ") or error)
            raise DatasetError(f"minari {name}: cannot be downloaded ({reason}); {remedy}") from error
        (partial.parent / name).rename(partial)


@contextmanager
def _directory(folder: Path) -> Iterator[None]:
    """Temporarily point Minari, in the whole process, at another directory."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        yield
    finally:
        del os.environ["MINARI_DATASETS_PATH"]
        if before is not None:
            os.environ["MINARI_DATASETS_PATH"] = before


def read(name: str) -> Rows:
    """Read a local dataset; each row's next observation is its own, an episode's last observation the last row's.

    Dictionaries of observations are flattened as gymnasium's FlattenObservation does. Raises DatasetError where that
    cannot be done, or where the dataset names files outside of its own or code to run.
    """
    columns: dict[str, list[Any]] = {key: [] for key in COLUMNS}
    try:
        _require_own(folder_of(name) / "data")
        dataset = minari.load_dataset(name)
        for episode in dataset.iterate_episodes():
            if not len(episode.rewards):
                raise DatasetError(f"minari {name}: episode {episode.id} has no steps; leave it out")
            observations = _flat(dataset.observation_space, episode.observations)
            each = (episode.actions, episode.rewards, episode.terminations, episode.truncations)
            steps = [len(observations) - 1, *map(len, each)]
            if len(set(steps)) > 1:  # or mismatches could cancel out across episodes and misalign rewards
                raise DatasetError(
                    f"minari {name}: episode {episode.id} has observations, actions, rewards, terminations and "
                    f"truncations of {', '.join(map(str, steps))} steps; store as many, and one more observation"
                )
            columns["observations"].append(observations[:-1])
            columns["next_observations"].append(observations[1:])
            columns["actions"].append(episode.actions)
            columns["rewards"].append(episode.rewards)
            columns["terminals"].append(episode.terminations.astype(bool))
            timeouts = episode.truncations & ~episode.terminations
            # An episode without either flag still ends here: the next row is not its successor.
            timeouts[-1] = not episode.terminations[-1]
            columns["timeouts"].append(timeouts.astype(bool))
        if not columns["rewards"]:
            raise DatasetError(f"minari {name}: it has no episodes; record some, or choose another dataset")
        joined = {key: np.concatenate(parts) for key, parts in columns.items()}
    except DatasetError:
        raise
    except Exception as error:  # Minari raises errors of many kinds, assertions among them
        raise DatasetError(
            f"minari {name}: cannot be read ({one_line(error)}); move it away and download it again"
        ) from error
    return Rows.of_arrays(f"minari {name}", **joined)


def action_range(name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the lowest and highest action of a local dataset that was `read`, None where they have no bounds."""
    space = minari.load_dataset(name).action_space
    bounded = isinstance(space, spaces.Box) and np.isfinite([space.low, space.high]).all()
    return (space.low, space.high) if bounded else None


def _require_own(data: Path) -> None:
    """Raise DatasetError if a dataset's files link to others, or would make Minari run code they specify."""
    metadata = json.loads((data / "metadata.json").read_text(encoding="utf-8"))
    if not {"observation_space", "action_space"} <= set(metadata):
        raise DatasetError(f"{data / 'metadata.json'}: it lacks the spaces, which Minari would make an environment for")
    if metadata.get("data_format") == "hdf5":
        hdf5.require_own(data / "main_data.hdf5")


def _flat(space: spaces.Space, observations: Any) -> np.ndarray:
    """Return (steps, size) observations from what an episode holds of the space."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([_flat(part, observations[name]) for name, part in space.items()], axis=-1)
    return np.asarray(observations)
