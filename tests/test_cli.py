import dataclasses
import hashlib
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from moorl_jax import cli, tasks
from moorl_jax.agents import ReBRAC
from moorl_jax.config import fields_of
from moorl_jax.data import hdf5, recipe, sources
from moorl_jax.data.sources import d4rl
from moorl_jax.engine import results
from moorl_jax.tasks import find
from tests.stored import store

runner = CliRunner()


@pytest.fixture
def call(monkeypatch):
    """Run the command line; the devices of this process are set already."""
    for command in ("train", "evaluate", "export"):
        monkeypatch.setattr(f"moorl_jax.cli.{command}.use_all_cores", lambda: None)

    def run(*words):
        return runner.invoke(cli.app, [str(word) for word in words])

    return run


@pytest.fixture
def embedded(hopper, hopper_rows):
    hdf5.write(
        sources.find(hopper, "embedded").place, hopper_rows, {"metadata/version": str(recipe.VERSIONS["locomotion"])}
    )


def test_tasks_lists_all_and_describes_one(call):
    everything = call("tasks").output
    assert "hopper-medium-v2" in everything
    assert "vd4rl-walker_walk-expert" in everything
    assert "returns -325.6 and 3879.7" in call("tasks", "ant-medium-v2").output
    one = call("tasks", "hammer-human-v1").output
    assert "hand_dapg_v1/hammer-human-v1.hdf5" in one
    assert "none: the human demonstrations of hammer" in one


def test_data_list_shows_what_is_here(call, embedded):
    assert "embedded" in call("data", "list").output


def test_a_file_of_the_users_own_in_d4rls_place_is_called_that(call, hopper, hopper_rows):
    place = sources.find(hopper, "d4rl").place
    hdf5.write(place, hopper_rows, {})
    assert re.search(rf"hopper-medium-v2 +│ file +│ your own file +│ {place}", call("data", "list").output)
    described = call("tasks", "hopper-medium-v2").output
    assert f"your own file: {place}" in described
    assert "D4RL's own" not in described


