"""Where datasets are kept unless the user names another place."""

import os
import tempfile
from pathlib import Path


def kept_in(variable: str, *below_home: str) -> Path:
    """Return the directory that an environment variable names, else one below the home directory.

    Below the directory of temporary files, under the user's number, where there is no home: in a container that runs
    under a number without an entry in /etc/passwd.
    """
    if named := os.environ.get(variable):
        return Path(named)
    try:
        home = Path.home()
    except RuntimeError:
        home = Path(tempfile.gettempdir()) / f"moorl_jax-{os.getuid()}"
    return home.joinpath(*below_home)
