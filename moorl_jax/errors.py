"""Faults that a user can fix, each with a one-line message."""

import difflib
import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAKE_ROOM = "make room and give the same command again"
_REMEDIES = {
    **dict.fromkeys(OF_SPACE, MAKE_ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "choose a place where you may read and write"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "something else is in that place: choose another"),
    errno.ENAMETOOLONG: "name a shorter one",
}


class MoorlError(Exception):
    """A fault the user can fix; the command line prints its message and nothing else."""


class OwnAgentError(MoorlError):
    """A fault in a user's own agent, by file and line. `trace` is that file's part of the traceback."""

    def __init__(self, file: str, line: int, fault: str, trace: str = ""):
        self.trace = trace
        super().__init__(f"{file}:{line}: {fault}")


class DatasetError(MoorlError):
    """A dataset that cannot be read or trained on."""


class NotAvailableError(MoorlError):
    """Something in the catalogue that this version or machine cannot do."""


class StorageError(MoorlError):
    """A place that cannot be written to: disk full, a limit, no permission, read-only."""


class BusyError(MoorlError):
    """Another process is making this, and the caller did not want to wait."""


class CheckpointsError(MoorlError):
    """Checkpoints that a training cannot resume from: of another training, or damaged.

    `kind` says why, in words fit for a directory's name. `newer` means that only code or packages are newer, so the
    training can resume if asked to.
    """

    def __init__(self, directory: Path, kind: str, fault: str, instead: str, newer: bool = False):
        self.directory, self.kind, self.fault, self.newer = directory, kind, fault, newer
        super().__init__(f"{directory} {fault}; {instead}")


class UnreadableError(MoorlError):
    """A result that cannot be read here, though it may be intact: of another version, or unreadable on this machine."""


class UnknownNameError(MoorlError):
    """An unknown name; the message suggests the nearest known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        super().__init__(f"unknown {kind} '{name}': {hint}")


def of_the_machine(error: BaseException) -> str:
    """Return one line, with advice, for an error of the machine (file, disk, memory); empty for any other error."""
    if isinstance(error, OSError) and error.strerror and (error.filename or error.errno in _REMEDIES):
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return "; ".join(filter(None, (what, _REMEDIES.get(error.errno or 0))))
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"out of memory ({one_line(error)}); fewer seeds, or a smaller batch_size or hidden, take less"
    return ""


def free_space(place: Path, size: int) -> str:
    """Return the words for how many bytes something takes at most, and how many are free at `place`."""
    there = next(folder for folder in place.absolute().parents if folder.is_dir())
    return f"it takes up to {size / 1e6:,.1f} MB, {shutil.disk_usage(there).free / 1e6:,.1f} MB are free there"


def one_line(text: object, most: int = 200) -> str:
    """Return a text, such as an error's, as one line of at most `most` characters."""
    words = " ".join(str(text).split()) or type(text).__name__
    return words if len(words) <= most else f"{words[: most - 1]}…"
