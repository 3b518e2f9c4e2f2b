import dataclasses
import functools
import itertools
import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from moorl_jax.agents import IQL, PEX, SAC, TuneIQL, find_agent
from moorl_jax.data import Preparation
from moorl_jax.engine import results, seals
from moorl_jax.engine.episodes import final_returns
from moorl_jax.engine.training import evaluate, train
from moorl_jax.errors import MoorlError, UnreadableError
from moorl_jax.tasks import find


@pytest.fixture(scope="module")
def run(hopper, hopper_data):
    agent = IQL(hidden=(16, 16), batch_size=32, actor_decay_updates=10.0)
    return train(
        agent,
        hopper,
        seeds=(0, 4),
        updates=10,
        evaluate_every=5,
        episodes=2,
        dataset=hopper_data,
        preparation=Preparation(normalize_observations=True, action_limit=0.99),
    )


@pytest.fixture
def saved(run, tmp_path):
    results.save(run, tmp_path / "cell", "the command")
    return tmp_path / "cell"


def test_a_result_is_read_back(saved, run, hopper_data):
    result = results.read(saved)
    assert result.config["command"] == "the command"
    assert result.config["seeds"] == [0, 4]
    assert result.config["preparation"]["action_limit"] == 0.99
    assert result.provenance["dataset_sha256"] == hopper_data.fingerprint
    assert result.provenance["source"] == "embedded"
    assert set(result.provenance["seconds"]) == {"compile", "update", "simulate", "evaluate", "total"}
    assert result.provenance["versions"]["jax"]
    assert result.provenance["backend"]["jax_default_prng_impl"] == "threefry2x32"
    assert result.provenance["resumed_anyway"] == []
    np.testing.assert_allclose(result.last_scores(), run.curves["score"].to_numpy()[-2:], rtol=1e-5)


def test_the_last_evaluations_episodes_are_kept_one_by_one(saved, run):
    returns = final_returns(results.read(saved))
    assert returns.shape == (2, 2)
    np.testing.assert_allclose(returns, run.returns, rtol=1e-6)
    np.testing.assert_allclose(returns.mean(axis=1), run.curves["return"].to_numpy()[-2:], rtol=1e-6)
    (saved / "episodes.csv").write_text("seed,episode,return\n", encoding="utf-8")
    with pytest.raises(MoorlError, match=r"episodes\.csv is not as it was written"):
        final_returns(results.read(saved))
    (saved / "episodes.csv").unlink()
    with pytest.raises(MoorlError, match=r"has no episodes\.csv"):
        final_returns(results.read(saved))


def test_scores_are_floats_though_all_are_whole(saved, run):
    run.curves.assign(score=0).to_csv(saved / "curves.csv", index=False)
    seals.seal(saved)
    assert results.read(saved).last_scores().dtype == float


