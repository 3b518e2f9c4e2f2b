"""The examples run as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted(Path(__file__).parents[1].glob("examples/*.py"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Where the examples' dataset is made, once."""
    return tmp_path_factory.mktemp("data")


@pytest.mark.slow
@pytest.mark.parametrize(
    "example",
    EXAMPLES,
    ids=lambda path: path.stem,
)
@pytest.mark.usefixtures("_can_render")  # one of them films
def test_an_example_runs(example, data, tmp_path):
    environment = os.environ | {"MOORL_DATA_DIR": str(data)}
    subprocess.run([sys.executable, example], cwd=tmp_path, env=environment, check=True, timeout=600)
