"""What the arrays of a checkpoint hold and what they are called: the one place that knows its layout.

    progress.NAME    how far the training is, a whole number
    seeds.PATH       a leaf of `SeedArrays` with a leading axis over all seeds, in their order

`Trainer.save` packs them, `Trainer.restore` unpacks them, `checkpoints.py` writes and reads them. Of several trainings
each has its own.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from moorl_jax.engine.programs import Carry
from moorl_jax.replay import Buffer
from moorl_jax.types import Array

SIZED = (".buffer.rows", ".simulators['ends']")  #: what has room for all env steps, more of them within a larger budget


class Progress(NamedTuple):
    """How far a training is, the same for each of its seeds."""

    phase: int = 0  #: number of the current phase
    done: int = 0  #: updates, env steps or evaluations of it
    updates: int = 0  #: critic updates, those of phases that only prepare left out
    env_steps: int = 0
    drawn: int = 0  #: all updates; it numbers their randomness

    @property
    def number(self) -> int:
        """A number that grows with everything done; an evaluation alone is a phase of its own."""
        return self.drawn + self.env_steps + self.phase


class SeedArrays(NamedTuple):
    """All that decides how some seeds go on, with a leading axis over them."""

    carry: Carry
    buffer: Buffer | None  #: None before the first env step, for it may be gigabytes of zeros
    actions: Array | None  #: chosen and not taken yet; None where the phase takes none
    simulators: dict[str, Any] | None  #: None before the first env step, too


def pack(progress: Progress, seeds: SeedArrays) -> dict[str, np.ndarray]:
    """Return the arrays of a checkpoint by name."""
    numbers = {f"progress.{name}": np.array(value) for name, value in progress._asdict().items()}
    return numbers | {f"seeds{path}": leaf for path, leaf in _named(seeds)}


def apart(arrays: dict[str, np.ndarray], places: Sequence[slice]) -> list[dict[str, np.ndarray]]:
    """Return the arrays of each of several trainings, whose seeds stand at `places` of all."""
    return [{name: leaf[place] if leaf.ndim else leaf for name, leaf in arrays.items()} for place in places]


def joined(each: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of trainings that are equally far as those of one, seeds in the trainings' order.

    Raises KeyError or ValueError where they do not fit together.
    """
    if len(each) == 1:
        return each[0]
    leaves = {name: [np.asarray(arrays[name]) for arrays in each] for name in each[0]}
    return {name: np.concatenate(same) if same[0].ndim else same[0] for name, same in leaves.items()}


def progress_of(arrays: dict[str, np.ndarray]) -> Progress:
    """Return how far the training of a checkpoint is; raises KeyError where it does not say."""
    return Progress(*(int(arrays[f"progress.{name}"]) for name in Progress._fields))


def seeds_of(arrays: dict[str, np.ndarray], like: SeedArrays, positions: tuple[int, ...]) -> SeedArrays:
    """Return the seeds at some positions of a checkpoint; `like` them are those of a training that has come as far.

    Raises KeyError or IndexError where one is missing, ValueError where its arrays are of another shape or type.
    """
    rows = np.array(positions)
    leaves = []
    for path, mine in _named(like):
        leaf = arrays[f"seeds{path}"][rows]
        if path.startswith(SIZED) and leaf.ndim > 1 and leaf.shape[1] < mine.shape[1]:
            leaf = np.concatenate([leaf, np.asarray(mine)[:, leaf.shape[1] :]], axis=1)
        # A sampling rule may remember more of experience than one that began without any.
        same_shape = mine.shape == leaf.shape or path.startswith(".carry.memory")
        if not same_shape or mine.dtype != leaf.dtype:
            raise ValueError(f"{path} is of another shape or type")
        leaves.append(leaf)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _named(seeds: SeedArrays) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(seeds)]
