"""Tasks of one's own: trained, resumed, and read back without what made them."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from moorl_jax import Dataset, Task, train
from moorl_jax.agents import BC, SAC
from moorl_jax.cli import app
from moorl_jax.engine import results, seals
from moorl_jax.errors import MoorlError
from moorl_jax.reports import page, tables
from moorl_jax.sweeps.budgets import BUDGETS
from moorl_jax.sweeps.cells import Cell, sourced
from moorl_jax.sweeps.runner import Outcome
from tests.stored import store
from tests.tasks.test_own import Counter

ROWS = 12


@pytest.fixture
def evaluation(monkeypatch):
    """Call `moorl-jax eval`."""
    monkeypatch.setattr("moorl_jax.cli.evaluate.use_all_cores", lambda: None)  # JAX has started
    return lambda *words: CliRunner().invoke(app, ["eval", *map(str, words)])


def data(task=None):
    floats = np.zeros((ROWS, 2)), np.linspace(-1, 1, ROWS)[:, None], np.ones(ROWS)
    return Dataset.from_arrays(*floats, timeouts=np.arange(ROWS) % 4 == 3, task=task)


def test_a_result_is_read_and_tabulated_without_the_code_that_made_it(tmp_path, evaluation):
    task = Task.of(Counter, name="counter", horizon=3, episodes=1)
    agent = BC(hidden=(4,), batch_size=2)
    run = train(agent, dataset=data(task), seeds=2, updates=2, evaluate_every=1)
    assert (run.curves["return"] == 3.0).all()
    results.save(run, tmp_path / "cells/counter/bc", "the command")
    result = results.read(tmp_path / "cells/counter/bc")
    assert result.task == dataclasses.replace(task, make=None)
    assert result.config["source"] == "arrays"
    np.testing.assert_array_equal(result.last_scores(), [3.0, 3.0])
    evaluated = evaluation(result.directory, "--episodes", 1)
    assert evaluated.stderr.startswith("error: function tests.tasks.test_own.Counter made the environment")


@pytest.mark.parametrize(
    ("task", "score", "told"),
    [
        (Task.of("Pendulum-v1"), "15.0 ± 5.0", "Scores of Pendulum-v1 are returns."),
        (Task.of("Pendulum-v1", score=(-1500, 0)), "15.0 ± 5.0", "a return of -1500 is 0, of 0 100."),
        (Task.of(name="nowhere", observation_size=3, action_size=1), "–", "nowhere has no environment"),
    ],
)
def test_tables_say_what_scores_are(task, score, told, tmp_path):
    cell = Cell(task.with_data("file", "pendulum.hdf5"), "iql", "file", (0, 1), BUDGETS["quick"], "offline")
    directory = store(tmp_path / "cells" / cell.name, task=task.name, source="file")
    described(directory, task)
    outcomes = [Outcome(cell, results.read(directory))]
    assert tables.text_frame(outcomes)["iql"].tolist() == [score]
    assert told in tables.caption(outcomes)


def test_the_page_has_tasks_of_ones_own_beside_the_others(tmp_path):
    store(tmp_path / "cells/hopper", "moved.py:Mine", scores=(5.0, 6.0))  # whose agent's file is not here
    nowhere = Task.of(name="nowhere", observation_size=3, action_size=1)
    for task in (Task.of("Pendulum-v1"), nowhere):
        directory = store(tmp_path / "cells" / task.name, task=task.name)
        described(directory, task)
    html = page.render([tmp_path])
    assert "Scores of Pendulum-v1 are returns. nowhere has no environment: nothing was evaluated." in html
    assert html.count("15.0 ± 5.0") == 1
    assert "diverged 2/2" not in html


def test_what_was_not_evaluated_has_no_score_in_a_table(tmp_path):
    nowhere = Task.of(name="nowhere", observation_size=3, action_size=1)
    described(store(tmp_path / "run", task=nowhere.name, scores=(float("nan"),) * 2), nowhere)
    shown = CliRunner().invoke(app, ["table", str(tmp_path), "--out", str(tmp_path / "table.csv")])
    assert "diverged" not in shown.output
    assert "nowhere has no environment" in " ".join(shown.output.split())
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").rstrip().endswith("0,0")  # seeds, diverged


@pytest.mark.parametrize("command", ["bench", "sweep"])
def test_a_sweep_over_data_alone_takes_its_range_of_actions(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for module in ("bench", "sweep"):
        monkeypatch.setattr(f"moorl_jax.cli.{module}.use_all_cores", lambda: None)  # JAX has started
    with h5py.File("mine.hdf5", "w") as file:
        file["observations"], file["rewards"], file["terminals"] = np.zeros((8, 2)), np.zeros(8), np.arange(8) % 4 == 3
        file["actions"] = np.linspace(-2, 2, 8)[:, None]
    small = ["--set", "hidden=(4,)", "--set", "batch_size=2", "--updates", "2", "--seeds", "1"]
    agent = "--agents" if command == "bench" else "--agent"
    run = CliRunner().invoke(app, [command, agent, "bc", *small, "--data", "mine.hdf5", "--action-range=-2,2"])
    assert run.exit_code == 0, run.output
    (result,) = results.below(tmp_path / "results/cells")
    assert results.read(result).task.action_range == ((-2.0,), (2.0,))


def described(directory, task):
    """Write into a made-up result which task it is of."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    config["own_task"] = task.written
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    seals.seal(directory)


