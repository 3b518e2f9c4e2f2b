"""`moorl-jax table`, `compare` and `plot`, on results that are made up."""

import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from moorl_jax.cli import app
from tests.stored import store

HOPPER, WALKER = "hopper-medium-v2", "walker2d-medium-v2"


@pytest.fixture
def place(tmp_path):
    """Two tasks with two agents, IQL with another expectile on one, and a result of another budget."""
    for task in (HOPPER, WALKER):
        store(tmp_path / f"of/{task}/iql", "iql", task, (50.0, 70.0))
        store(tmp_path / f"of/{task}/bc", "bc", task, (9.0, 11.0))
    store(tmp_path / "of/other", "iql", HOPPER, (1.0, 3.0), overrides=["expectile=0.9"])
    store(tmp_path / "of/long", "iql", HOPPER, (80.0, 90.0), updates=5_000)
    return tmp_path


@pytest.fixture
def call(place):
    def run(command, *words):
        return CliRunner().invoke(app, [command, str(place / "of"), *map(str, words)], env={"COLUMNS": "200"})

    return run


@pytest.mark.parametrize("ending", [".md", ".csv", ".tex"])
def test_a_table_has_each_agent_in_its_budget_and_is_written_as_asked(call, place, ending):
    shown = call("table", "--out", place / f"table{ending}")
    assert shown.exit_code == 0, shown.output
    assert shown.output.index("offline: 5,000 updates") > 0
    assert "60.0 ± 10.0 │ 2.0 ± 1.0" in shown.output  # the settings that were changed are a column of their own
    written = (place / f"table{ending}").read_text(encoding="utf-8")
    assert {".md": "| hopper-medium-v2   |", ".csv": "85.0000", ".tex": r"60.0 $\pm$ 10.0"}[ending] in written
    if ending == ".csv":
        numbers = pd.read_csv(place / "table.csv").set_index(["task", "agent", "updates"])
        assert numbers.loc[(HOPPER, "iql", 5_000), "mean"] == 85.0
        assert len(numbers) == 6


def test_agents_and_tasks_are_chosen_and_ordered(call):
    shown = call("table", "--agents", "iql,bc", "--tasks", WALKER).output
    assert HOPPER not in shown
    assert shown.index("iql") < shown.index("bc")


def test_of_two_results_of_one_agent_the_other_is_named(call, place):
    store(place / "of/earlier", "iql", HOPPER, (0.0, 0.0), finished="2026-11-01T12:00:00+00:00")
    shown = call("table")
    assert "60.0 ± 10.0" in shown.stdout
    assert shown.stderr.count("left out") == 1
    assert "of/earlier" in shown.stderr


def test_the_best_scores_are_called_an_oracles(call):
    assert "which an oracle would pick" in call("table", "--by", "best").output


def test_a_comparison_has_aggregates_and_improvements(call, place):
    shown = call("compare", "--out", place / "compared.csv")
    assert shown.exit_code == 0, shown.output
    assert "60.0 [50.0, 70.0]" in shown.output
    assert "bc above iql │ 0.00 [0.00, 0.00]" in shown.output
    assert "Left out, with half of the tasks or fewer: iql (expectile=0.9)" in " ".join(shown.output.split())
    assert pd.read_csv(place / "compared.csv")["probability"].tolist() == [0.0]


@pytest.mark.parametrize("kind", ["curves", "final", "profile"])
def test_a_picture_is_as_wide_as_asked(call, place, kind):
    chosen = ["--tasks", WALKER + "," + HOPPER, "--agents", "bc,iql"] if kind != "profile" else ["--agents", "bc"]
    drawn = call("plot", "--kind", kind, "--out", place / "a.png", "--width", 4, *chosen)
    assert drawn.exit_code == 0, drawn.output
    assert Image.open(place / "a.png").width == 1200
    assert call("plot", "--kind", kind, "--out", place / "a.pdf", *chosen).exit_code == 0
    assert (place / "a.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("table", "--out", "table.doc"), "a table is written as one of .md, .csv, .tex"),
        (("table", "--agents", "iqql"), "did you mean iql"),
        (("table", "--tasks", "hopper-medium"), "did you mean hopper-medium-v2"),
        (("plot", "--out", "a.gif"), "a picture is written as one of .png, .pdf, .svg"),
        (("plot", "--out", "a.png", "--kind", "profile"), "a profile is of one budget"),
        (("compare", "--agents", "bc"), "nothing to compare"),
    ],
)
def test_what_cannot_be_shown_is_one_line(call, words, told):
    shown = call(*words)
    assert shown.exit_code == 2, shown.output
    assert told in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_where_only_a_table_lies_its_results_are_named(tmp_path):
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick/table.csv").touch()
    shown = CliRunner().invoke(app, ["plot", str(tmp_path / "quick"), "--out", "a.png"])
    assert shown.exit_code == 2
    assert f"make some; a table's results are in {tmp_path / 'cells'}" in shown.stderr


def test_what_was_explored_is_a_table_and_a_picture(place, call):
    assert "Exploration" not in call("table").output
    refused = call("plot", "--kind", "exploration", "--out", place / "nothing.png")
    assert "only tasks of AntMaze and robots of the plane count cells" in refused.stderr
    spent = {"updates": 0, "env_steps": 1_000}
    store(place / "of/hybrid", "rlpd", HOPPER, visited=(1_200, 1_400), **spent)
    store(place / "of/alone", "sac", HOPPER, **spent)
    shown = call("table").output
    assert shown.count("Exploration") == 2  # a title and the legend
    assert "1,300 ± 100" in shown
    assert call("plot", "--kind", "exploration", "--out", place / "cells.png").exit_code == 0
    assert Image.open(place / "cells.png").width > 300
