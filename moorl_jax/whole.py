"""Files and folders that get their name when they are whole: written beside their place, and renamed at the end."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield where to write a file or a folder, under its own name; it is renamed to `path` unless something fails.

    What lies there stays as it was until then, whatever becomes of the writer or its disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as beside:
        partial = Path(beside) / path.name
        yield partial
        if path.is_dir():  # a folder that is not empty cannot be replaced, only moved away
            os.replace(path, Path(beside) / "replaced")
        os.replace(partial, path)
