"""Behaviour policies that recipes roll out: diagonal Gaussians over a small network, read from plain arrays.

They run in NumPy, one observation at a time, beside their simulator: there a jitted call costs more than the network.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from moorl_jax.divergence import finite
from moorl_jax.errors import DatasetError


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

    def begin(self, rng: np.random.Generator) -> dict[str, Any]:  # noqa: ARG002
        """Ask for nothing."""
        return {}


@dataclass(frozen=True)
class Uniform(_AnyStart):
    """Actions uniform over [-1, 1], D4RL's random policy."""

    action_size: int

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:  # noqa: ARG002
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

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Draw an action and its log-density (of the unclipped sample where it is clipped).

        Raises DatasetError where it has diverged: its rows would be those of another policy.
        """
        x = np.clip((observation - self.mean) / self.std, -self.clip, self.clip)
        for kernel, bias in self.weights[:-1]:
            x = x @ kernel + bias
            x = np.maximum(x, 0.0) if self.activation == "relu" else np.tanh(x)
        kernel, bias = self.weights[-1]
        x = x @ kernel + bias
        mean, log_std = np.split(x, 2) if self.log_std is None else (x, self.log_std)
        log_std = np.clip(log_std, -20.0, 2.0)
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
    if not path.is_file():
        raise DatasetError(f"{path}: no such policy file; give the directory of policies with --policies")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name].astype(np.float64) for name in file.files}
    except (ValueError, EOFError, OSError, AttributeError, zipfile.BadZipFile) as error:  # a single array has no files
        raise DatasetError(f"{path}: not a policy's plain arrays ({error}); pickles are not read") from error
    layers = [name.removesuffix(".weight") for name in arrays if name.endswith(".weight")]
    pairs = (("last_fc", "last_fc_log_std"), ("actor.mu", "actor.log_std"), ("mu", "log_std"))
    heads = next((pair for pair in pairs if pair[1] in layers), ("", ""))
    weights = [(arrays[f"{layer}.weight"].T, arrays[f"{layer}.bias"]) for layer in layers if layer not in heads]
    if heads[0] in layers:
        kernel = np.concatenate([arrays[f"{head}.weight"].T for head in heads], axis=1)
        weights.append((kernel, np.concatenate([arrays[f"{head}.bias"] for head in heads])))
    mean, std, clip = 0.0, 1.0, np.inf
    if "obs_mean" in arrays:
        mean, clip = arrays["obs_mean"], float(arrays["obs_clip"])
        std = np.sqrt(arrays["obs_var"] + arrays["obs_eps"])
    if "in_shift" in arrays:
        mean, std = arrays["in_shift"], arrays["in_scale"] + 1e-8
        kernel, bias = weights[-1]
        weights[-1] = (kernel * arrays["out_scale"], bias * arrays["out_scale"] + arrays["out_shift"])
    return Gaussian(tuple(weights), activation, squash, arrays.get("log_std"), mean, std, clip, path)


def read_snapshot(path: Path, iteration: int) -> Gaussian:
    """Read the policy after an iteration from the HDF5 log of a TRPO run (tanh layers, fixed spread)."""
    with _log(path) as file:
        policy = file[f"snapshots/iter{iteration:07d}/GaussianPolicy"]
        hidden = policy["hidden/FeedforwardNet"]
        affine = [hidden[layer]["AffineLayer"] for layer in sorted(hidden)] + [policy["out/AffineLayer"]]
        weights = tuple((layer["W"][()].astype(np.float64), layer["b"][0].astype(np.float64)) for layer in affine)
        moments = policy["obsnorm/Standardizer"]
        mean, square = moments["mean_1_D"][0], moments["meansq_1_D"][0]
        std = np.sqrt(np.maximum(square - mean**2, 0.0)) + 1e-6
        log_std = policy["logstdevs_1_Da"][0].astype(np.float64)
        return Gaussian(weights, "tanh", False, log_std, mean, std, path=path)


def snapshots(path: Path) -> list[int]:
    """Return the iterations of which a TRPO run's log holds the policy, in order."""
    with _log(path) as file:
        return sorted(int(name.removeprefix("iter")) for name in file["snapshots"])


def _log(path: Path) -> h5py.File:
    if not path.is_file():
        raise DatasetError(f"{path}: no such training log; give the directory of policies with --policies")
    return h5py.File(path, "r")
