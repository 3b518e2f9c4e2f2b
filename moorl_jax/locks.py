"""Locks between processes: one holder at a time, even if the locked files are deleted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from moorl_jax.errors import BusyError


@contextmanager
def held(place: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of the file or directory `place`, which need not exist yet. A killed process releases its locks.

    The lock is a hidden file beside `place`, so it survives if `place` is deleted. If another process holds it,
    `waiting` is called once and this one waits; without `waiting` it raises BusyError. Once you hold the lock, check
    `place` again: the last holder may have made it.
    """
    path = place.absolute().with_name(f".{place.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is None:
            raise BusyError(f"{place}: another process is using it") from None
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        # Deleted while held, so it cannot be another's. FileLock makes those who wait for a deleted file try again.
        path.unlink(missing_ok=True)
        lock.release()
