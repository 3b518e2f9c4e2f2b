"""Datasets of the Minari library, as the same rows that D4RL's files hold."""

import os
import urllib.request
from pathlib import Path
from typing import Any

import minari
import numpy as np
from gymnasium import spaces
from minari.storage import get_dataset_path

from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError

HUB = "https://huggingface.co"
PATIENCE = 5.0  #: seconds to wait for the hub


def directory() -> Path:
    """Return Minari's local directory."""
    return Path(get_dataset_path())


def at_hand(name: str) -> bool:
    """Tell whether the dataset lies in Minari's local directory."""
    return name in minari.list_local_datasets()


def download(name: str) -> None:
    """Fetch the dataset into Minari's directory; raise DatasetError within seconds where the hub is unreachable."""
    remedy = f"run `minari download {name}` elsewhere and copy it to Minari's directory (MINARI_DATASETS_PATH)"
    try:
        # Minari itself retries for half a minute before it says that its hub cannot be reached.
        if not os.environ.get("MINARI_REMOTE"):
            urllib.request.urlopen(HUB, timeout=PATIENCE).close()
        minari.download_dataset(name)
    except Exception as error:
        raise DatasetError(f"minari {name}: cannot be downloaded ({error}); {remedy}") from error


def read(name: str) -> Rows:
    """Read a local dataset; each episode's last observation is kept as that row's next observation.

    Dictionaries of observations are flattened as gymnasium's FlattenObservation does.
    """
    try:
        dataset = minari.load_dataset(name)
        columns: dict[str, list[Any]] = {key: [] for key in Rows.__dataclass_fields__}
        for episode in dataset.iterate_episodes():
            observations = _flat(dataset.observation_space, episode.observations)
            columns["observations"].append(observations[:-1])
            columns["next_observations"].append(observations[1:])
            columns["actions"].append(episode.actions)
            columns["rewards"].append(episode.rewards)
            columns["terminals"].append(episode.terminations)
            timeouts = episode.truncations & ~episode.terminations
            # Whatever cut an episode that is flagged neither way, the next one does not follow from it.
            timeouts[-1] = not episode.terminations[-1]
            columns["timeouts"].append(timeouts)
    except Exception as error:
        raise DatasetError(f"minari {name}: cannot be read ({error}); delete it and download it again") from error
    flags = ("terminals", "timeouts")
    return Rows(
        **{key: np.concatenate(parts).astype(bool if key in flags else np.float32) for key, parts in columns.items()}
    )


def _flat(space: spaces.Space, observations: Any) -> np.ndarray:
    """Return (steps, size) observations from what an episode holds of the space."""
    if isinstance(space, spaces.Dict):
        return np.concatenate([_flat(part, observations[name]) for name, part in space.items()], axis=-1)
    return np.asarray(observations)