def test_a_result_of_a_task_that_is_none_is_named(tmp_path):
    directory = store(tmp_path / "cell", task="pendulum")
    described(directory, Task.of("Pendulum-v1", name="pendulum"))
    config = (directory / "config.json").read_text(encoding="utf-8")
    for was, is_now in (('"horizon": 200', '"horizon": "long"'), ('"horizon"', '"width"')):
        (directory / "config.json").write_text(config.replace(was, is_now), encoding="utf-8")
        seals.seal(directory)
        with pytest.raises(MoorlError, match="it is as it was written, so it may be of an earlier version"):
            results.read(directory)


def test_a_package_of_a_results_environment_is_imported_only_where_it_is_trusted(tmp_path, evaluation):
    directory = store(tmp_path / "cell", task="mine")
    described(directory, dataclasses.replace(Task.of("Pendulum-v1", name="mine"), package="no_such_package"))
    for trust, words in (
        ([], "which would be imported: --trust allows it"),
        (["--trust"], "importing the package 'no_such_package'"),
    ):
        evaluated = evaluation(directory, *trust)
        assert evaluated.exit_code == 2
        assert words in evaluated.output


def test_a_cells_command_names_the_environment_and_the_data():
    task = Task.of("Pendulum-v1", score=(-1500, 0)).with_data("file", "/data/pendulum.hdf5")
    cell = sourced(Cell(task, "bc", "", (0, 1), BUDGETS["quick"], "offline"), "auto", None)
    assert cell.source == "file"
    words = "--env Pendulum-v1 --horizon 200 --score=-1500.0,0.0 --data /data/pendulum.hdf5 --seeds 0,1"
    assert words in cell.command
    assert cell.written["own_task"]["horizon"] == 200


@pytest.mark.parametrize(
    ("task", "how", "words"),
    [
        (None, {"agent": SAC(random_steps=1), "env_steps": 5}, "arrays has no environment to act in"),
        ("hopper", {}, r"the dataset has observations \(2,\) and 1 actions, hopper has \(11,\) and 3"),
        (Task.of(Counter, name="wide", action_range=(-2, 2)), {}, "have another range than those of wide"),
    ],
)
def test_what_does_not_fit_is_one_line(task, how, words):
    with pytest.raises(MoorlError, match=words):
        train(**{"agent": BC(), "task": task, "dataset": data(), "seeds": 1, "updates": 1} | how)
    with pytest.raises(MoorlError, match="there is no task: name one, or give a dataset"):
        train(BC())


@pytest.mark.slow
def test_a_training_whose_simulators_cannot_be_saved_goes_on_in_new_episodes(tmp_path):
    """The one under way ends there, as by a time-out; what that cost is said, and written into the result."""
    agent = SAC(hidden=(4,), batch_size=2, random_steps=2)
    task = Task.of(Counter, name="counter", horizon=5, episodes=1)
    how = {"seeds": 2, "updates": 0, "env_steps": 12, "evaluate_every_steps": 2, "checkpoint_seconds": 0.0}
    said = []

    def stop(report):
        if report.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(agent, task, checkpoints=tmp_path / "c", callback=stop, **how)
    run = train(agent, task, checkpoints=tmp_path / "c", warn=said.append, **how)
    assert len(said) == 1
    assert "counter: its simulators cannot be saved" in said[0]
    assert run.resumed_anyway == [{"updates": 6, "env_steps": 8, "episodes": "began anew"}]
    assert run.curves["env_steps"].max() == 12
    assert np.isfinite(run.curves["return"]).all()
