import pandas as pd
import pytest
from typer.testing import CliRunner

from moorl_jax.cli import app
from moorl_jax.data import hdf5, recipe, sources


@pytest.fixture
def sweep(hopper, hopper_rows, monkeypatch, tmp_path):
    """`moorl-jax sweep` of TD3+BC, in this process, on a few rows."""
    version = {"metadata/version": str(recipe.VERSIONS["locomotion"])}
    hdf5.write(sources.find(hopper, "embedded").place, hopper_rows, version)
    monkeypatch.setattr("moorl_jax.cli.sweep.use_all_cores", lambda: None)
    always = ["--agent", "td3_bc", "--task", hopper.name, "--source", "embedded", "--seeds", "1", "--updates", "4"]

    def run(*words):
        return CliRunner().invoke(app, ["sweep", *always, "--results", str(tmp_path), *words], env={"COLUMNS": "200"})

    return run


def test_every_setting_is_a_line_and_a_second_call_trains_nothing(sweep, tmp_path):
    words = "--set", "alpha=1.0,2.5", "--set", "tau=0.005", "--name", "alphas"
    first = sweep(*words)
    assert first.exit_code == 0, first.output
    table = pd.read_csv(tmp_path / "sweeps" / "alphas" / "table.csv")
    assert table[["alpha", "tau"]].values.tolist() == [[1.0, 0.005], [2.5, 0.005]]
    assert table["final"].notna().all()
    written = (tmp_path / "sweeps" / "alphas" / "table.md").read_text(encoding="utf-8")
    assert "| task             | alpha   | tau   |" in written
    assert "Which settings of td3_bc score best?" in written
    names = {path.name for path in (tmp_path / "sweeps" / "alphas").iterdir()}
    assert names == {"table.csv", "table.md", "curves.png", "settings.png"}
    assert sweep(*words).output.count("finished before, kept") == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to sweep"),
        (("--set", "alfa=1,2"), "did you mean alpha"),
        (("--set", "discount=0.9,99.0"), "TD3BC.discount must be"),
        (("--set", "alpha=1", "--protocol", "ofline"), "did you mean offline"),
        (("--set", "alpha=1", "--data", "x.hdf5"), "a task of your own: leave --task out"),
        (("--set", "alpha=1", "--task", ""), "name tasks with --task, an environment with --env, or data with --data"),
    ],
)
def test_what_cannot_be_swept_is_one_line(sweep, words, told):
    run = sweep(*words)
    assert run.exit_code == 2, run.output
    assert told in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_dry_run_prints_the_plan_and_runs_nothing(sweep, tmp_path):
    run = sweep("--set", "alpha=1,2.5", "--dry-run")
    assert "2 cells, 2 to run" in " ".join(run.output.split())
    assert not (tmp_path / "cells").exists()
