import dataclasses
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from moorl_jax.agents import AGENTS, OPT, TD3BC, TuneIQL
from moorl_jax.cli import app
from moorl_jax.cli import bench as command
from moorl_jax.cli.train import read_seeds
from moorl_jax.data import Preparation, hdf5, load, recipe, sources
from moorl_jax.engine import provenance, results, seals
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.locks import held
from moorl_jax.progress import Display, terminal
from moorl_jax.replay import Mixed
from moorl_jax.reports import tables
from moorl_jax.settings import Settings
from moorl_jax.sweeps import cells as of_sweeps
from moorl_jax.sweeps import launchers, runner
from moorl_jax.sweeps.budgets import BUDGETS, Budget
from moorl_jax.sweeps.cells import Cell, able, by_default, plan, together
from moorl_jax.sweeps.runner import Job, attempt, collect, sweep
from moorl_jax.tasks import expand, find
from tests.stored import store

NOTES = {"metadata/version": str(recipe.VERSIONS["locomotion"])}
TINY = Budget(
    "tiny",
    updates=6,
    updates_before=6,
    updates_each=6,
    env_steps=20,
    env_steps_alone=20,
    seeds=1,
    evaluations=2,
    episodes=10,
)


@pytest.fixture
def cells(hopper, hopper_rows, monkeypatch):
    """Two cells on the small dataset, with one evaluation episode."""
    hdf5.write(sources.find(hopper, "embedded").place, hopper_rows, NOTES)
    hopper = dataclasses.replace(hopper, evaluation_episodes=1)
    return plan((hopper,), ["bc", "iql"], "embedded", None, 1, TINY, "offline")


@pytest.fixture
def run_sweep(tmp_path):
    def run(cells):
        return sweep(cells, tmp_path, None, Display(terminal()))

    return run


def test_a_sweep_leaves_a_result_a_cell(cells, run_sweep, tmp_path):
    outcomes = run_sweep(cells)
    assert [outcome.fault for outcome in outcomes] == ["", ""]
    for outcome in outcomes:
        result = results.read(tmp_path / outcome.cell.name)
        assert result.plan.updates == 6
        assert result.config["command"].startswith(f"moorl-jax train --agent {outcome.cell.agent} --task hopper")


@pytest.mark.parametrize("killed", [False, True])
def test_finished_cells_are_kept(cells, run_sweep, monkeypatch, capsys, killed):
    """Be it that a kill left one between its two names."""
    first = run_sweep(cells)
    if killed:
        directory = first[0].result.directory
        directory.rename(directory.with_name(directory.name + results.REPLACED))
        assert len(collect(cells, directory.parents[1])) == 2
    monkeypatch.setattr(runner, "train_together", lambda *_, **__: pytest.fail("a finished cell was trained again"))
    again = run_sweep(cells)
    assert "finished before, kept" in capsys.readouterr().out
    for before, after in zip(first, again, strict=True):
        assert before.result.provenance == after.result.provenance


def test_what_has_finished_elsewhere_can_be_looked_at(cells, run_sweep, tmp_path, monkeypatch):
    """As a clone has it: curves without states. What is not there is left out, what is damaged is a fault."""
    trained = run_sweep(cells)
    for cell in cells:
        shutil.rmtree(tmp_path / cell.name / results.CHECKPOINT)
    monkeypatch.setattr(runner, "train_together", lambda *_, **__: pytest.fail("a cell was trained"))
    longer = dataclasses.replace(cells[0], budget=dataclasses.replace(TINY, updates=8))
    found = collect([*cells, longer], tmp_path)
    assert [outcome.cell for outcome in found] == cells
    assert found[0].result.provenance == trained[0].result.provenance
    (tmp_path / cells[0].name / "curves.csv").write_text("", encoding="utf-8")
    assert "damaged" in collect(cells, tmp_path)[0].fault
    with pytest.raises(MoorlError, match="none of these 1 cells has finished"):
        collect([longer], tmp_path)