def test_data_list_shows_what_is_damaged_or_of_an_earlier_recipe_beside_the_rest(
    call, hopper_rows, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOORL_DATA_DIR", ".")  # of paths that fit into the table
    for level, version in {"medium": recipe.VERSIONS["locomotion"], "random": 0}.items():
        place = sources.find(find(f"hopper-{level}-v2"), "embedded").place
        hdf5.write(place, hopper_rows, {"metadata/version": str(version)})
    place.with_name("hopper-expert-v2.hdf5").write_text("no dataset", encoding="utf-8")
    lines = call("data", "list").output.splitlines()
    (whole, older, damaged) = (next(line for line in lines if f"hopper-{each}" in line) for each in ("m", "r", "e"))
    assert re.search(r"embedded/hopper-medium-v2.hdf5 +│$", whole)
    assert "embedded/hopper-random-v2.hdf5 (of an earlier" in older
    assert "damaged: embedded/hopper-expert-v2.hdf5: not" in damaged


def test_what_keeps_a_command_from_being_imported_is_one_line(call, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setitem(sys.modules, "mujoco", None)  # whose import raises
    monkeypatch.setattr(cli, "import_module", lambda _: importlib.reload(tasks))
    failed = call("tasks")
    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    assert failed.stderr.startswith("error: MUJOCO_GL=osmesa: MuJoCo cannot render so here (")


def test_data_list_without_any_says_how_to_get_some(call):
    assert "data fetch TASK" in call("data", "list").output


def test_data_check_of_a_task_and_of_a_file(call, embedded, hopper, hopper_rows):
    by_name = call("data", "check", "hopper-medium-v2", "--source", "embedded")
    file = sources.find(hopper, "embedded").place
    by_file = call("data", "check", file, "--task", "hopper-medium-v2")
    for output in (by_name.output, by_file.output):
        assert "nothing odd" in output
        assert hopper_rows.fingerprint() in output
    assert f"hopper-medium-v2-data: {file}" in call("data", "check", file).output  # no task's, and called so


def test_data_check_of_a_file_without_timeouts(call, hopper_rows, tmp_path):
    """As D4RL's Kitchen files are."""
    hdf5.write(tmp_path / "bare.hdf5", dataclasses.replace(hopper_rows, timeouts=None), {})
    output = call("data", "check", tmp_path / "bare.hdf5", "--task", "hopper-medium-v2").output
    assert "no flagged time-outs" in output
    assert "there is no 'timeouts' key" in output


def test_data_make(call, monkeypatch):
    monkeypatch.setattr("moorl_jax.data.plans._STEPS", 400)
    result = call("data", "make", "hopper-medium-v2", "--source", "embedded")
    assert result.exit_code == 0
    assert "400" in result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "check", "hoper-medium-v2"], "did you mean hopper-medium-v2"),
        (
            ["data", "check", "hopper-medium-v2", "--source", "d4rl"],
            "no data of source 'd4rl' here, `moorl-jax data fetch` or `make` gets it; "
            "here is embedded, name it with --source",
        ),
        (["data", "make", "walker2d-medium-v2"], "--policies"),
        (["data", "make", "ant-medium-v2"], "ant-medium-v2 has no source 'recipe'; it has d4rl"),
        (["data", "fetch", "hopper"], "hopper has no dataset"),
        (["train", "--agent", "iqll", "--task", "hopper-medium-v2"], "did you mean iql"),
        (["train", "--agent", "x.py:A", "--task", "hopper-medium-v2"], "there is no file x.py"),
        (["train", "--agent", "iql", "--task", "hopper-medium-v2", "--seeds", "a"], "--seeds takes a number"),
        (
            ["train", "--agent", "bc", "--task", "hopper-medium-v2", "--source", "embedded", "--seeds", "0"],
            "which different ones, from 1 to 10,000",
        ),
        (
            ["train", "--agent", "bc", "--task", "hopper-medium-v2", "--source", "embedded", "--seeds", "1,1"],
            "which different ones, from 1 to 10,000",
        ),
        (["train", "--agent", "bc", "--task", "hopper-medium-v2", "--env-steps", "9"], "BC does not learn online"),
        (["train", "--agent", "sac", "--task", "hopper-medium-v2"], "SAC learns online"),
        (["train", "--print-config", "--agent", "iqll", "--task", "hopper-medium-v2"], "did you mean iql"),
        (["train", "--print-config", "--agent", "iql", "--task", "hoper-medium-v2"], "did you mean hopper-medium-v2"),
        (["train", "--print-config", "--agent", "drq", "--task", "hopper-medium-v2"], "agents that can: bc"),
        (["train", "--print-config", "--agent", "sac", "--task", "hopper-medium-v2"], "SAC learns online"),
        (
            ["train", "--print-config", "--agent", "iql", "--task", "hopper-medium-v2", "--set", "expectil=0.7"],
            "unknown field of IQL 'expectil': did you mean expectile",
        ),
        (
            ["train", "--print-config", "--agent", "iql", "--task", "hopper-medium-v2", "--updates", "0"],
            "there must be updates or env steps",
        ),
        (
            ["train", "--print-config", "--agent", "iql", "--task", "hopper-medium-v2", "--source", "recipee"],
            "did you mean recipe",
        ),
        (["data", "make", "hopper-medium-v2", "--policies", "nowhere"], "nowhere: no such directory of policies"),
        (["eval", "nowhere"], "not a finished result: config.json is missing"),
    ],
)
def test_a_mistake_is_one_clear_line(call, embedded, words, message):
    result = call(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("fault", ["html", "truncated", "key", "nan", "dimension", "range", "lengths", "episode"])
def test_a_faulty_file_is_one_clear_line(call, hopper, hopper_rows, monkeypatch, fault):
    """Every fault as a real file of D4RL's name: `data check` and `train` refuse it, and leave nothing behind."""
    path = sources.find(hopper, "d4rl").place
    never = np.zeros(2000, bool)
    broken = {
        "nan": {"rewards": np.full(2000, np.nan, np.float32)},
        "dimension": {"observations": hopper_rows.observations[:, :5]},
        "range": {"actions": hopper_rows.actions * 3},
        "lengths": {"actions": hopper_rows.actions[:-1]},
        "episode": {"terminals": never, "timeouts": never, "next_observations": None},
    }
    hdf5.write(path, dataclasses.replace(hopper_rows, **broken.get(fault, {})), {})
    if fault == "html":
        path.write_text("<!DOCTYPE html>", encoding="utf-8")
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:9000])
    if fault == "key":
        with h5py.File(path, "r+") as file:
            del file["actions"]
    monkeypatch.chdir(path.parent)
    for words in (
        ["data", "check", "hopper-medium-v2"],
        ["data", "check", path, "--task", "hopper-medium-v2"],
        ["train", "--agent", "bc", "--task", "hopper-medium-v2", "--out", path.parent / "run"],
    ):
        result = call(*words)
        assert result.exit_code == 2, result.output
        assert result.stderr.startswith(f"error: {path}: ")
        assert result.stderr.count("\n") == 1
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_data_check_of_ogbenchs_data_tells_masks_from_terminals(call):
    pytest.importorskip("ogbench", reason="OGBench's package is not installed: the extra 'ogbench'")
    task = find("ogbench-pointmaze-medium-navigate-task1")
    missing = call("data", "check", task.name, "--source", "ogbench").output
    assert "no data of source 'ogbench' here" in missing
    place = sources.find(task, "ogbench").place
    place.parent.mkdir(parents=True)
    columns = {name: np.zeros((12, 2), np.float32) for name in ("observations", "actions", "qpos")}
    columns["qpos"][2:4] = 20.0  # the goal
    np.savez(place, terminals=np.arange(12) % 4 == 3, **columns)
    output = call("data", "check", task.name, "--source", "ogbench").output
    for line in ("2 are 0: rows at the goal", "3: each episode's last row", "33.3% of 3 episodes come to the goal"):
        assert line in output
    place.write_text("<html>", encoding="utf-8")
    wrong = call("data", "check", task.name, "--source", "ogbench").output
    assert "not an npz file of plain arrays" in wrong
    assert len(wrong.strip().splitlines()) == 1


