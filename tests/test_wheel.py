"""docs/guides/tutorial.md and its notebook, by a program that has nothing but the installed wheel."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import imageio.v2
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs/guides/tutorial.md").read_text(encoding="utf-8")
NOTEBOOK = ROOT / "examples/pendulum.ipynb"
#: budgets that take seconds, in place of the guide's
TINY = {
    "range(30)": "range(2)",
    "2000": "20",
    "4000": "40",
    "--episodes 20": "--episodes 2",
    "--env Pendulum-v1 --se": "--env Pendulum-v1 --horizon 20 --se",  # of what trains
    "moorl-jax train ": "moorl-jax train --evaluate-every 10 --episodes 1 ",
    "horizon=200": "horizon=20",
    "how = {": 'how = {"evaluate_every": 10, "episodes": 1, ',
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The `bin` of an environment into which the wheel was installed; its packages are those of this one."""
    place = tmp_path_factory.mktemp("wheel")
    source, wheels, environment = place / "source", place / "wheels", place / "environment"
    source.mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    packed = subprocess.run(["tar", "-c", "--null", "-T", "-"], cwd=ROOT, input=files, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=source, input=packed.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "--python", environment / "bin/python", "install", "--no-deps", wheel], check=True)
    # Not before: pip would find the package among the others.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return environment / "bin"


@pytest.fixture
def run(installed, tmp_path):
    """Run a command of the environment in an empty directory; return what it prints."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    own = {"PATH": f"{installed}:{os.environ['PATH']}", "MINARI_DATASETS_PATH": str(tmp_path / "minari")}

    def run(*words):
        how = {"cwd": tmp_path, "env": kept | own, "text": True, "stderr": subprocess.STDOUT}
        ended = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, check=False, **how)
        assert ended.returncode == 0, f"{words}\n{ended.stdout}"
        return ended.stdout

    return run


def tiny(text):
    for before, after in TINY.items():
        text = text.replace(before, after)
    return text


def require_all(place):
    """Require everything that the guide's commands leave."""
    assert list(pd.read_csv(place / "runs/iql/curves.csv")["updates"].unique())[-1] == 40
    assert len(list((place / "runs/iql.tensorboard").glob("seed-*/events*"))) >= 2
    swept = pd.read_csv(place / "runs/sweeps/expectile/table.csv")
    assert swept["expectile"].tolist() == [0.5, 0.7, 0.9]
    assert swept["final"].notna().all()
    for seed in (0, 1):
        film = [np.asarray(frame) for frame in imageio.v2.get_reader(place / f"runs/pendulum-seed-{seed}.gif")]
        assert len(film) == 20
        assert (film[0] != film[-1]).any()
    assert (place / "runs/policy.onnx").stat().st_size > 100_000
    assert "expectile=0.9" in (place / "runs/table.md").read_text(encoding="utf-8")
    assert imageio.v2.imread(place / "runs/curves.png").std() > 5


def test_the_guide_needs_nothing_but_the_wheel(run, installed, tmp_path):
    home = run(installed / "python", "-c", "import moorl_jax; print(moorl_jax.__file__)")
    assert home.startswith(str(installed.parent))
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks].count("python") == 2
    for language, text in blocks:
        if language == "python":
            printed = run(installed / "python", "-c", tiny(text))
        elif not language:
            for line in tiny(text).splitlines():
                run("sh", "-c", line)
    assert "iql on Pendulum-v1, minari data" in printed
    require_all(tmp_path)


def test_the_notebook_does_the_same(run, installed, tmp_path):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["source"] = tiny("".join(cell["source"]))
    (tmp_path / "pendulum.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    execute = "import nbformat, nbclient; nbclient.execute(nbformat.read('pendulum.ipynb', 4))"
    run(installed / "python", "-c", execute)
    require_all(tmp_path)
    kept = (tmp_path / "runs/mine/agent/0/Cautious.py").read_text(encoding="utf-8")
    assert "CAUTION = 0.5" in kept
    assert "train" not in kept
    assert "runs/mine/agent/0/Cautious.py" in run("moorl-jax", "eval", "runs/mine", "--episodes", "1", "--trust")