def test_a_damaged_cell_is_named_and_run_again(cells, run_sweep, tmp_path, capsys):
    run_sweep(cells)
    (tmp_path / cells[0].name / "curves.csv").write_text("", encoding="utf-8")
    outcomes = run_sweep(cells)
    assert "hopper-medium-v2 bc: running again" in capsys.readouterr().out
    assert outcomes[0].result is not None


@pytest.mark.parametrize("there", ["of other code", "damaged", "a file"])
def test_checkpoints_that_a_cell_cannot_go_on_from_are_kept_aside(cells, run_sweep, tmp_path, capsys, there):
    """Hours of training lie in them: not even a change of the source may delete them."""
    running = results.running(tmp_path / cells[0].name)
    if there == "a file":
        running.parent.mkdir(parents=True)
        running.write_bytes(b"")
    else:
        Checkpoints(running, {"code": "older"}, print).save(3, {"actor": np.zeros(2)}, {})
    if there == "damaged":
        (running / "00000003" / "record.json").unlink()
    (outcome,) = run_sweep(cells[:1])
    said = capsys.readouterr().out
    assert "warning: [1/1] hopper-medium-v2 bc: starting again: what was there " in said
    assert outcome.result is not None
    assert not running.exists()
    (aside,) = running.parent.glob("*.running")
    assert f"kept as {aside}" in said
    assert aside.name.startswith(
        f"{outcome.result.directory.name}.{'of-other-' if there == 'of other code' else 'damaged'}"
    )
    assert there == "a file" or (aside / "00000003" / "arrays").exists()
    assert results.below(tmp_path) == [tmp_path / cells[0].name]


def test_newer_code_finishes_a_cell_where_asked_to(cells, tmp_path, monkeypatch, capsys):
    """Killed after its first checkpoint; the result says what took over, and where."""

    class KilledError(BaseException):
        pass

    def save_and_die(*args):
        save(*args)
        raise KilledError

    save, display = Checkpoints.save, Display(terminal())
    monkeypatch.setattr(runner, "train_together", functools.partial(runner.train_together, checkpoint_seconds=0.0))
    monkeypatch.setattr(provenance, "code", lambda _: "older")
    monkeypatch.setattr(Checkpoints, "save", save_and_die)
    with pytest.raises(KilledError):
        sweep(cells[:1], tmp_path, None, display)
    monkeypatch.setattr(Checkpoints, "save", save)
    monkeypatch.setattr(provenance, "code", lambda _: "newer")
    (outcome,) = sweep(cells[:1], tmp_path, None, display, resume_anyway=True)
    assert "starting again" not in capsys.readouterr().out
    (took_over,) = outcome.result.provenance["resumed_anyway"]
    assert took_over == {"updates": 3, "env_steps": 0, "then": {"code": "older"}, "now": {"code": "newer"}}
    straight = sweep(cells[:1], tmp_path / "straight", None, display)[0].result
    assert straight.provenance["resumed_anyway"] == []
    np.testing.assert_array_equal(outcome.result.curves["score"], straight.curves["score"])


def swept(cell, *settings):
    return [dataclasses.replace(cell, overrides=each, variant=", ".join(each)) for each in settings]


def test_cells_that_differ_in_numbers_alone_are_trained_together(cells, hopper):
    """What shapes a program or the data makes batches of its own; so do jobs that run side by side."""
    numbers = swept(cells[1], ("expectile=0.5",), ("expectile=0.9",), ("discount=0.9", "temperature=1"))
    static = swept(cells[1], ("batch_size=8",), ("preparation.reward_scale=2.0",))
    mixed = [numbers[0], static[0], numbers[1], static[1], numbers[2], cells[0]]
    assert together(mixed, range(6), 1) == [[0, 2, 4], [1], [3], [5]]
    assert together(mixed, [2, 0], 1) == [[2, 0]]
    assert together(numbers, range(3), 2) == [[0, 1], [2]]
    many = [dataclasses.replace(each, seeds=tuple(range(50))) for each in numbers]
    assert together(many, range(3), 1) == [[0, 1], [2]]
    discounts = plan((hopper,), ["cal_ql"], "embedded", None, 1, TINY, "offline")[0]
    assert together(swept(discounts, ("discount=0.9",), ("discount=0.99",)), range(2), 1) == [[0], [1]]


