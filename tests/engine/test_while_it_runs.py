"""What can be seen of a training while it runs: a callback, curves on disk, progress, trackers."""

import numpy as np
import pandas as pd
import pytest

from moorl_jax.agents import BC
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.engine.curves import CURVES
from moorl_jax.engine.training import train
from moorl_jax.errors import NotAvailableError, UnknownNameError
from moorl_jax.phases import Offline
from moorl_jax.tracking import TensorBoard, WeightsAndBiases

AGENT = BC(hidden=(8,), batch_size=8)


@pytest.fixture
def trained(hopper, hopper_data, tmp_path):
    """Train two seeds for six updates, evaluated after each two."""

    def run(agent=AGENT, **how):
        every = {"updates": 6, "evaluate_every": 2, "episodes": 1}
        return train(agent, hopper, seeds=(3, 1), dataset=hopper_data, checkpoints=tmp_path / "run", **every, **how)

    return run


def test_losses_and_returns_reach_a_callback_and_the_curves_grow_on_disk(trained, tmp_path):
    reports, lengths = [], []

    def callback(report):
        reports.append(report)
        lengths.append(len(pd.read_csv(tmp_path / "run" / CURVES)))

    run = trained(callback=callback)
    assert lengths == [2, 4, 6]
    assert [report.step for report in reports] == [2, 4, 6]
    columns = list(run.curves)
    pd.testing.assert_frame_equal(
        pd.concat([report.rows[columns] for report in reports], ignore_index=True), run.curves, check_exact=True
    )
    assert {"seed", "return", "score", "bc_loss"} <= set(columns)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "run" / CURVES), run.curves, rtol=1e-6)


def test_what_only_prepares_reports_its_losses_and_an_axis_that_grows(trained):
    class Twice(BC):
        def phases(self, updates, env_steps):
            return (Offline(self, 4, evaluated=False), Offline(self, updates))

    reports = []
    trained(Twice(hidden=(8,), batch_size=8), callback=reports.append)
    assert [report.step for report in reports] == [4, 6, 8, 10]
    assert "score" not in reports[0].rows
    assert np.isfinite(reports[0].rows["bc_loss"]).all()


def test_the_curves_of_a_training_that_was_killed_are_those_of_its_checkpoint(trained, tmp_path, monkeypatch):
    def stop(report):
        if report.done == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trained(callback=stop, checkpoint_seconds=0.0)
    assert len(pd.read_csv(tmp_path / "run" / CURVES)) == 4  # of which the checkpoint has two
    lengths = []
    write = Checkpoints.write_curves
    monkeypatch.setattr(
        Checkpoints, "write_curves", lambda self, curves: lengths.append(len(curves)) or write(self, curves)
    )
    trained()
    assert lengths == [2, 4, 6]


def test_progress_is_shown_unless_silenced(trained, capsys):
    trained()
    assert "offline: hopper-medium-v2 BC 6 of 6 updates" in capsys.readouterr().out
    trained(progress=False)
    assert capsys.readouterr().out == ""


def test_an_unknown_tracker_and_one_that_is_not_installed_are_named(trained, tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="unknown tracker 'tensorbord': did you mean tensorboard"):
        trained(track={"tensorbord": tmp_path})
    monkeypatch.setattr(TensorBoard, "package", "not_installed")
    with pytest.raises(NotAvailableError, match=r"needs not_installed: pip install 'moorl_jax\[tensorboard\]'"):
        trained(track={"tensorboard": tmp_path})
    assert not (tmp_path / "run").exists()


def test_tensorboard_shows_each_seed_with_its_config_once_though_it_was_killed(trained, tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="TensorBoard, which reads the files back, is not installed: the extra 'dev'",
    )
    pytest.importorskip("tensorboardX", reason="not installed: the extra 'tensorboard'")

    def stop(report):
        if report.done == 4:
            raise InterruptedError

    track = {"tensorboard": tmp_path / "log"}
    with pytest.raises(InterruptedError):  # logged at the updates 2 and 4, of which the checkpoint has the first two
        trained(callback=stop, track=track, checkpoint_seconds=0.0)
    run = trained(track=track)
    for seed in run.seeds:
        log = events.EventAccumulator(str(tmp_path / "log" / f"seed-{seed}"))
        log.Reload()
        curve = run.curves[run.curves["seed"] == seed]
        assert set(log.Tags()["scalars"]) == {*curve.columns, "rate"} - {"seed", "phase"}
        for name in ("return", "score", "bc_loss"):
            assert [each.step for each in log.Scalars(name)] == [2, 4, 6]
            np.testing.assert_allclose([each.value for each in log.Scalars(name)], curve[name], rtol=1e-6)
        config = log.Tensors("config/text_summary")[-1].tensor_proto.string_val[0].decode()
        assert f'"seed": {seed}' in config
        assert '"learning_rate": 0.0003' in config


@pytest.mark.slow
def test_weights_and_biases_gets_each_seed_with_its_config_and_resumes_its_run(trained, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="not installed: the extra 'wandb', which make test-slow installs")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    identities, logged, close = [], {}, WeightsAndBiases.close

    def stop(report):
        if report.done == 4:
            raise InterruptedError

    def see_and_close(self):
        identities.append([log.id for log in self._runs.values()])
        for seed, log in self._runs.items():
            logged[seed] = (dict(log.config), dict(log.summary), log.group, log.id)
        close(self)

    monkeypatch.setattr(WeightsAndBiases, "close", see_and_close)
    track = {"wandb": tmp_path / "log"}
    with pytest.raises(InterruptedError):
        trained(callback=stop, track=track, checkpoint_seconds=0.0)
    run = trained(track=track)
    assert identities[0] == identities[1]
    assert list(logged) == list(run.seeds)
    for seed, (config, last, group, identity) in logged.items():
        curve = run.curves[run.curves["seed"] == seed].iloc[-1]
        assert config["seed"] == seed
        assert config["agent_config"]["learning_rate"] == 3e-4
        assert (last["_step"], last["updates"], last["score"]) == (6, 6, curve["score"])
        assert group == "hopper-medium-v2 BC"
        assert (tmp_path / "log" / f"seed-{seed}.id").read_text(encoding="utf-8") == identity
        assert (
            1 <= len(list((tmp_path / "log" / "wandb").glob(f"offline-run-*-{identity}"))) <= 2
        )  # named by the second
        assert list((tmp_path / "log" / "wandb").glob(f"offline-run-*-{identity}/*.wandb"))
