import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from moorl_jax.reports import forecast
from moorl_jax.sweeps.budgets import BUDGETS
from moorl_jax.sweeps.cells import Cell
from moorl_jax.tasks import find
from tests.stored import store

BUDGET = dataclasses.replace(BUDGETS["quick"], updates=36_000, updates_before=36_000, env_steps=3_600)


def cell(agent, protocol="offline", task="hopper-medium-v2"):
    return Cell(find(task), agent, "recipe", (0, 1, 2), BUDGET, protocol)


def test_time_is_measured_on_finished_cells(tmp_path):
    """Two seeds on one device took 10 s for 1,000 updates: 5 ms each; 50 s for 500 env steps: 50 ms each.

    A study's one seed took 10 ms, with settings changed by hand: it is not counted.
    """
    store(tmp_path / "one", env_steps=500)
    store(tmp_path / "elsewhere", agent="bc")
    store(tmp_path / "study", overrides=["batch_size=4096"], scores=(10.0,))
    cells = [cell("iql"), cell("iql", "offline-to-online"), cell("cql")]
    offline, both, unknown = forecast.forecast(cells, tmp_path, None, "cpu cpu", 2)
    assert offline.device_hours == pytest.approx(3 * 36_000 * 0.005 / 3600)
    assert both.device_hours == pytest.approx(3 * (36_000 * 0.005 + 3_600 * 0.05) / 3600)
    # Three seeds take two devices; images' share one.
    assert offline.hours == pytest.approx(offline.device_hours / 2)
    assert np.isnan(unknown.device_hours)
    assert np.isnan(forecast.forecast(cells, tmp_path, None, "gpu NVIDIA H200", 1)[0].device_hours)


def test_compiling_and_evaluating_do_not_grow_with_the_updates(tmp_path):
    """Of 10 s for two seeds' 1,000 updates 4 went into compiling, 2 into twice ten episodes."""
    store(tmp_path / "one", seconds={"compile": 4.0, "evaluate": 2.0})
    planned = cell("iql")
    (found,) = forecast.forecast([planned], tmp_path, None, "cpu cpu", 2)
    each = 36_000 * 0.002 + BUDGET.evaluations * planned.episodes * 0.05
    assert found.device_hours == pytest.approx((3 * each + 2 * 4.0) / 3600)
    assert found.hours == pytest.approx((3 * each / 2 + 4.0) / 3600)


def test_data_and_experience_take_memory(tmp_path):
    store(tmp_path / "one")  # of 5,000 transitions
    offline, both = forecast.forecast([cell("iql"), cell("iql", "offline-to-online")], tmp_path, None, "cpu cpu", 2)
    row = 4 * (2 * 11 + 3 + 2)
    assert offline.memory == 2 * 5_000 * row  # a copy on each of two devices
    assert both.memory == (2 * 5_000 + 3 * 3_600) * row  # and each seed's experience
    images = forecast.forecast([cell("drq_bc", task="vd4rl-cheetah_run-random")], tmp_path, None, "cpu cpu", 2)[0]
    assert images.memory == 10_000 * 84 * 84 * 3  # once, on a CPU


def test_the_plan_is_printed(tmp_path):
    store(tmp_path / "one")
    console = Console(file=io.StringIO(), width=140)
    cells = [cell("iql"), cell("cql"), cell("iql", task="relocate-cloned-v1")]
    forecast.show(cells, tmp_path, None, 1, console)
    said = " ".join(console.file.getvalue().split())
    assert "3 cells, 3 to run" in said
    assert "Size unknown, not counted: relocate-cloned-v1" in said
    assert "Without an estimate: cql" in said
    assert "device hours" in said


def test_what_is_not_known_is_not_called_nothing(tmp_path):
    console = Console(file=io.StringIO(), width=140)
    forecast.show([cell("cql")], tmp_path, None, 1, console)
    assert "no time known" in " ".join(console.file.getvalue().split())


@pytest.mark.parametrize("agents", [("iql", "rlpd"), ("rlpd", "iql")])
def test_data_is_counted_once_and_checkpoints_of_those_that_run(tmp_path, agents):
    """In whatever order: 5,000 rows of data, and two checkpoints of three seeds' experience, of one cell at a time."""
    store(tmp_path / "one")
    console = Console(file=io.StringIO(), width=140)
    cells = [cell(agent, "offline-to-online" if agent == "rlpd" else "offline") for agent in agents]
    forecast.show(cells, tmp_path, None, 1, console)
    row = 4 * (2 * 11 + 3 + 2)
    expected = (5_000 + 2 * 3 * 3_600) * row / 1e6
    assert f"{expected:,.0f} MB of disk" in " ".join(console.file.getvalue().split())