@pytest.mark.slow
def test_cells_trained_together_are_what_they_are_alone(cells, run_sweep, tmp_path, monkeypatch):
    """Bit for bit on a CPU; each has its own result, which its own command makes again."""
    batches = []
    train = runner.train_together
    monkeypatch.setattr(
        runner, "train_together", lambda given, *a, **k: batches.append(len(given)) or train(given, *a, **k)
    )
    three = swept(cells[1], ("expectile=0.5",), ("expectile=0.9",), ("discount=0.9", "temperature=1"))
    outcomes = run_sweep(three)
    alone = [sweep([cell], tmp_path / "alone", None, Display(terminal()))[0] for cell in three]
    assert batches == [3, 1, 1, 1]
    for one, other in zip(outcomes, alone, strict=True):
        assert one.fault == other.fault == ""
        left, right = one.result, other.result
        assert left.config == right.config
        assert left.config["overrides"] == list(one.cell.overrides)
        columns = [column for column in left.curves if column != "seconds"]
        pd.testing.assert_frame_equal(left.curves[columns], right.curves[columns])
        assert (left.provenance["together"], right.provenance["together"]) == (3, 1)
    assert run_sweep(three)[0].result.provenance == outcomes[0].result.provenance


def test_offline_to_online(hopper, run_sweep, cells, tmp_path):
    """SAC joins without data; the recorded command says all that is needed."""
    outcomes = run_sweep(plan((cells[0].task,), ["iql", "sac"], "embedded", None, 1, TINY, "offline-to-online"))
    assert [outcome.fault for outcome in outcomes] == ["", ""]
    iql, sac = (outcome.result for outcome in outcomes)
    assert (iql.plan.updates, iql.plan.env_steps) == (6, 20)
    assert len(iql.offline_scores()) == 1
    assert len(sac.offline_scores()) == 0
    assert (sac.config["source"], outcomes[1].cell.source) == ("none", "none")
    assert "--updates 6 --evaluate-every 3 --env-steps 20 --evaluate-every-steps 10" in iql.config["command"]
    assert "--source" not in sac.config["command"]
    assert not list(tmp_path.glob("*/*.running"))


def test_an_agent_that_cannot_follow_the_protocol_is_named_before_anything_runs(hopper):
    with pytest.raises(MoorlError, match="BC does not learn online"):
        plan((hopper,), ["bc"], "embedded", None, 1, TINY, "offline-to-online")
    with pytest.raises(MoorlError, match="RLPD learns online"):
        plan((hopper,), ["rlpd"], "embedded", None, 1, TINY, "offline")


def test_all_agents_are_those_that_can_follow(hopper):
    offline, online = (able(hopper, TINY, protocol) for protocol in ("offline", "online"))
    assert {"bc", "td3_bc", "spot", "iql", "cql", "cal_ql"} <= set(offline)
    assert not {"sac", "rlpd", "moorl", "drq", "pixel_bc", "tune_iql"} & set(offline)
    assert "bc" not in online
    assert {"sac", "rlpd", "moorl"} <= set(online)
    assert set(able(find("vd4rl-cheetah_run-medium"), TINY, "offline")) == {"pixel_bc", "drq_bc", "pixel_cql"}
    assert {"sac", "tune_iql"} <= set(able(find("hopper"), TINY, "subroutine"))


