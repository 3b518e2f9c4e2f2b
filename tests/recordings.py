"""Numbers recorded from other implementations: the files of tests/parity, and all below a folder named MOORL_PARITY.

A file holds arrays, and as JSON text the hyper-parameters they were made with. Of which kind it is it says itself by
its `algorithm`, or else the beginning of its name does. A test takes the files of a kind by `recordings`.
"""

import json
import os
import re
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.types import Transitions

OURS = Path(__file__).parent / "parity"
GIVEN = [Path(os.environ["MOORL_PARITY"])] if os.environ.get("MOORL_PARITY") else []

KINDS = {  # and how recordings of a kind begin to name their algorithm
    "td3bc": ["TD3+BC"],
    "iql": ["IQL"],
    "cql": ["CQL"],
    "calql": ["Cal-QL"],
    "spot": ["SPOT"],
    "spot_vae": ["SPOT VAE"],
    "rlpd": ["RLPD"],
    "pex": ["PEX"],
    "rebrac": ["ReBRAC"],
    "fql": ["FQL"],
    "ifql": ["IFQL"],
    "qc": ["QC (best-of-n)"],
    "qc_fql": ["QC (distill-ddpg)"],
    "ogb_iql": ["IQL of the FQL/OGBench code"],
    "ogb_rebrac": ["ReBRAC of the FQL/OGBench code"],
    "awac": ["AWAC"],
    "sac_n": ["SAC-N"],
    "edac": ["EDAC"],
    "balanced_replay": ["Balanced Replay"],
    "opt_pretrain": ["OPT online pre-training"],
    "opt_finetune": ["OPT fine-tuning"],
    "opt_schedules": ["OPT schedules"],
    "drq": ["DrQ+BC", "DrQ-v2"],
    "drq_aug84": ["DrQ random shift"],
    "d4rl_conventions": ["data conventions"],
}

#: Kinds whose tests read the activation and set it; all other networks have ReLU.
WITH_ACTIVATION = ("fql", "ifql", "qc", "qc_fql", "ogb_iql", "ogb_rebrac")

#: What all of our networks and optimizers have, and no agent has a switch for.
FIXED = {
    "optimizer.betas": [0.9, 0.999],
    "optimizer.eps": 1e-8,
    "optimizer.eps_root": 0.0,
    "optimizer.weight_decay": 0,
}
NOT_USED = {
    "algorithm": "it says of which kind the recording is",
    "reference": "where the code is from",
    "dtype": "every recording is replayed in float64 and in float32",
    "seed": "all draws are recorded",
    "obs": "a shape, which the arrays have",
    "act": "a shape",
    "batch": "a shape",
    "hidden": "a shape",
    "latent_dim": "a shape",
    "grad_norm_names": "names of what is compared",
    "f32_loss_names": "names of what float32 costs the reference",
    "f32_param_names": "likewise",
    "optimizer.name": "Adam, which its constants tell",
    "optimizer.lr": "the rates are named by themselves too",
    "optimizer.actor_lr": "likewise",
    "optimizer.critic_lr": "likewise",
}


def kind_of(path):
    """The kind of a recording, or None: the longest of those that begin its algorithm's name, else its file's."""
    says = {words: kind for kind, all_words in KINDS.items() for words in map(_words, all_words)}
    named = {tuple(kind.split("_")): kind for kind in KINDS}
    for text, kinds in ((_words(_algorithm(path)), says), (tuple(path.stem.split("_")), named)):
        for count in range(len(text), 0, -1):
            if text[:count] in kinds:
                return kinds[text[:count]]
    return None


def files():
    """All recordings, ours first."""
    return [path for folder in (OURS, *GIVEN) for path in sorted(folder.rglob("*.npz"))]


def recordings(*kinds):
    """The recordings of these kinds, as parameters of a test."""
    return [pytest.param(path, id=f"{path.parent.name}/{path.stem}") for path in files() if kind_of(path) in kinds]