def test_files_are_plain_json(saved):
    for name in ("config.json", "provenance.json"):
        json.loads((saved / name).read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_states_come_back_and_play_the_same(saved, run):
    agent, normalizer, states = results.load_states(results.read(saved))
    assert agent == run.agent
    np.testing.assert_array_equal(normalizer.mean, run.normalizer.mean)
    for ours, theirs in zip(*(jax.tree.leaves(tree) for tree in (states, run.states)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    policies = jax.vmap(agent.policy)(states)
    returns = evaluate(agent, run.task, normalizer, policies, run.seeds, episodes=2, round_=1).returns
    np.testing.assert_allclose(returns.mean(axis=1), run.curves["return"].to_numpy()[-2:], rtol=1e-6)


@pytest.mark.slow
def test_a_recipe_of_several_agents_comes_back_as_the_last_ones(hopper, hopper_data, tmp_path):
    """PEX trains IQL first; what is saved, and evaluated again, is the expanded set."""
    agent = PEX(hidden=(16, 16), batch_size=32, collect_steps=10, epsilon=0.0)
    how = {"updates": 6, "env_steps": 20, "evaluate_every": 3, "evaluate_every_steps": 10, "episodes": 1}
    run = train(agent, hopper, seeds=1, dataset=hopper_data, **how)
    results.save(run, tmp_path / "cell", "x")
    result = results.read(tmp_path / "cell")
    last, _, states = results.load_states(result)
    assert type(last) is PEX
    jax.tree.map(np.testing.assert_array_equal, states, run.states)
    assert result.offline_scores() == pytest.approx(run.curves["score"][1], rel=1e-5)
    assert result.last_scores() == pytest.approx(run.curves["score"].iloc[-1], rel=1e-5)


def test_saving_again_replaces(saved, run):
    results.save(run, saved, "another command")
    assert results.read(saved).config["command"] == "another command"
    assert [path.name for path in saved.parent.iterdir()] == ["cell"]


@pytest.mark.parametrize(
    ("agent", "task", "updates", "env_steps", "protocol"),
    [
        (IQL(), "hopper-medium-v2", 10, 0, "offline"),
        (IQL(), "hopper-medium-v2", 10, 10, "offline-to-online"),
        (SAC(), "hopper-medium-v2", 0, 10, "online"),
        (TuneIQL(), "hopper-medium-v2", 10, 10, "subroutine"),
        (SAC(), "hopper", 10, 10, "subroutine"),  # the learner alone, beside subroutines
        (SAC(), "hopper", 0, 10, "online"),
    ],
)
def test_a_result_says_its_protocol(run, tmp_path, agent, task, updates, env_steps, protocol):
    plan = dataclasses.replace(run.plan, updates=updates, env_steps=env_steps)
    run = dataclasses.replace(run, agent=agent, task=find(task), plan=plan, overrides=("alpha=1.0",))
    results.save(run, tmp_path / "cell", "x")
    config = json.loads((tmp_path / "cell/config.json").read_text(encoding="utf-8"))
    assert config["protocol"] == protocol
    assert config["overrides"] == ["alpha=1.0"]


TRAP = """
from pathlib import Path

from moorl_jax.agents import IQL

Path(__file__).with_name("it-ran").touch()


class Mine(IQL):
    pass
"""


@pytest.mark.parametrize("place", ["outside", "within"])
def test_a_users_agent_is_run_only_where_it_is_trusted(saved, run, tmp_path, place):
    """Be it the result's agent, or one within it."""
    (tmp_path / "mine.py").write_text(TRAP, encoding="utf-8")
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    if place == "outside":
        config["agent"] = f"{tmp_path}/mine.py:Mine"
    else:
        config["agent_config"]["hidden"] = {"agent": f"{tmp_path}/mine.py:Mine"}
    (saved / "config.json").write_text(json.dumps(config), encoding="utf-8")
    seals.seal(saved)
    with pytest.raises(MoorlError, match=r"mine\.py:Mine' is code .*--trust"):
        results.load_states(results.read(saved))
    assert not (tmp_path / "it-ran").exists()
    if place == "outside":
        agent, _, _ = results.load_states(results.read(saved), trust=True)
        assert type(agent).__name__ == "Mine"
        assert (tmp_path / "it-ran").exists()


def test_a_users_agent_comes_back_though_its_file_has_moved(hopper, hopper_data, tmp_path):
    """What ran is kept, not what its file holds when the training ends."""
    file = tmp_path / "mine.py"
    file.write_text("from moorl_jax.agents import BC\n\n\nclass Mine(BC):\n    pass\n", encoding="utf-8")
    agent = find_agent(f"{file}:Mine")(hidden=(4,), batch_size=2)

    def edited(_):
        file.write_text("another", encoding="utf-8")

    how = {"seeds": 1, "updates": 1, "episodes": 1, "dataset": hopper_data}
    run = train(agent, dataclasses.replace(hopper, horizon=3), callback=edited, **how)
    results.save(run, tmp_path / "cell", "x")
    file.unlink()
    result = results.read(tmp_path / "cell")
    assert [kept.name for kept in result.agent_files.values()] == ["mine.py"]
    with pytest.raises(MoorlError, match="which would be run: --trust allows it"):
        results.load_states(result)
    again, _, states = results.load_states(result, trust=True)
    assert type(again).__name__ == "Mine"
    jax.tree.map(np.testing.assert_array_equal, states, run.states)
    next(iter(result.agent_files.values())).write_text("raise SystemExit", encoding="utf-8")
    with pytest.raises(MoorlError, match="the agent's file is not this result's"):
        results.load_states(result, trust=True)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"agent": "iql_of_tomorrow"}, "unknown agent"),
        ({"agent_config": {"of_tomorrow": 1}}, "other settings in this version"),
        ({"agent": "rlpd", "agent_config": {"sampling": {"sampling": "jax"}}}, "other settings in this version"),
    ],
)
def test_an_agent_of_another_version_is_named(saved, written, said):
    config = json.loads((saved / "config.json").read_text(encoding="utf-8"))
    (saved / "config.json").write_text(json.dumps(config | written), encoding="utf-8")
    seals.seal(saved)
    with pytest.raises(MoorlError, match=said):
        results.load_states(results.read(saved))