def test_a_failing_cell_is_named_and_the_sweep_goes_on(cells, run_sweep, monkeypatch, capsys):
    train = runner.train_together

    def broken(trainings, *args, **kwargs):
        if type(trainings[0].agent).__name__ == "BC":
            raise ZeroDivisionError("a planted fault")
        return train(trainings, *args, **kwargs)

    monkeypatch.setattr(runner, "train_together", broken)
    bad, good = run_sweep(cells)
    assert "a planted fault" in bad.fault
    assert "hopper-medium-v2 bc: failed" in capsys.readouterr().out
    assert good.result is not None


def test_a_result_that_is_gone_at_the_end_loses_no_other(cells, run_sweep, monkeypatch):
    monkeypatch.setattr(runner, "attempt", lambda *_: "")  # as if it had run, and been moved since
    assert ["not a finished result" in outcome.fault for outcome in run_sweep(cells)] == [True, True]


def test_data_that_the_machine_refuses_ends_no_sweep(cells, run_sweep, tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied", "hopper.hdf5")

    monkeypatch.setattr(runner, "load", refused)
    monkeypatch.setattr(launchers, "load", refused)
    outcomes = run_sweep(cells)
    assert all(outcome.no_data and "hopper.hdf5: Permission denied" in outcome.fault for outcome in outcomes)
    job = Job((cells[0],), tmp_path, None, "bc", resume_anyway=False)
    assert "hopper.hdf5: Permission denied" in launchers._run(job, print)


def test_data_that_cannot_be_had_is_named_once_for_all_agents(cells, run_sweep, hopper, capsys):
    sources.find(hopper, "embedded").place.write_text("<html>404</html>", encoding="utf-8")
    outcomes = run_sweep(cells)
    assert all("not an HDF5 file" in outcome.fault and outcome.no_data for outcome in outcomes)
    assert capsys.readouterr().out.count("not an HDF5 file") == 1
    assert tables.text_frame(outcomes).loc[0, "bc"].startswith("no data")


def test_what_is_finished_is_kept_though_its_data_is_gone(cells, run_sweep, monkeypatch):
    run_sweep(cells[:1])

    def gone(*_):
        raise MoorlError("cannot be downloaded")

    monkeypatch.setattr(runner, "load", gone)
    sources.find(cells[0].task, "embedded").place.unlink()
    for order in (cells, cells[::-1]):
        outcomes = {outcome.cell.agent: outcome for outcome in run_sweep(order)}
        assert outcomes["bc"].result is not None
        assert not outcomes["bc"].fault
        assert outcomes["iql"].no_data


def test_two_sweeps_at_once_train_each_cell_once(cells, run_sweep, monkeypatch, capsys):
    trained, train = [], runner.train_together

    def counted(trainings, *args, **kwargs):
        trained.extend(type(each.agent).__name__ for each in trainings)
        time.sleep(0.5)  # the other one comes by
        return train(trainings, *args, **kwargs)

    monkeypatch.setattr(runner, "train_together", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(run_sweep, [cells, cells])
    assert sorted(trained) == ["BC", "IQL"]
    for one, other in zip(first, second, strict=True):
        assert (one.fault, other.fault) == ("", "")
        assert one.result.provenance == other.result.provenance
    said = capsys.readouterr().out
    assert 1 <= said.count("another process is training it; waiting") <= 2
    assert "failed" not in said


def test_a_job_that_finished_since_it_was_handed_out_is_not_trained_again(cells, run_sweep, tmp_path, monkeypatch):
    """Where cells run side by side hours may lie between."""
    run_sweep(cells[:1])
    monkeypatch.setattr(runner, "train_together", lambda *_, **__: pytest.fail("a finished cell was trained again"))
    job = Job((cells[0],), tmp_path, None, "bc", resume_anyway=False)
    assert attempt(job, lambda: load(cells[0].task, "embedded"), print, print) == ""


def test_a_cell_that_fails_elsewhere_is_gone_on_with_here(cells, run_sweep, tmp_path, capsys):
    lock = ThreadPoolExecutor(1)
    taken, let_go = threading.Event(), threading.Event()

    def failing():
        with held(tmp_path / cells[0].name):
            taken.set()
            let_go.wait()

    lock.submit(failing)
    taken.wait()
    threading.Timer(1.0, let_go.set).start()
    (outcome,) = run_sweep(cells[:1])
    assert outcome.result is not None
    assert capsys.readouterr().out.count("another process is training it; waiting") == 1
    lock.shutdown()


def test_what_earlier_versions_finished_is_neither_trained_again_nor_trusted(cells, run_sweep, monkeypatch):
    directory = run_sweep(cells[:1])[0].result.directory
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    (directory / "config.json").write_text(json.dumps({**config, "protocol": None}), encoding="utf-8")
    monkeypatch.setattr(runner, "train_together", lambda *_, **__: pytest.fail("a finished cell was trained again"))
    for change in (lambda: seals.seal(directory), (directory / seals.SEAL).unlink):
        change()
        assert "so it may be of an earlier version: move it away and run it again" in run_sweep(cells[:1])[0].fault


def test_a_kept_cells_checkpoints_are_deleted_unless_another_process_writes_them(cells, run_sweep, tmp_path):
    run_sweep(cells[:1])
    running = results.running(tmp_path / cells[0].name)
    running.mkdir()
    with held(tmp_path / cells[0].name):
        run_sweep(cells[:1])
        assert running.exists()
    run_sweep(cells[:1])
    assert not running.exists()


def test_names_differ_with_all_that_decides_a_result(hopper):
    base = Cell(hopper, "iql", "recipe", (0, 1), BUDGETS["short"], "offline")
    others = [
        dataclasses.replace(base, agent="bc"),
        dataclasses.replace(base, source="d4rl"),
        dataclasses.replace(base, seeds=(0, 1, 2)),
        dataclasses.replace(base, seeds=(0, 2)),
        dataclasses.replace(base, budget=BUDGETS["paper"]),
        dataclasses.replace(base, budget=dataclasses.replace(BUDGETS["short"], evaluations=10)),
        dataclasses.replace(base, protocol="offline-to-online"),
    ]
    assert len({cell.name for cell in (base, *others)}) == 8
    assert base.name.startswith("hopper-medium-v2/iql-recipe-short-2seeds-")


@pytest.mark.parametrize("version", ["of today", "of an earlier recipe"])
def test_a_cell_of_other_data_is_run_again(cells, run_sweep, hopper, hopper_rows, monkeypatch, capsys, version):
    """Be it in the file that lies here, or in the one that is made anew in its place."""
    before = run_sweep(cells[:1])[0].result
    place = sources.find(hopper, "embedded").place
    changed = dataclasses.replace(hopper_rows, rewards=hopper_rows.rewards + 1)
    if version == "of today":
        hdf5.write(place, changed, NOTES)
    else:
        hdf5.write(place, hopper_rows, {"metadata/version": "0"})
        monkeypatch.setattr(sources.Embedded, "getter", lambda self: lambda _: hdf5.write(place, changed, NOTES))
    after = run_sweep(cells[:1])[0].result
    assert "running again, its data had" in capsys.readouterr().out
    assert after.provenance["dataset_sha256"] == changed.fingerprint() != before.provenance["dataset_sha256"]


LATER = {kind: type(kind.__name__, (kind,), {"__annotations__": {"later": int}, "later": 1}) for kind in (TD3BC, Mixed)}


@pytest.mark.parametrize(
    "made",
    [
        lambda td3_bc, _: td3_bc(alpha=1.0),
        lambda td3_bc, _: OPT(backbone=td3_bc(alpha=1.0)),
        lambda td3_bc, mixed: TuneIQL(learner=OPT(backbone=td3_bc(alpha=1.0), replay=mixed(0.25))),
    ],
)
def test_a_later_setting_renames_no_cell(made, hopper, monkeypatch):
    """Neither one of the agent's own nor one of an agent or a sampling rule within it; a changed one does."""

    def name(agent):
        monkeypatch.setattr(of_sweeps, "settings", lambda *_: Settings(agent, Preparation()))
        return Cell(hopper, "opt", "recipe", (0,), TINY, "offline-to-online").name

    before = name(made(TD3BC, Mixed))
    td3_bc, mixed = LATER[TD3BC], LATER[Mixed]
    monkeypatch.setitem(AGENTS, "td3_bc", td3_bc)
    assert name(made(td3_bc, mixed)) == before
    assert name(made(functools.partial(td3_bc, later=2), functools.partial(mixed, later=2))) != before


def test_a_cell_of_other_defaults_is_run_again(cells, run_sweep, tmp_path, capsys):
    run_sweep(cells[:1])
    config = tmp_path / cells[0].name / "config.json"
    saved = json.loads(config.read_text(encoding="utf-8"))
    saved["agent_config"]["learning_rate"] = 0.25
    config.write_text(json.dumps(saved), encoding="utf-8")
    seals.seal(config.parent)
    run_sweep(cells[:1])
    assert "running again, learning_rate was 0.25" in " ".join(capsys.readouterr().out.split())


def test_a_later_setting_of_an_agent_within_another_runs_no_cell_again(hopper, tmp_path):
    """One that has another value now does."""
    cell = Cell(hopper, "opt", "recipe", (0, 1), TINY, "offline-to-online")
    config = store(tmp_path / "cell") / "config.json"
    saved = json.loads(config.read_text(encoding="utf-8")) | cell.written

    def kept():
        config.write_text(json.dumps(saved), encoding="utf-8")
        seals.seal(config.parent)
        return runner._as_planned(cell, config.parent)

    saved["agent_config"]["backbone"].pop("alpha")
    assert kept()
    saved["agent_config"]["backbone"]["alpha"] = 0.125
    with pytest.raises(MoorlError, match=r"^backbone\.alpha was 0\.125 and is now "):
        kept()


def test_the_recorded_command_names_the_same_seeds(hopper):
    for seeds in ((0,), (0, 1), (4, 2)):
        words = Cell(hopper, "iql", "recipe", seeds, TINY, "offline").command.split()
        given = read_seeds(words[words.index("--seeds") + 1])
        assert tuple(range(given) if isinstance(given, int) else given) == seeds


def test_the_recorded_command_is_quoted(hopper, tmp_path):
    """As a shell takes it apart again, an agent's file may lie in a folder of any name."""
    file = tmp_path / "my agents; it's (one)/mine.py"
    file.parent.mkdir()
    file.write_text("from moorl_jax.agents import OPT\n\n\nclass Mine(OPT):\n    pass\n", encoding="utf-8")
    changes = ("replay=Mixed(0.25)", "kappa_rule='density'")
    cell = Cell(hopper, f"{file}:Mine", "recipe", (0,), TINY, "offline-to-online", changes)
    words = shlex.split(cell.command)
    given = [(words[place - 1], word) for place, word in enumerate(words)]
    assert ("--agent", f"{file}:Mine") in given
    assert [word for option, word in given if option == "--set"] == list(changes)


def test_users_agents_differ_by_file_and_by_content(hopper, tmp_path):
    names = []
    for folder, width in (("a", 8), ("b", 8), ("b", 16)):
        file = tmp_path / folder / "mine.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(
            f"from moorl_jax.agents import BC\n\n\nclass Mine(BC):\n    width: int = {width}\n", encoding="utf-8"
        )
        names.append(Cell(hopper, f"{file}:Mine", "recipe", (0,), TINY, "offline").name)
    assert len(set(names)) == 3
    assert all(name.startswith("hopper-medium-v2/mine.py-Mine-recipe") for name in names)


def test_an_agent_that_cannot_be_saved_is_named_before_anything_runs(hopper, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from moorl_jax.agents import BC, static\n\n\nclass Mine(BC):\n    f: object = static(print)\n",
        encoding="utf-8",
    )
    with pytest.raises(MoorlError, match=r"Mine\.f cannot be written to a result"):
        plan((hopper,), [f"{file}:Mine"], "embedded", None, 1, TINY, "offline")


class TestCommand:
    """`moorl-jax bench`, in this process, at a tiny budget."""

    @pytest.fixture
    def bench(self, hopper_rows, monkeypatch, tmp_path):
        (task,) = expand("quick")
        hdf5.write(sources.find(task, "embedded").place, hopper_rows, NOTES)
        monkeypatch.setattr(command, "use_all_cores", lambda: None)
        monkeypatch.setitem(BUDGETS, "quick", dataclasses.replace(TINY, name="quick"))

        def run(*words):
            return CliRunner().invoke(
                app, ["bench", "--results", str(tmp_path), "--agents", "bc, td3_bc", "--parallel", "1", *words]
            )

        return run

    @pytest.mark.slow
    def test_the_default_uses_the_embedded_data_and_writes_all(self, bench, tmp_path):
        result = bench()
        assert result.exit_code == 0, result.output
        caption = "Made here, not the original data: hopper-medium-replay-v2 from our SAC learner's policies"
        assert caption in " ".join(result.output.split())
        assert {path.name for path in (tmp_path / "quick").iterdir()} == {"table.csv", "table.md", "curves.png"}
        assert "finished before, kept" in bench().output

    def test_a_dry_run_prints_the_plan_and_runs_nothing(self, bench, tmp_path):
        result = bench("--dry-run")
        assert result.exit_code == 0, result.output
        assert "2 cells, 2 to run" in " ".join(result.output.split())
        assert not (tmp_path / "cells").exists()

    def test_of_mixed_tasks_each_takes_the_agents_that_it_suits(self, bench):
        result = bench("--task", "hopper-medium-v2,vd4rl-cheetah_run-random", "--agents", "bc,pixel_bc", "--dry-run")
        assert result.exit_code == 0, result.output
        assert "2 cells, 2 to run" in " ".join(result.output.split())
        nobody = bench("--task", "hopper-medium-v2,walker2d-medium-v2", "--agents", "pixel_bc", "--dry-run")
        assert nobody.exit_code == 2
        assert "none of these agents" in nobody.stderr

    def test_an_agent_named_twice_runs_once(self, bench):
        assert "1 cells, 1 to run" in " ".join(bench("--agents", "bc,bc", "--dry-run").output.split())

    def test_settings_are_changed_for_every_agent_and_named_in_the_caption(self, bench, monkeypatch):
        planned = []
        monkeypatch.setattr(command, "trained", lambda cells, *_: planned.extend(cells) or 1 / 0)
        bench("--set", "batch_size=32")
        assert [cell.settings.agent.batch_size for cell in planned] == [32, 32]
        assert "Settings changed: batch_size=32." in tables.caption([runner.Outcome(planned[0], None)])
        assert "--set batch_size=32" in planned[0].command

    def test_of_finished_results_those_that_cannot_be_read_are_named(self, bench, tmp_path):
        (cell,) = plan(expand("quick"), ["bc"], "embedded", None, 1, BUDGETS["quick"], "offline")
        (tmp_path / "cells" / cell.name).mkdir(parents=True)
        result = bench("--finished")
        assert result.exit_code == 1
        assert "left out: hopper-medium-replay-v2 bc: " in result.stderr

    def test_a_failed_cell_fails_the_command(self, bench, monkeypatch):
        monkeypatch.setattr(runner, "train_together", lambda *_, **__: 1 / 0)
        result = bench()
        assert result.exit_code == 1
        assert "failed: hopper-medium-replay-v2 bc, hopper-medium-replay-v2 td3_bc" in result.output

    @pytest.mark.parametrize("words", [[], ["--resume-anyway"]])
    def test_newer_code_goes_on_only_where_asked_to(self, bench, monkeypatch, words):
        asked = []
        monkeypatch.setattr(launchers, "sweep", lambda *given: asked.append(given[-1]) or 1 / 0)
        bench(*words)
        assert asked == [bool(words)]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--task", "quik"], "did you mean quick"),
            (["--budget", "shrt"], "did you mean short"),
            (["--protocol", "onlin"], "did you mean online"),
        ],
    )
    def test_a_mistake_is_one_line(self, bench, words, message):
        result = bench(*words)
        assert result.exit_code == 2
        assert message in result.stderr


