"""Behaviour policies that recipes roll out: diagonal Gaussians over a small network, read from plain arrays.

They run in NumPy, one observation at a time, beside their simulator: there a jitted call costs more than the network.
"""

import itertools
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from moorl_jax.data import hdf5
from moorl_jax.divergence import finite
from moorl_jax.errors import DatasetError, one_line

LOGS = "a TRPO log's"


class Behaviour(Protocol):
    """Anything that acts on one observation."""

    def begin(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return how an episode is to begin, as the environment's `reset` takes it."""
        ...

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Return the action inside [-1, 1], (action size,), and its log-density, NaN where it is not known."""
        ...


class _AnyStart:
    """A policy that takes episodes as they begin."""

    def begin(self, rng: np.random.Generator) -> dict[str, Any]:
        """Ask for nothing."""
        return {}


@dataclass(frozen=True)
class Uniform(_AnyStart):
    """Actions uniform over [-1, 1], D4RL's random policy."""

    action_size: int

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Draw an action; its density is 1/2 a dimension."""
        return rng.uniform(-1.0, 1.0, self.action_size), -self.action_size * np.log(2.0)


@dataclass(frozen=True)
class Gaussian(_AnyStart):
    """A Gaussian around a network's output, brought into [-1, 1] by tanh or by clipping."""

    weights: tuple[tuple[np.ndarray, np.ndarray], ...]  #: (in, out) kernel and (out,) bias of each layer
    activation: str  #: relu or tanh, between layers
    squash: bool  #: tanh after sampling; otherwise the action is clipped
    log_std: np.ndarray | None  #: (action size,); None when the network's second half is the log std
    mean: np.ndarray | float = 0.0  #: observation normalizer
    std: np.ndarray | float = 1.0
    clip: float = np.inf  #: bound of the normalized observation
    path: Path = Path()  #: of the file it was read from

    def __post_init__(self) -> None:
        """Raise ValueError unless the arrays have the sizes of one network."""
        if not self.weights:
            raise ValueError("there are no weights")
        shapes = [(kernel.shape, bias.shape) for kernel, bias in self.weights]
        widths = [len(self.weights[0][0]), *(bias.size for _, bias in self.weights)]
        fit = shapes == [((before, after), (after,)) for before, after in itertools.pairwise(widths)]
        fit &= self.log_std is None or self.log_std.shape == (widths[-1],)
        fit &= all(np.shape(moment) in ((), (widths[0],)) for moment in (self.mean, self.std))
        if not fit:
            raise ValueError(f"layers of {shapes}, the spread and the normalizer do not fit each other")

    @property
    def sizes(self) -> tuple[int, float]:
        """The sizes of the observations and actions that it is for."""
        outputs = self.weights[-1][1].size
        return len(self.weights[0][0]), outputs / 2 if self.log_std is None else outputs

    def distribution(self, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean, (..., action size), and the log std of what tanh or clipping brings into [-1, 1].

        The log std has the mean's shape, or (action size,) where it is fixed.
        """
        x = np.clip((observations - self.mean) / self.std, -self.clip, self.clip)
        for kernel, bias in self.weights[:-1]:
            x = x @ kernel + bias
            x = np.maximum(x, 0.0) if self.activation == "relu" else np.tanh(x)
        kernel, bias = self.weights[-1]
        x = x @ kernel + bias
        mean, log_std = np.split(x, 2, axis=-1) if self.log_std is None else (x, self.log_std)
        return mean, np.clip(log_std, -20.0, 2.0)

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Draw an action and its log-density (of the unclipped sample where it is clipped).

        Raises DatasetError where it has diverged: its rows would be those of another policy.
        """
        mean, log_std = self.distribution(observation)
        noise = rng.standard_normal(len(mean))
        sample = mean + np.exp(log_std) * noise
        if not finite(sample):
            raise DatasetError(f"{self.path}: the policy has diverged, an action of it is not finite; take another one")
        log_density = float(np.sum(-0.5 * noise**2 - log_std - 0.5 * np.log(2.0 * np.pi)))
        if not self.squash:
            return np.clip(sample, -1.0, 1.0), log_density
        slope = 2.0 * (np.log(2.0) - sample - np.logaddexp(0.0, -2.0 * sample))
        return np.tanh(sample), log_density - float(slope.sum())


def read_actor(path: Path, activation: str, squash: bool) -> Gaussian:
    """Read an actor from an npz file of (out, in) weights, as PyTorch names and stores them.

    A final layer of twice the action size, or one named log_std, gives a state-dependent spread; an array `log_std`
    a fixed one. `obs_mean`, `obs_var`, `obs_clip`, `obs_eps` (Stable-Baselines3) or `in_shift`, `in_scale` (DAPG)
    normalize observations where present, `out_shift` and `out_scale` map the network's output.
    """
    arrays = {name: values.astype(np.float64) for name, values in plain_arrays(path, "policy file").items()}
    try:
        return _actor(arrays, activation, squash, path)
    except KeyError as error:
        raise DatasetError(f"{path}: the key {error} is missing; this is not a policy") from error
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{path}: not a policy ({one_line(error)}); name its layers as PyTorch does") from error


def _actor(arrays: dict[str, np.ndarray], activation: str, squash: bool, path: Path) -> Gaussian:
    layers = [name.removesuffix(".weight") for name in arrays if name.endswith(".weight")]
    pairs = (("last_fc", "last_fc_log_std"), ("actor.mu", "actor.log_std"), ("mu", "log_std"))
    heads = next((pair for pair in pairs if pair[1] in layers), ("", ""))
    weights = [(arrays[f"{layer}.weight"].T, arrays[f"{layer}.bias"]) for layer in layers if layer not in heads]
    if heads[0] in layers:
        kernel = np.concatenate([arrays[f"{head}.weight"].T for head in heads], axis=1)
        weights.append((kernel, np.concatenate([arrays[f"{head}.bias"] for head in heads])))
    mean: np.ndarray | float = 0.0
    std: np.ndarray | float = 1.0
    clip = np.inf
    if "obs_mean" in arrays:
        mean, clip = arrays["obs_mean"], float(arrays["obs_clip"])
        std = np.sqrt(arrays["obs_var"] + arrays["obs_eps"])
    if "in_shift" in arrays:
        mean, std = arrays["in_shift"], arrays["in_scale"] + 1e-8
        kernel, bias = weights[-1]
        weights[-1] = (kernel * arrays["out_scale"], bias * arrays["out_scale"] + arrays["out_shift"])
    return Gaussian(tuple(weights), activation, squash, arrays.get("log_std"), mean, std, clip, path)


def plain_arrays(path: Path, what: str) -> dict[str, np.ndarray]:
    """Return the numbers that an npz file holds, by name; raise DatasetError where it holds anything else."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such {what}; give the directory of policies with --policies")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if odd := [name for name, values in arrays.items() if values.dtype.kind not in "fiub"]:
            raise ValueError(f"{odd[0]} is not of numbers")
        return arrays
    except Exception as error:  # NumPy and zipfile raise errors of many kinds over bad bytes
        raise DatasetError(f"{path}: not a {what} of plain arrays ({one_line(error)}); pickles are not read") from error


def read_snapshot(path: Path, iteration: int) -> Gaussian:
    """Read the policy after an iteration from the HDF5 log of a TRPO run (tanh layers, fixed spread)."""
    policy = f"snapshots/iter{iteration:07d}/GaussianPolicy"
    hidden = f"{policy}/hidden/FeedforwardNet"

    with _log(path) as file:

        def array(key: str) -> np.ndarray:
            values: np.ndarray = hdf5.dataset(file, key, path, LOGS)[()]
            return values.astype(np.float64)

        layers = [*(f"{hidden}/{layer}" for layer in _names(file, hidden, path)), f"{policy}/out"]
        weights = tuple((array(f"{layer}/AffineLayer/W"), array(f"{layer}/AffineLayer/b")[0]) for layer in layers)
        mean, square = (array(f"{policy}/obsnorm/Standardizer/{name}_1_D")[0] for name in ("mean", "meansq"))
        std = np.sqrt(np.maximum(square - mean**2, 0.0)) + 1e-6
        return Gaussian(weights, "tanh", False, array(f"{policy}/logstdevs_1_Da")[0], mean, std, path=path)


def snapshots(path: Path) -> list[int]:
    """Return the iterations of which a TRPO run's log holds the policy, in order."""
    with _log(path) as file:
        return sorted(int(name.removeprefix("iter")) for name in _names(file, "snapshots", path))


def _names(file: h5py.File, key: str, path: Path) -> list[str]:
    """Return what a log's group holds, in order."""
    group = hdf5.find(file, key, path)
    if not isinstance(group, h5py.Group):
        raise DatasetError(f"{path}: the group '{key}' is missing; this is not a file of {LOGS} layout")
    return sorted(group)


def _log(path: Path) -> AbstractContextManager[h5py.File]:
    if not path.is_file():
        raise DatasetError(f"{path}: no such training log; give the directory of policies with --policies")
    return hdf5.opened(path)
