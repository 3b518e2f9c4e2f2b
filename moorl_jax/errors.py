"""What can go wrong for a user, each with one clear line to print."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class MoorlError(Exception):
    """A fault the user can mend; the command line prints its message and nothing else."""


class DatasetError(MoorlError):
    """A dataset that cannot be read, or whose contents cannot be trained on."""


class NotAvailableError(MoorlError):
    """Something the catalogue lists that this version or this machine cannot do."""


class StorageError(MoorlError):
    """A place that cannot be written to: no room, a limit, no permission, a read-only disk."""


class BusyError(MoorlError):
    """Something that another process is making, and that was not to be waited for."""


class CheckpointsError(MoorlError):
    """Checkpoints that a training cannot go on from: another training's, or damaged ones.

    `kind` is what they are, in words that a directory can be named by.
    """

    def __init__(self, directory: Path, kind: str, fault: str, instead: str):
        self.kind, self.fault = kind, fault
        super().__init__(f"{directory} {fault}; {instead}")


class UnsealedError(MoorlError):
    """A result without checksums, which nobody can tell to be whole."""


class UnknownNameError(MoorlError):
    """A name that nothing here bears; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        super().__init__(f"unknown {kind} '{name}': {hint}")
