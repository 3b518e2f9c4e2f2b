"""The robots' embedded sets: a small part of each is made, and returns what its policies were measured to return."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks import levels
from moorl_jax.data import load, plans, recipe
from moorl_jax.tasks import TASKS, find

SETS = [task.name for task in TASKS.values() if task.family == "locomotion" and "embedded" in task.datasets]
ROWS = 10_000


@pytest.fixture
def small(monkeypatch):
    """Plan a hundredth of every set, a twentieth of a replay, and make it in this process."""
    monkeypatch.setattr(recipe, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(plans, "_STEPS", ROWS)
    monkeypatch.setattr(plans, "_REPLAY_STEPS", {robot: steps // 20 for robot, steps in plans._REPLAY_STEPS.items()})


def measured(robot, level):
    """Return the mean and the deviation of a policy's returns, and of how many episodes, from the file beside it."""
    if (robot, level) in plans.DISTILLED:
        student = pd.read_csv(plans.EMBEDDED / f"locomotion/{robot}-{level}.csv").set_index("policy").loc["student"]
        return student["return"], student["deviation"], student["episodes"]
    row = pd.read_csv(plans.EMBEDDED / robot / plans.RETURNS).iloc[0 if level == "random" else -1]
    return row["return"], row["deviation"], 20


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_small_part_returns_what_its_policies_do(name, small):
    """Within four standard errors of both means; a replay between the untrained policy and the last."""
    task = find(name)
    dataset = load(task, "embedded")
    dataset.rows.check(task, name)
    returns, _ = dataset.trajectory_returns()
    if task.level == "medium-replay":
        assert len(dataset.rows.rewards) == plans._REPLAY_STEPS[task.subject]
        assert measured(task.subject, "random")[0] < returns.mean() < measured(task.subject, "medium")[0]
        return
    parts = ("medium", "expert") if task.level == "medium-expert" else (task.level,)
    assert len(dataset.rows.rewards) == len(parts) * ROWS
    for number, level in enumerate(parts):
        first = number * ROWS
        mean, deviation, episodes = measured(task.subject, level)
        rewards = dataset.rows.rewards[first : first + ROWS]
        over = dataset.rows.timeouts[first : first + ROWS] | dataset.rows.terminals[first : first + ROWS]
        ends = np.flatnonzero(over)
        earned = np.add.reduceat(rewards.astype(float), np.concatenate([[0], ends[:-1] + 1]))[:-1]  # the last is cut
        error = deviation * np.sqrt(1 / episodes + 1 / max(1, len(earned)))
        assert abs(earned.mean() - mean) < 4 * error


def test_a_table_of_sets_beside_d4rls(small, monkeypatch, tmp_path):
    monkeypatch.setattr(levels, "TASKS", {name: find(name) for name in ("hopper-random-v2", "hopper-medium-expert-v2")})
    run = CliRunner().invoke(levels.app, ["--out", str(tmp_path / "levels.md")])
    assert run.exit_code == 0, run.output
    lines = (tmp_path / "levels.md").read_text().splitlines()
    random, both = ([cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| hopper-"))
    assert random[1:3] == ["hopper-random-v2", "10,000"]
    assert random[8] == "18 ± 18"
    assert random[11].endswith(" %")
    assert (both[2], both[8], both[11]) == ("20,000", "–", "–")  # D4RL's returns are not known