def test_data_check_tells_whether_a_file_is_d4rls_own(call, hopper, hopper_rows, monkeypatch):
    path = sources.find(hopper, "d4rl").place
    hdf5.write(path, hopper_rows, {})
    known = {"bytes": str(path.stat().st_size), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    monkeypatch.setattr(d4rl, "_known", lambda: {f"https://server/{hopper.datasets['d4rl']}": known})
    assert "D4RL's own, byte for byte" in call("data", "check", "hopper-medium-v2").output
    known["sha256"] = "0" * 64
    for command in ("check", "fetch"):
        result = call("data", command, "hopper-medium-v2")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == (
            f"error: {path}: its sha256 is not that of D4RL's own; move it away, then fetch it again\n"
        )
    monkeypatch.setattr(d4rl, "_known", dict)
    assert "there is no sha256 to check it against" in call("data", "check", "hopper-medium-v2").output


def test_train_then_eval(call, embedded, tmp_path, monkeypatch):
    out = tmp_path / "run"
    what = ["train", "--agent", "bc", "--task", "hopper-medium-v2", "--source", "embedded", "--set", "hidden=(8, 8)"]
    words = [*what, "--seeds", "2,5", "--updates", 10, "--evaluate-every", 5, "--episodes", 1, "--out", out]
    trained = call(*words)
    assert trained.exit_code == 0, trained.output
    assert "seed 5" in trained.output
    assert call(*words).exit_code == 2  # it exists
    for name in ("run", "other"):
        (tmp_path / f"{name}.running/00000001").mkdir(parents=True)  # a checkpoint that nothing can be resumed from
    refused = call(*words, "--out", tmp_path / "other").stderr
    assert refused.endswith("); move it away to begin anew, as --overwrite does\n")
    again = call(*words, "--overwrite")
    assert "run.running holds no whole checkpoint" in again.output
    assert "discarded, beginning anew" in again.output
    assert again.exit_code == 0
    extended = call(*words, "--updates", 15, "--extend")
    assert extended.exit_code == 0, extended.output
    assert "after 15 updates" in extended.output
    result = results.read(out)
    assert result.curves["updates"].tolist() == [5, 5, 10, 10, 15, 15]
    assert result.config["command"].endswith(" --evaluate-every=5 --evaluate-every-steps=1 --episodes=1")
    filmed = []
    monkeypatch.setattr(cli.evaluate.films, "film", lambda _, seed, round_, path: filmed.append((seed, path)))
    evaluated = call("eval", out, "--episodes", "2", "--video", tmp_path / "film.mp4")
    assert evaluated.exit_code == 0, evaluated.output
    assert "2 episodes" in evaluated.output
    assert filmed == [(2, tmp_path / "film-seed-2.mp4"), (5, tmp_path / "film-seed-5.mp4")]
    exported = call("export", out, tmp_path / "policy.npz", "--seed", 5)
    assert exported.exit_code == 0, exported.output
    assert "on 256 random observations its actions are ours to " in exported.output
    assert (tmp_path / "policy.npz").exists()


@pytest.mark.parametrize(
    ("agent", "task", "options", "rows"),
    [
        (
            "iql",
            "antmaze-umaze-v2",
            (),
            [
                "expectile 0.9 settings/antmaze.py ikostrikov/implicit_q_learning configs/antmaze_config.py",
                "preparation.reward_shift -1.0 settings/antmaze.py",
                "updates 100000 --updates",
                "evaluate every 5000 default a twentieth of the updates",
                "episodes 100 default the task's own",
                "seeds 0, 1, 2, 3 --seeds",
                "source of data embedded --source",
            ],
        ),
        (
            "opt_spot",
            "hopper-medium-v2",
            ("--env-steps", 1200, "--set", "backbone.tau=0.01", "--seeds", "7,", "--episodes", 3, "--source", "d4rl"),
            [
                "backbone.tau 0.01 --set",
                "collect_steps 100 settings/proportions.py",
                "env steps 1200 --env-steps",
                "evaluate every steps 60 default a twentieth of the env steps",
                "episodes 3 --episodes",
                "seeds 7 --seeds",
                "source of data d4rl --source",
            ],
        ),
        (
            "sac",
            "hopper",
            ("--updates", 0, "--env-steps", 600, "--evaluate-every-steps", 200),
            [
                "random_steps 60 settings/proportions.py",
                "evaluate every steps 200 --evaluate-every-steps",
                "source of data none",
            ],
        ),
        ("tune_pex", "hopper", ("--env-steps", 6000), ["offline.temperature 3.0 settings/locomotion.py ours: as"]),
        ("drq", "vd4rl-cheetah_run-medium", ("--env-steps", 600), ["learning_rate 0.0001 settings/pixels.py"]),
    ],
)
def test_print_config_shows_each_value_and_trains_nothing(call, monkeypatch, tmp_path, agent, task, options, rows):
    def never(*_, **__):
        raise AssertionError

    for module, name in ((cli.train, "train"), (cli.train, "held"), (sources, "load"), (sources.Source, "get")):
        monkeypatch.setattr(module, name, never)
    monkeypatch.chdir(tmp_path)
    shown = call("train", "--print-config", "--agent", agent, "--task", task, *options)
    assert shown.exit_code == 0, shown.output
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.output.splitlines()]
    for row in rows:
        assert any(line.startswith(row) for line in lines), row
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_prints_plan_and_cost_and_trains_nothing(call, embedded, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    store(tmp_path / "runs" / "one", agent="bc")
    words = ["train", "--dry-run", "--agent", "bc", "--task", "hopper-medium-v2", "--source", "embedded"]
    shown = " ".join(call(*words, "--set", "preparation.reward_scale=2", "--seeds", 2).output.replace("│", " ").split())
    assert "updates 100000 --updates" in shown
    assert "1 cells, 1 to run: about" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_agents_are_listed_and_the_fields_of_one(call):
    assert "IQL with the defaults" in call("agents").output
    fields = call("agents", "opt_iql").output
    assert re.search(r"backbone\.temperature +│ 3\.0 +│ a finite.+│ inverse", fields)
    assert re.search(r"preparation\.reward_scale +│ 1\.0 +│ a finite.+│ factor of", fields)
    assert "did you mean iql" in call("agents", "iqll").stderr


def test_a_meaning_of_several_lines_is_whole():
    meaning = next(field.meaning for field in fields_of(ReBRAC()) if field.name == "joint")
    assert meaning.startswith("compute all losses")
    assert meaning.endswith("optimizer on every update")


def test_what_diverged_is_said_to_have(call, embedded, tmp_path):
    out = tmp_path / "run"
    words = ["train", "--agent", "bc", "--task", "hopper-medium-v2", "--source", "embedded", "--updates", 10]
    words += ["--set", "hidden=(8, 8)", "--set", "learning_rate=1e38", "--episodes", 1, "--seeds", 2, "--out", out]
    for answer in (call(*words), call("eval", out, "--episodes", "1")):
        assert answer.exit_code == 0, answer.output
        assert answer.output.count("diverged") >= 3
        assert "diverged 2/2" in answer.output


def test_a_wrong_override_is_named(call, embedded, tmp_path):
    where = ("--task", "hopper-medium-v2", "--source", "embedded", "--out", tmp_path / "run")
    result = call("train", "--agent", "bc", *where, "--set", "hiden=(8,)")
    assert result.exit_code == 2
    assert "did you mean hidden" in result.stderr


def test_the_installed_command_answers():
    program = Path(sys.executable).with_name("moorl-jax")
    answer = subprocess.run([program, "--help"], capture_output=True, text=True, check=True, env=os.environ).stdout
    assert all(command in answer for command in ("tasks", "data", "train", "eval"))


def test_eval_runs_the_code_of_a_users_file_only_where_it_is_trusted(call, tmp_path):
    result = store(tmp_path / "result", agent=f"{tmp_path}/gone.py:Mine")
    assert "which would be run: --trust allows it" in call("eval", result).stderr
    assert "there is no file" in call("eval", result, "--trust").stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_list_of_commands_says_what_a_commands_own_help_says(name):
    _, summary = cli.COMMANDS[name]
    told = " ".join(runner.invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"}).output.split())
    assert summary.rstrip(".") in told
