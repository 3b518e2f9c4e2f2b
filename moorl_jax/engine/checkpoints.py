"""Checkpoints of a training that goes on: the last two, each whole or not there, each with its own checksums.

A checkpoint directory holds `arrays/` (Orbax), `record.json` (curves so far and what is not an array), and
`checksums.json`, written last. It is written beside its final place and renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from moorl_jax.engine.disk import written_to
from moorl_jax.errors import OtherTrainingError

KEPT = 2
IDENTITY = "identity.json"
CHECKSUMS = "checksums.json"


class Checkpoints:
    """The checkpoints of one training, in a directory of their own."""

    def __init__(self, directory: Path, identity: dict[str, Any], warn: Callable[[str], None]):
        """Open the directory, or make it.

        `identity` is all that decides the training's result. Raises OtherTrainingError where the directory belongs to
        another training, naming what differs.
        """
        self._directory, self._warn = directory.absolute(), warn
        identity = json.loads(json.dumps(identity))  # as it will be read back
        file = self._directory / IDENTITY
        if not file.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(identity, indent=1) + "\n", encoding="utf-8")
            os.replace(partial, file)
            return
        found = json.loads(file.read_text(encoding="utf-8"))
        different = sorted(name for name in identity | found if identity.get(name) != found.get(name))
        if different:
            raise OtherTrainingError(directory, different)

    def save(self, number: int, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        """Write checkpoint `number` and delete all but the last two."""
        final = self._directory / f"{number:08d}"
        partial = final.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with written_to(partial, arrays):
            partial.mkdir()
            # StandardCheckpointer saves in a thread and gives up on it after minutes, by a clock that may be set
            # meanwhile.
            with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
                checkpointer.save(partial / "arrays", args=ocp.args.StandardSave(arrays))
            (partial / "record.json").write_text(json.dumps(record), encoding="utf-8")
            (partial / CHECKSUMS).write_text(json.dumps(_checksums(partial)), encoding="utf-8")
        os.replace(partial, final)
        for old in self._numbered()[:-KEPT]:
            shutil.rmtree(old)

    def latest(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return arrays and record of the last checkpoint that is whole, None where there is none.

        A damaged one is named to `warn` and deleted, and the one before it used.
        """
        for directory in reversed(self._numbered()):
            if fault := _fault(directory):
                self._warn(
                    f"{directory} is damaged ({fault}): deleted, going on from the one before it, if there is one"
                )
                shutil.rmtree(directory)
                continue
            with ocp.StandardCheckpointer() as checkpointer:
                arrays = checkpointer.restore(directory / "arrays")
            return arrays, json.loads((directory / "record.json").read_text(encoding="utf-8"))
        return None

    def _numbered(self) -> list[Path]:
        return sorted(
            (path for path in self._directory.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
        )


def _fault(directory: Path) -> str:
    """Return what is wrong with a checkpoint's files, nothing if they are as they were written."""
    try:
        written = json.loads((directory / CHECKSUMS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return "" if written == _checksums(directory) else "its checksums do not match"


def _checksums(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
