"""Writing to a disk that may be full, or not ours to write to."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from moorl_jax.errors import MAKE_ROOM, OF_SPACE, StorageError, free_space, one_line


@contextmanager
def written_to(place: Path, arrays: Any) -> Iterator[None]:
    """Write the arrays, and little beside them, to a directory `place` that is not there yet.

    Where that fails nothing is left of it, and StorageError names the place and the cause; if the disk is full, the
    space that is needed and the space there is, too.
    """
    # Orbax logs the same error in two hundred lines, from its own threads.
    log = logging.getLogger("absl")
    log.disabled = True
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:  # Orbax has kinds of its own for what the system refuses
        shutil.rmtree(place, ignore_errors=True)
        fault = f"{place} cannot be written: {type(error).__name__}: {one_line(error)}"
        if any(os.strerror(number) in str(error) for number in OF_SPACE):
            fault += f"; {free_space(place, sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)))}; {MAKE_ROOM}"
        raise StorageError(fault) from error
    finally:
        log.disabled = False