def test_an_interrupted_save_leaves_no_result(run, tmp_path, monkeypatch):
    def broken(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(results.ocp.Checkpointer, "save", broken)
    with pytest.raises(KeyboardInterrupt):
        results.save(run, tmp_path / "cell", "x")
    assert not (tmp_path / "cell").exists()
    monkeypatch.undo()
    results.save(run, tmp_path / "cell", "x")  # the remains of the first attempt are in nobody's way
    results.read(tmp_path / "cell")


@pytest.mark.parametrize("name", results.FILES)
def test_a_missing_file_is_named(saved, name):
    (saved / name).unlink()
    with pytest.raises(MoorlError, match=f"not a finished result: {name} is missing"):
        results.read(saved)


@pytest.mark.parametrize(
    ("name", "text"),
    [("config.json", "{"), ("config.json", "null"), ("config.json", "[" * 100_000), ("provenance.json", "{}")],
)
def test_files_of_another_form_are_named(saved, name, text):
    """Whole as they were written, but not by this version."""
    (saved / name).write_text(text, encoding="utf-8")
    seals.seal(saved)
    with pytest.raises(UnreadableError, match="it is as it was written, so it may be of an earlier version") as caught:
        results.read(saved)
    assert "\n" not in str(caught.value)


def read_all(directory):
    result = results.read(directory)
    results.load_states(result)
    final_returns(result)


def test_a_flipped_bit_is_found_in_every_file(saved):
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {*results.FILES, seals.SEAL} < {path.name for path in files}
    for file in files:
        content = file.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1}:
            file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with pytest.raises(MoorlError, match=r"is damaged|is not this result's|is not as it was written") as caught:
                read_all(saved)
            assert "\n" not in str(caught.value)
        file.write_bytes(content)
    read_all(saved)


def test_the_committed_results_are_whole():
    committed = results.below(Path(__file__).parents[2] / "results" / "cells")
    assert len(committed) > 200
    for directory in committed:
        results.read(directory)


def test_the_seal_is_what_sha256sum_reads(saved):
    subprocess.run(["sha256sum", "--check", "--strict", "--status", seals.SEAL], cwd=saved, check=True)


def test_a_result_without_a_seal_is_refused(saved):
    (saved / seals.SEAL).unlink()
    with pytest.raises(UnreadableError, match=f"has no {seals.SEAL}, so it may be of an earlier version"):
        results.read(saved)


@pytest.mark.parametrize("name", [*results.FILES, seals.SEAL])
def test_a_directory_in_the_place_of_a_file_is_named(saved, name):
    (saved / name).unlink()
    (saved / name).mkdir()
    with pytest.raises(UnreadableError, match="the result cannot be read"):
        results.read(saved)


def test_a_result_whose_seal_cannot_be_read_is_named(saved):
    (saved / seals.SEAL).unlink()
    (saved / seals.SEAL).symlink_to(seals.SEAL)
    with pytest.raises(UnreadableError, match=f"the result cannot be read: .*{seals.SEAL}"):
        results.read(saved)
    assert results.below(saved) == [saved]


