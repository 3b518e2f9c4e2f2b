"""Data appears only when it is complete: one process writes it beside its place and renames it at the end."""

import glob
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from moorl_jax.errors import MAKE_ROOM, StorageError, free_space
from moorl_jax.locks import held
from moorl_jax.whole import whole


@contextmanager
def alone(path: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Be the only process that writes to `path`; where another one does, say so to `tell` and wait.

    What a killed process left unfinished is removed. Check `path` again inside: another process may have made it.
    Raises StorageError where nothing can be written there.
    """
    with ExitStack() as stack:
        with storing(path):
            stack.enter_context(held(path, lambda: tell(f"{path}: another process is making it; waiting")))
            for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
                shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def published(path: Path, size: int | None = None) -> Iterator[Path]:
    """Yield where to write a file or a folder of at most `size` bytes; it is renamed to `path` unless something fails.

    It has a temporary folder to itself, which is removed at the end. Raises StorageError where it cannot be written.
    """
    with ExitStack() as stack:
        with storing(path, size):
            partial = stack.enter_context(whole(path))
        yield partial
        with storing(path, size):
            stack.close()


@contextmanager
def storing(path: Path, size: int | None = None) -> Iterator[None]:
    """Raise StorageError where `path`, of at most `size` bytes, cannot be written."""
    try:
        yield
    except OSError as error:
        takes = f"{free_space(path, size)}; " if size is not None else ""
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}); {takes}{MAKE_ROOM}, or keep data elsewhere "
            "(MOORL_DATA_DIR, D4RL_DATASET_DIR, MINARI_DATASETS_PATH, OGBENCH_DATASET_DIR)"
        ) from error
