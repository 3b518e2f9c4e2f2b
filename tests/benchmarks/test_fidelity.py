"""The lines of the fidelity table, each held to what it is set against."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import fidelity
from benchmarks.fidelity import KNOWN, ROBOTS, TASKS, known_returns, measure, random_returns, recorded_errors
from moorl_jax.data import recipe
from moorl_jax.tasks import expand, find
from moorl_jax.tasks.antmaze import Maze

# A median step's largest error of an observation's entries, and the reward's, as measured by others on this MuJoCo.
RECORDED = {"halfcheetah": (0.082, 0.028), "hopper": (0.0062, 0.0022), "walker2d": (0.137, 0.008)}


@pytest.mark.parametrize("robot", ROBOTS)
def test_a_step_ends_where_the_recorded_one_did(robot, policies):
    """No farther than others measured, and a tenth."""
    observation, reward = recorded_errors(robot, policies)
    assert observation < 1.1 * RECORDED[robot][0]
    assert reward < 1.1 * RECORDED[robot][1]


@pytest.mark.parametrize("name", [name for name in TASKS if find(name).family in ("antmaze", "kitchen")])
def test_random_actions_earn_nothing_where_a_goal_is_far(name):
    assert random_returns(find(name), 2).mean == find(name).low == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TASKS if find(name).family in ("locomotion", "adroit")])
def test_random_actions_return_d4rls_minimum(name):
    """Within three standard errors of this mean and of D4RL's, taken to be of a hundred episodes.

    Not Hopper's: D4RL's minimum, -20.3, is no return of uniform actions, which pay at least the reward of standing.
    """
    episodes = 30 if name.startswith("halfcheetah") else 300
    returns = random_returns(find(name), episodes)
    if name.startswith("hopper"):
        assert 10.0 < returns.mean < 25.0
        return
    theirs = returns.error * np.sqrt(episodes / 100)
    assert abs(returns.mean - find(name).low) < 3 * np.hypot(returns.error, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_a_known_policy_returns_what_others_measured(name, policies):
    """Within three standard errors of this mean and of theirs, taken to be of eight episodes, the fewest known."""
    returns = known_returns(find(name), policies, 20)
    assert abs(returns.mean - KNOWN[name].returned) < 3 * np.hypot(returns.error, returns.error * np.sqrt(20 / 8))


def test_a_line_of_the_table():
    row = measure(find("walker2d-medium-v2"), None, 2)
    assert row["environment"] == "locomotion walker2d"
    assert (row["observation"], row["action"], row["horizon"], row["D4RL's minimum"]) == ("17", "6", "1000", "1.6")
    assert row["known policy"] == "–"


@pytest.mark.slow
def test_the_page(walker, tmp_path, monkeypatch):
    """A small part of every AntMaze set, of an ant that stands still where it begins."""
    monkeypatch.setattr(fidelity, "TASKS", ("antmaze-umaze-v2",))
    monkeypatch.setattr(recipe, "ProcessPoolExecutor", lambda workers, _: ThreadPoolExecutor(workers))  # starts at once
    page = tmp_path / "page.md"
    said = CliRunner().invoke(
        fidelity.app, ["--policies", str(walker), "--episodes", "2", "--rows", "1100", "--out", str(page)]
    )
    assert said.exit_code == 0, said.output
    environments, data = page.read_text(encoding="utf-8").split("\n## ")
    assert "\n| antmaze umaze " in environments
    assert "1,100 rows" in data
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in data.splitlines() if line[0:1] == "|"]
    lines = [dict(zip(table[0], cells, strict=True)) for cells in table[2:]]
    assert [line["data"] for line in lines] == [task.name for task in expand("antmaze")]
    for line, task in zip(lines, expand("antmaze"), strict=True):
        cell = Maze(task.subject).position(Maze(task.subject).goal)
        assert line["rows an episode"] == ("701" if task.name == "antmaze-umaze-v2" else "1,001")
        assert line["episodes"] == "2"
        assert line["D4RL's"] == f"{recipe.TERMINALS[task.name]:,}"
        goal = np.array(line["the file's goal"].split(", "), float)
        assert ((goal >= cell) & (goal <= cell + 1.5)).all()
    assert (lines[0]["at a goal drawn"], lines[0]["at the file's goal"]) == ("0 (0 to 0)", "0")  # it begins far away
