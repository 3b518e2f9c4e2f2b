import numpy as np
import pandas as pd
import pytest

from moorl_jax.engine import seals
from moorl_jax.errors import MoorlError
from moorl_jax.reports.collection import find_results, one_each, runs, scores
from tests.stored import store


def test_runs_are_found_wherever_they_lie(tmp_path):
    store(tmp_path / "a/one")
    store(tmp_path / "b/two", agent="sac", updates=0, env_steps=500, scores=(4.0,))
    store(tmp_path / "b/three", env_steps=500, overrides=["expectile=0.9"])
    store(tmp_path / "b/four", agent="tune_iql", task="hopper", updates=50, env_steps=500, protocol="subroutine")
    found = runs(find_results([tmp_path / "a", tmp_path]))
    assert found.groupby("agent")["protocol"].first().to_dict() == {
        "iql": "offline",
        "iql (expectile=0.9)": "offline-to-online",
        "sac": "online",
        "tune_iql": "subroutine",
    }
    assert found.loc[found["agent"] == "iql", "last"].tolist() == [10.0, 20.0]
    assert found.loc[found["agent"] == "iql", "seed"].tolist() == [0, 1]


def test_the_best_score_is_of_any_evaluation(tmp_path):
    store(tmp_path / "one", scores=(-6.0, 20.0))
    assert runs(find_results([tmp_path]))["best"].tolist() == [-3.0, 20.0]


@pytest.mark.parametrize("column", ["last", "best"])
def test_a_run_that_ends_in_nan_has_no_last_score_and_no_best_one(tmp_path, column):
    directory = store(tmp_path / "one")
    curves = pd.read_csv(directory / "curves.csv")
    curves.loc[curves.index[-1], "score"] = np.nan
    curves.to_csv(directory / "curves.csv", index=False)
    seals.seal(directory)
    np.testing.assert_array_equal(runs(find_results([tmp_path]))[column], [10.0, np.nan])


def test_of_equal_results_the_newest_of_those_with_most_seeds_counts(tmp_path):
    store(tmp_path / "few", scores=(1.0,), finished="2026-12-01T12:00:00+00:00")
    store(tmp_path / "new", scores=(3.0, 4.0), finished="2026-11-22T12:00:00+00:00")
    store(tmp_path / "old", scores=(5.0, 6.0))
    store(tmp_path / "other", scores=(7.0,), source="d4rl")
    assert sorted(one_each(runs(find_results([tmp_path])))["last"]) == [3.0, 4.0, 7.0]


def test_what_is_damaged_is_named_and_left_out_and_what_is_unfinished_passed_over(tmp_path, capsys):
    store(tmp_path / "good")
    store(tmp_path / "killed.partial")
    store(tmp_path / "unknown", task="hopper-medium-v9")
    (store(tmp_path / "bad") / "curves.csv").write_text("broken", encoding="utf-8")
    assert [result.directory.name for result in find_results([tmp_path])] == ["good"]
    bad, unknown = capsys.readouterr().err.splitlines()
    assert bad.startswith(f"left out: {tmp_path / 'bad'}: the result is damaged")
    assert unknown.startswith(f"left out: {tmp_path / 'unknown'}: unknown task 'hopper-medium-v9': did you mean")
    with pytest.raises(MoorlError, match="no such directory"):
        find_results([tmp_path / "nowhere"])


def test_a_users_agent_is_not_run_to_read_its_results(tmp_path):
    """Wherever its file is: its result says all that is told of it."""
    trap = tmp_path / "mine (1).py"
    trap.write_text("raise SystemExit('it ran')", encoding="utf-8")
    store(tmp_path / "here", agent=f"{trap}:Mine", protocol="subroutine", updates=50, env_steps=500)
    store(tmp_path / "deleted", agent=f"{tmp_path / 'gone.py'}:Mine", env_steps=500)
    found = runs(find_results([tmp_path])).groupby("agent").first()
    assert found["protocol"].to_dict() == {
        f"{trap}:Mine": "subroutine",
        f"{tmp_path / 'gone.py'}:Mine": "offline-to-online",
    }
    assert not found["changed"].any()


def test_scores_are_an_array_a_task(tmp_path):
    store(tmp_path / "one")
    store(tmp_path / "two", task="walker2d-medium-v2", scores=(1.0, 2.0, 3.0))
    first, second = scores(runs(find_results([tmp_path])))
    np.testing.assert_array_equal(first, [10.0, 20.0])
    np.testing.assert_array_equal(second, [1.0, 2.0, 3.0])
