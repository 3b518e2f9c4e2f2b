"""What a wheel carries beside the code."""

import re
import tomllib
from pathlib import Path

import moorl_jax

PACKAGE = Path(moorl_jax.__file__).parent
SETTINGS = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_file_of_data_is_packaged():
    globs = SETTINGS["tool"]["setuptools"]["package-data"]["moorl_jax"]
    packaged = {path for glob in globs for path in PACKAGE.glob(glob)}
    files = [path for path in (PACKAGE / "data").rglob("*") if path.is_file()]
    carried = {path for path in files if path.suffix not in (".py", ".pyc")}
    policies = {"ant.npz", "pen.npz", "door.npz", "hammer.npz", "relocate.npz"}
    assert {"d4rl_files.csv", *policies} <= {path.name for path in carried}
    assert carried <= packaged


def test_what_is_to_be_installed_is_an_extra_of_the_package():
    """Which pip finds with a clone and without."""
    texts = [file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")]
    hints = [hint for text in texts for hint in re.findall(r"pip install ('[^']*'|\S+)", text)]
    assert all(re.fullmatch(r"'moorl_jax\[.+\]'", hint) for hint in hints), hints
    named = {hint[len("'moorl_jax[") : -2] for hint in hints if "{" not in hint}
    assert {"video", "ray"} <= named <= set(SETTINGS["project"]["optional-dependencies"])
