"""Write files and folders atomically: beside their place first, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path, of the same name, to write to; it is renamed to `path` if nothing fails.

    Until then `path` stays as it was, even if the process is killed or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as beside:
        partial = Path(beside) / path.name
        yield partial
        if path.is_dir():  # a folder that is not empty cannot be replaced, so move it away
            os.replace(path, Path(beside) / "replaced")
        os.replace(partial, path)
