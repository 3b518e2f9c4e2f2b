"""Checkpoints of a training that goes on: the last two, each whole or not there, each with its own checksums.

A checkpoint directory holds `arrays/` (Orbax), `record.json` (curves so far and what is not an array), `identity.json`
(whose it is: all that decides the training's result) and a seal, written last. It is written beside its final place
and renamed. Beside them `curves.csv` grows with every evaluation.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

from moorl_jax.engine import seals
from moorl_jax.engine.curves import CURVES, write_curves
from moorl_jax.engine.disk import written_to
from moorl_jax.engine.provenance import ABSENT, differences
from moorl_jax.errors import CheckpointsError, MoorlError, StorageError, one_line
from moorl_jax.whole import whole

KEPT = 2  #: checkpoints of a training
NEWER = ("code", "versions")  #: parts of an identity that may have changed where a training is resumed anyway
MACHINE = ("backend.devices", "backend.cores")  #: may always have, with a warning: it changes the last bits of sums


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, read back."""

    arrays: dict[str, np.ndarray]
    record: dict[str, Any]
    then: dict[str, Any]  #: what of its identity is another now: MACHINE; more where a training is resumed anyway
    now: dict[str, Any]  #: what it is now


class Checkpoints:
    """The checkpoints of one training, in a directory of their own, made with the first of them.

    `identity` is all that decides the training's result. With `resume_anyway` other code, or other versions of
    packages, may have written the checkpoints that are resumed. With `before`, the last checkpoint of the same training
    within a smaller budget, it goes on from there.
    """

    def __init__(
        self,
        directory: Path,
        identity: dict[str, Any],
        warn: Callable[[str], None],
        resume_anyway: bool = False,
        before: Path | None = None,
    ):
        self.directory, self._warn, self._resume_anyway = directory.absolute(), warn, resume_anyway
        self._before = before and before.absolute()
        self._identity = json.loads(json.dumps(identity))  # as it will be read back

    def save(self, number: int, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> Path:
        """Write checkpoint `number`, delete all but the last two, and return where it is."""
        final = self.directory / f"{number:08d}"
        partial = final.with_suffix(".partial")
        delete(partial)
        with written_to(partial, arrays):
            partial.mkdir(parents=True)
            # StandardCheckpointer saves in a thread and gives up on it after minutes, by a clock that may be set
            # meanwhile.
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
                checkpointer.save(partial / "arrays", args=ocp.args.StandardSave(arrays))
            (partial / "record.json").write_text(json.dumps(record), encoding="utf-8")
            (partial / "identity.json").write_text(json.dumps(self._identity, indent=1) + "\n", encoding="utf-8")
            seals.seal(partial)
        os.replace(partial, final)
        for old in self._numbered()[:-KEPT]:
            delete(old)
        return final

    def write_curves(self, curves: pd.DataFrame) -> None:
        """Write the learning curves so far, in place of earlier ones; whoever reads them meanwhile finds them whole."""
        path = self.directory / CURVES
        try:
            with whole(path) as partial:
                write_curves(curves, partial)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error}") from error

    def latest(self) -> Checkpoint | None:
        """Return the last checkpoint that is whole, None where there are none.

        Damaged ones after it are named to `warn` and deleted; it is called where the machine is another, too. Nothing
        is deleted where CheckpointsError is raised: none is whole, or the last one is another training's, and what
        differs is named; nor where MoorlError is, for they cannot be read just now.
        """
        damaged: dict[Path, str] = {}
        try:
            for directory in [*reversed(self._numbered()), *filter(None, [self._before])]:
                try:
                    checkpoint = self._read(directory)
                except (ValueError, KeyError, RecursionError) as error:
                    damaged[directory] = one_line(error)
                    continue
                for one, fault in damaged.items():
                    self._warn(f"{one} is damaged ({fault}): deleted, going on from the one before it")
                    delete(one)
                then, now = checkpoint.then, checkpoint.now
                if moved := [f"{name} was {then[name]} and is {now[name]}" for name in MACHINE if name in then]:
                    self._warn(f"{directory}: going on from it, but not bit for bit: {', '.join(moved)}")
                return checkpoint
        except OSError as error:
            raise MoorlError(
                f"{self.directory}: its checkpoints cannot be read, and are left alone: {error}"
            ) from error
        if damaged:
            last, fault = next(iter(damaged.items()))
            found = f"holds no whole checkpoint ({last.name}: {fault})"
            raise CheckpointsError(self.directory, "damaged", found, "move it away to begin anew")
        return None

    def _read(self, directory: Path) -> Checkpoint:
        """Read a checkpoint; raises ValueError or KeyError where it is damaged, CheckpointsError as `latest` does."""
        if fault := seals.fault(seals.sealed(directory), seals.checksums(directory)):
            raise ValueError(fault)
        identity, record = (
            json.loads((directory / name).read_text(encoding="utf-8")) for name in ("identity.json", "record.json")
        )
        if not isinstance(identity, dict) or not isinstance(record, dict):
            raise ValueError("identity.json or record.json holds something else")
        then, now = self._differences(identity, before=directory == self._before)
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore(directory / "arrays")
        return Checkpoint(arrays, record, then, now)

    def _differences(self, identity: dict[str, Any], before: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what differs of a checkpoint's identity, as it was then and is now; `before` it had another budget.

        Raises CheckpointsError where it may not.
        """
        different = sorted(differences(identity, self._identity))
        then, now = {name: was for name, was, _ in different}, {name: now for name, _, now in different}
        parts = {name: name.partition(".")[0] for name in then if name not in MACHINE}
        if before:
            parts = {name: part for name, part in parts.items() if part != "plan"}
        newer = all(part in NEWER or ABSENT in (then[name], now[name]) for name, part in parts.items())
        if parts and not (newer and self._resume_anyway):
            raise CheckpointsError(
                self.directory,
                f"of-other-{'-'.join(dict.fromkeys(parts.values()))}",
                f"holds the checkpoints of another training, which differs in {', '.join(parts)}",
                ("go on from them with --resume-anyway" if newer else "finish that one by its own command")
                + ", or move the directory away to begin anew",
                newer,
            )
        return then, now

    def _numbered(self) -> list[Path]:
        if not self.directory.exists():
            return []
        if not self.directory.is_dir():
            raise CheckpointsError(self.directory, "damaged", "is no directory of checkpoints", "move it away")
        found = [path for path in self.directory.iterdir() if path.name.isdecimal()]
        return sorted(found, key=lambda path: int(path.name))


def delete(path: Path) -> None:
    """Delete a directory of checkpoints, or what is in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
