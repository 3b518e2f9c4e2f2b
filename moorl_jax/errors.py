"""What can go wrong for a user, each with one clear line to print."""

import difflib
from collections.abc import Iterable
from pathlib import Path


class MoorlError(Exception):
    """A fault the user can mend; the command line prints its message and nothing else."""


def one_line(told: object) -> str:
    """Return what a library or a file says, an error for example, on one line of at most 200 characters."""
    words = " ".join(str(told).split()) or type(told).__name__
    return words if len(words) <= 200 else f"{words[:199]}…"


class DatasetError(MoorlError):
    """A dataset that cannot be read, or whose contents cannot be trained on."""


class NotAvailableError(MoorlError):
    """Something the catalogue lists that this version or this machine cannot do."""


class StorageError(MoorlError):
    """A place that cannot be written to: no room, a limit, no permission, a read-only disk."""


class BusyError(MoorlError):
    """Something that another process is making, and that was not to be waited for."""


class OtherTrainingError(MoorlError):
    """Checkpoints that another training wrote, or this one with other code or on another kind of device."""

    def __init__(self, directory: Path, different: list[str]):
        self.different = ", ".join(different)
        super().__init__(
            f"{directory} holds the checkpoints of another training, which differs in {self.different}; "
            "finish that one by its own command, or delete the directory"
        )


class UnknownNameError(MoorlError):
    """A name that nothing here bears; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        super().__init__(f"unknown {kind} '{name}': {hint}")
