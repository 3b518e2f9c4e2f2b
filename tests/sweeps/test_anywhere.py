"""A machine with nothing but the package: no network (as in all tests), no policies named, no data at hand."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from moorl_jax.cli import app
from moorl_jax.data import plans
from moorl_jax.tasks import expand

CLONED = ("pen-cloned-v1", "door-cloned-v1", "hammer-cloned-v1", "relocate-cloned-v1")


def bench(tmp_path, *words):
    return CliRunner().invoke(app, ["bench", "--results", str(tmp_path), *words], env={"COLUMNS": "1000"})


@pytest.mark.parametrize("suite", ["antmaze", "locomotion", "vd4rl"])
def test_a_suite_has_all_its_data(suite, tmp_path):
    said = bench(tmp_path, "--task", suite, "--dry-run")
    assert said.exit_code == 0, said.output
    assert "Missing data" not in said.output


def test_of_the_28_tasks_only_the_cloned_hands_lack_theirs(tmp_path):
    said = bench(tmp_path, "--task", "moorl-28", "--dry-run")
    (line,) = (line for line in said.output.splitlines() if line.startswith("Missing data: "))
    names, _, advice = line.removeprefix("Missing data: ").partition("; ")
    assert tuple(names.split(", ")) == CLONED
    assert "put D4RL's files into" in advice
    assert "--policies DIR" in advice


@pytest.mark.slow
def test_antmaze_ends_in_a_full_table(tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "_STEPS", 2_100)
    words = ("--task", "antmaze", "--agents", "bc", "--updates", "2", "--seeds", "1", "--name", "table")
    said = bench(tmp_path, *words)
    assert said.exit_code == 0, said.output
    assert said.output.startswith("D4RL's server is unreachable; generating data with bundled policies: ")
    table = pd.read_csv(tmp_path / "table/table.csv")
    assert table["task"].tolist() == [task.name for task in expand("antmaze")]
    assert table["source"].eq("embedded").all()
    assert table["bc"].notna().all()
