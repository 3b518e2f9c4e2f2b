"""What a wheel carries beside the code."""

import tomllib
from pathlib import Path

import moorl_jax

PACKAGE = Path(moorl_jax.__file__).parent


def test_every_file_of_data_is_packaged():
    settings = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    globs = settings["tool"]["setuptools"]["package-data"]["moorl_jax"]
    packaged = {path for glob in globs for path in PACKAGE.glob(glob)}
    files = [path for path in (PACKAGE / "data").rglob("*") if path.is_file()]
    carried = {path for path in files if path.suffix not in (".py", ".pyc")}
    policies = {"ant.npz", "pen.npz", "door.npz", "hammer.npz", "relocate.npz"}
    assert {"d4rl_files.csv", *policies} <= {path.name for path in carried}
    assert carried <= packaged