def _algorithm(path):
    try:
        return json.loads(str(np.load(path, allow_pickle=False)["hparams"]))["algorithm"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return ""


def _words(text):
    return tuple(re.findall(r"[^\s,;()]+", text))


class HyperParameters:
    """A recording's hyper-parameters, nested ones as "optimizer.lr", and which of them a test has read."""

    def __init__(self, nested):
        self._values = dict(_flat(nested))
        self._read = set()

    def __getitem__(self, name):
        self._read.add(name)
        return self._values[name]

    def fixed(self, values):
        """Fail where the recording was made with another value than what ours cannot but have; of words, a pattern."""
        for name, value in values.items():
            if name in self._values:
                same = value.search(self[name]) if isinstance(value, re.Pattern) else self[name] == value
                assert same, f"{name} is {self[name]}, of ours always {getattr(value, 'pattern', value)}"

    def overlooked(self, not_used):
        """What was neither read nor is in `not_used`, {name, or its beginning or end: reason}; notes apart."""
        left = [name for name in self._values if name not in self._read and not _is_note(name)]
        reasons = NOT_USED | not_used
        return [name for name in left if not reasons.keys() & {name, *_parts(name)}]


def _flat(nested, prefix=""):
    for name, value in nested.items():
        yield from _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]


def _parts(name):
    """What a nested name begins with, and its last part."""
    words = name.split(".")
    return [".".join(words[:count]) for count in range(1, len(words))] + words[-1:]


def _is_note(name):
    """Whether a name is of what is told about a recording, or of the order that its updates came in."""
    return re.split(r"[._]", name)[-1] in ("note", "notes", "order", "shims")


class Recording:
    """One recorded file: parameters by network, batches, draws and outputs."""

    def __init__(self, path, dtype):
        self.arrays = np.load(path, allow_pickle=False)
        self.hparams = HyperParameters(json.loads(str(self.arrays["hparams"])))
        self.hparams.fixed(FIXED if kind_of(path) in WITH_ACTIVATION else FIXED | {"activation": "relu"})
        self.dtype = dtype

    def array(self, name):
        return jnp.asarray(self.arrays[name], self.dtype)

    def net(self, name, root="init"):
        """One network's parameters as {layer0: {kernel, bias}, ...}, layers under their recorded names."""
        prefix = f"{root}/{name}/"
        layers = {}
        for key in self.arrays.files:
            if key.startswith(prefix) and key.count("/") == prefix.count("/") + 1:
                layer, leaf = key.removeprefix(prefix).split("/")
                layers.setdefault(layer, {})[leaf] = self.array(key)
        return layers

    def ensemble(self, *names):
        """Networks of one shape as an ensemble with a leading member axis."""
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(self.net, names))

    def scalar(self, name, root="init", default=0.0):
        return self.array(f"{root}/{name}") if f"{root}/{name}" in self.arrays else jnp.asarray(default, self.dtype)

    def batch(self, k, prefix=""):
        """Update k's batch, or one of its batches, whose fields' names have a prefix."""
        names = {field: f"batch_{k}/{prefix}{field}" for field in Transitions.__dataclass_fields__}
        missing = dict.fromkeys(("rewards", "next_observations", "terminals"))
        return Transitions(**missing | {ours: self.array(name) for ours, name in names.items() if name in self.arrays})

    def draws(self, k, names):
        """Update k's draws by our names, those that were recorded."""
        recorded = {ours: f"draws_{k}/{theirs}" for ours, theirs in names.items()}
        return {ours: self.array(name) for ours, name in recorded.items() if name in self.arrays}

    def losses(self, k):
        prefix = f"out_{k}/losses/"
        keys = [key for key in self.arrays.files if key.startswith(prefix)]
        return {key.removeprefix(prefix): float(self.arrays[key]) for key in keys}

    def float(self, name):
        return float(self.hparams[name])
