import dataclasses
import multiprocessing

import numpy as np
import pytest

from moorl_jax.data import hdf5, sources
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.progress import Display, terminal
from moorl_jax.sweeps.cells import plan
from moorl_jax.sweeps.launchers import InProcesses, launching
from moorl_jax.sweeps.runner import sweep
from tests.sweeps.test_runner import NOTES, TINY

KILLED = """
import os
import signal

from moorl_jax.agents import BC


class Killed(BC):
    def init(self, key, example):
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def cells(hopper, hopper_rows, tmp_path):
    """Three cells of which the second kills the process that it is in."""
    hdf5.write(sources.find(hopper, "embedded").place, hopper_rows, NOTES)
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    agents = ["bc", f"{tmp_path / 'killed.py'}:Killed", "td3_bc"]
    budget = dataclasses.replace(TINY, episodes=1)
    return plan((hopper,), agents, "embedded", None, 1, budget, "offline")


@pytest.mark.slow
def test_cells_run_side_by_side_and_a_lost_process_loses_its_own_alone(cells, tmp_path, capsys):
    display = Display(terminal())
    with InProcesses(2, display) as launcher:
        outcomes = sweep(cells, tmp_path / "cells", None, display, launcher)
    alone = sweep([cells[0]], tmp_path / "alone", None, display)
    assert [bool(outcome.fault) for outcome in outcomes] == [False, True, False]
    assert "exit status -9" in outcomes[1].fault
    there, here = outcomes[0].result.curves, alone[0].result.curves
    # With half of the cores products may be summed in another order.
    np.testing.assert_allclose(there["score"], here["score"], rtol=1e-5)
    said = capsys.readouterr().out
    assert "offline: [1/3] hopper-medium-v2 bc 6 of 6 updates" in said
    assert "(3 of 3 cells)" in said


@pytest.mark.slow
def test_a_process_that_cannot_be_started_loses_its_cell_alone(cells, tmp_path, monkeypatch):
    started = multiprocessing.context.SpawnProcess.start
    refused = iter([True, False])

    def start(process):
        if next(refused):
            raise OSError("cannot allocate memory")
        started(process)

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start)
    display = Display(terminal())
    with InProcesses(1, display) as launcher:
        bad, good = sweep([cells[0], cells[2]], tmp_path / "cells", None, display, launcher)
    assert "cannot allocate memory" in bad.fault
    assert good.result is not None


def test_wrong_choices_are_named():
    display = Display(terminal())
    with pytest.raises(MoorlError, match="leave out --parallel"), launching("ray", 2, 0.0, display):
        pass
    with pytest.raises(MoorlError, match="--launcher ray"), launching("local", 1, 0.5, display):
        pass
    with pytest.raises(UnknownNameError, match="did you mean ray"), launching("rays", 1, 0.0, display):
        pass


@pytest.mark.slow
def test_a_ray_cluster_of_two_nodes_runs_all_and_loses_one_cell(cells, tmp_path, monkeypatch, capsys):
    from ray.cluster_utils import Cluster

    with monkeypatch.context() as elsewhere:  # a cluster does not know where this user's data lies
        elsewhere.delenv("MOORL_DATA_DIR")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    display = Display(terminal())
    try:
        with launching("ray", 1, 0.0, display) as launcher:
            outcomes = sweep(cells, tmp_path / "cells", None, display, launcher)
    finally:
        cluster.shutdown()
    assert [bool(outcome.fault) for outcome in outcomes] == [False, True, False]
    assert "its worker died" in outcomes[1].fault
    assert "offline: [1/3] hopper-medium-v2 bc 6 of 6 updates" in capsys.readouterr().out