def test_tasks_without_datasets_are_for_subroutines_by_default(monkeypatch, tmp_path):
    planned = []
    monkeypatch.setattr(command, "use_all_cores", lambda: None)
    monkeypatch.setattr(command, "trained", lambda cells, *_: planned.extend(cells) or 1 / 0)
    CliRunner().invoke(app, ["bench", "--task", "subroutines-12", "--results", str(tmp_path)])
    assert len(planned) == 12 * 7
    assert {cell.protocol for cell in planned} == {"subroutine"}
    assert all(cell.phases and cell.source == "none" for cell in planned)


def test_all_agents_of_images_run_unless_told_otherwise(monkeypatch, tmp_path):
    planned = []
    monkeypatch.setattr(command, "use_all_cores", lambda: None)
    monkeypatch.setattr(command, "trained", lambda cells, *_: planned.extend(cells) or 1 / 0)
    CliRunner().invoke(app, ["bench", "--task", "vd4rl-walker_walk-random", "--results", str(tmp_path)])
    assert {cell.agent: cell.protocol for cell in planned} == {
        "pixel_bc": "offline",
        "drq_bc": "offline",
        "pixel_cql": "offline",
        "drq": "offline-to-online",
        "pixel_rlpd": "offline-to-online",
        "pixel_moorl": "offline-to-online",
    }


