"""Locks between processes: one holder at a time, whatever becomes of the files beside them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from moorl_jax.errors import BusyError


@contextmanager
def held(place: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of a file or directory that is, or is to be, at `place`; a holder that is killed lets go of it.

    The lock is a hidden file beside `place`, so that it outlives whatever is deleted there. Where another process
    holds it, `waiting` is called once and the lock waited for; without `waiting` BusyError is raised. Once the lock
    is held, look again at what is there: its last holder may have made it.
    """
    path = place.absolute().with_name(f".{place.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if waiting is None:
            raise BusyError(f"{place}: another process is at it") from None
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        # While it is held, so that it is no one else's; who waits for a deleted file's lock, FileLock makes look again.
        path.unlink(missing_ok=True)
        lock.release()