@pytest.mark.parametrize("kept", [3, 4])  # the last evaluation gone, or only one seed's part of it
def test_curves_cut_short_are_named(saved, kept):
    lines = (saved / "curves.csv").read_text(encoding="utf-8").splitlines()
    (saved / "curves.csv").write_text("\n".join(lines[:kept]) + "\n", encoding="utf-8")
    seals.seal(saved)
    with pytest.raises(MoorlError, match=r"curves\.csv does not hold all seeds to the end"):
        results.read(saved)


def test_a_missing_checkpoint_is_named_and_curves_are_read_without(saved):
    shutil.rmtree(saved / results.CHECKPOINT)
    with pytest.raises(MoorlError, match="has no checkpoint, as in a clone"):
        results.load_states(results.read(saved))


@pytest.mark.parametrize("whose", ["another's", "a file", "empty"])
def test_a_checkpoint_that_is_not_the_results_is_refused(saved, run, tmp_path, whose):
    checkpoint = saved / results.CHECKPOINT
    shutil.rmtree(checkpoint)
    if whose == "another's":
        states = jax.tree.map(lambda leaf: leaf + 1, run.states)
        results.save(dataclasses.replace(run, states=states), tmp_path / "other", "another command")
        shutil.move(tmp_path / "other" / results.CHECKPOINT, saved)
    elif whose == "a file":
        checkpoint.write_bytes(b"")
    else:
        checkpoint.mkdir()
    with pytest.raises(MoorlError, match=r"the checkpoint is not this result's|has no checkpoint") as caught:
        results.load_states(results.read(saved))
    assert "\n" not in str(caught.value)


def versions(saved, partial):
    """Make new versions of a result, one after the other, as `save` writes them before they get their name."""
    for number in itertools.count():
        shutil.copytree(saved, partial, ignore=shutil.ignore_patterns(results.CHECKPOINT))
        for name in ("config.json", "provenance.json"):
            content = json.loads((partial / name).read_text(encoding="utf-8"))
            (partial / name).write_text(json.dumps({**content, "version": number}), encoding="utf-8")
        seals.seal(partial)
        yield number


def test_readers_beside_a_writer_see_the_old_result_or_the_new_one(saved, tmp_path):
    place, ended = tmp_path / "beside" / "cell", threading.Event()
    partial = place.with_name("cell.partial")
    place.parent.mkdir()

    def write():
        for _ in versions(saved, partial):
            results._publish(partial, place)
            begun.set()
            if ended.is_set():
                return

    begun, seen = threading.Event(), set()
    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    try:
        for _ in range(300):
            result = results.read(place)
            assert result.config["version"] == result.provenance["version"]
            seen.add(result.config["version"])
    finally:
        ended.set()
        writer.join()
    assert len(seen) > 10


@pytest.mark.parametrize(("survived", "again"), [*((step, False) for step in range(4)), (0, True), (1, True)])
def test_whoever_is_killed_while_replacing_leaves_a_whole_result(saved, tmp_path, monkeypatch, survived, again):
    """Before each of the steps that change a name or delete something; `again` after a kill between the two names."""
    next(versions(saved, tmp_path / "cell.partial"))
    if again:
        os.replace(saved, tmp_path / "cell.replaced")
    steps = itertools.count()

    def step(do, *args, **kwargs):
        if next(steps) == survived:
            raise KeyboardInterrupt
        return do(*args, **kwargs)

    monkeypatch.setattr(results.shutil, "rmtree", functools.partial(step, shutil.rmtree))
    monkeypatch.setattr(results.os, "replace", functools.partial(step, os.replace))
    with pytest.raises(KeyboardInterrupt):
        results._publish(tmp_path / "cell.partial", saved)
    monkeypatch.undo()
    results.read(saved)
    assert results.exists(saved)
    assert results.below(tmp_path) == [saved]


def test_what_ended_in_no_number_is_not_what_it_was_before(saved):
    result = results.read(saved)
    result.curves.loc[result.curves.index[-1], "score"] = np.nan
    assert np.isnan(result.last_scores()).tolist() == [False] * (len(result.last_scores()) - 1) + [True]