def test_agents_that_offline_are_only_their_backbone_go_on_online_by_default(hopper):
    assert by_default(hopper, "opt", BUDGETS["short"]) == "offline-to-online"
    assert by_default(hopper, "iql", BUDGETS["short"]) == "offline"


def test_unknown_agents_are_named_before_anything_runs(hopper):
    with pytest.raises(UnknownNameError, match="did you mean td3_bc"):
        plan((hopper,), ["bc", "td3bc"], "embedded", None, 1, TINY, "offline")
    with pytest.raises(MoorlError, match="ant-medium-v2 has no source 'recipe'; it has d4rl"):
        plan(expand("ant-medium-v2"), ["bc"], "recipe", None, 1, TINY, "offline")
    with pytest.raises(MoorlError, match="bc cannot train on vd4rl-walker_walk-medium, which shows images"):
        plan(expand("vd4rl"), ["bc"], "auto", None, 1, TINY, "offline")


@pytest.mark.slow
def test_a_killed_sweep_loses_at_most_the_cell_it_was_in(tmp_path, hopper_rows):
    (task,) = expand("quick")
    hdf5.write(sources.find(task, "embedded").place, hopper_rows, NOTES)
    words = ["--agents", "bc,td3_bc", "--seeds", "1", "--parallel", "1", "--results", str(tmp_path)]
    command = [sys.executable, "-m", "moorl_jax", "bench", *words]
    sweep_process = subprocess.Popen(command, env=os.environ)
    deadline = time.monotonic() + 300

    def finished():
        return [path for path in tmp_path.glob("cells/*/bc-*") if path.suffix not in (".partial", ".running")]

    while not finished():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    sweep_process.send_signal(signal.SIGKILL)
    sweep_process.wait()
    (first,) = finished()
    before = (first / "provenance.json").read_text(encoding="utf-8")
    output = subprocess.run(command, env=os.environ, check=True, capture_output=True, text=True).stdout
    assert "bc: finished before, kept" in output
    assert (first / "provenance.json").read_text(encoding="utf-8") == before
    assert {path.name.split("-")[0] for path in tmp_path.glob("cells/*/*")} == {"bc", "td3_bc"}
    assert not list(tmp_path.glob("cells/*/*.running")), "the kill may have come before these were deleted"
    assert (tmp_path / "quick" / "curves.png").exists()
