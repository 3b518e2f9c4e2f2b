"""What can go wrong for a user, each with one clear line to print."""

import difflib
import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAKE_ROOM = "make room and give the same command again"
_REMEDIES = {
    **dict.fromkeys(OF_SPACE, MAKE_ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "name a place where you may read and write"),
    **dict.fromkeys((errno.ENOTDIR, errno.EEXIST, errno.EISDIR), "something else is in that place: name another"),
    errno.ENAMETOOLONG: "name a shorter one",
}


class MoorlError(Exception):
    """A fault the user can mend; the command line prints its message and nothing else."""


class OwnAgentError(MoorlError):
    """A fault in a user's own agent, by file and line; `trace` is its own part of the traceback, as text."""

    def __init__(self, file: str, line: int, fault: str, trace: str = ""):
        self.trace = trace
        super().__init__(f"{file}:{line}: {fault}")


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

    `kind` is what they are, in words that a directory can be named by; `newer` tells whether it is only that code or
    packages are newer, so that the training can go on from them where it is told to.
    """

    def __init__(self, directory: Path, kind: str, fault: str, instead: str, newer: bool = False):
        self.kind, self.fault, self.newer = kind, fault, newer
        super().__init__(f"{directory} {fault}; {instead}")


class UnreadableError(MoorlError):
    """A result that may be whole, though it cannot be read: of another version, or the machine refuses."""


class UnknownNameError(MoorlError):
    """A name that nothing here bears; the message suggests the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(known))}"
        super().__init__(f"unknown {kind} '{name}': {hint}")


def of_the_machine(error: BaseException) -> str:
    """Return in one line, with what to do, what the machine refused: a file, room on a disk, memory; else nothing."""
    if isinstance(error, OSError) and error.strerror and (error.filename or error.errno in _REMEDIES):
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        return "; ".join(filter(None, (what, _REMEDIES.get(error.errno or 0))))
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"out of memory ({one_line(error)}); fewer seeds, or a smaller batch_size or hidden, take less"
    return ""


def room(place: Path, size: int) -> str:
    """Say that something takes up to so many bytes, and how many are free where `place` is to be."""
    there = next(folder for folder in place.absolute().parents if folder.is_dir())
    return f"it takes up to {size / 1e6:,.1f} MB, {shutil.disk_usage(there).free / 1e6:,.1f} MB are free there"


def one_line(told: object, most: int = 200) -> str:
    """Return what a library or a file says, an error for example, on one line of at most so many characters."""
    words = " ".join(str(told).split()) or type(told).__name__
    return words if len(words) <= most else f"{words[: most - 1]}…"
