"""What a wheel carries beside the code."""

import tomllib
from pathlib import Path

import moorl_jax

PACKAGE = Path(moorl_jax.__file__).parent


def test_every_embedded_file_is_packaged():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    globs = settings["tool"]["setuptools"]["package-data"]["moorl_jax"]
    packaged = {path for glob in globs for path in PACKAGE.glob(glob)}
    carried = {path for path in (PACKAGE / "data/embedded").rglob("*") if path.is_file()}
    assert {"ant.npz", "pen.npz", "door.npz", "hammer.npz", "relocate.npz"} <= {path.name for path in carried}
    assert carried <= packaged
