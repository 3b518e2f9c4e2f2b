import numpy as np
import pandas as pd
import pytest
from scipy import stats

from moorl_jax.reports import learning
from moorl_jax.reports.collection import find_results
from moorl_jax.tasks import TASKS
from tests.stored import store

TASK = "ogbench-scene-play-sparse-task2"


def stored(folder, scores, **changes):
    """A result whose last evaluation, after 200k updates, scores these."""
    store(folder, agent="fql", task=TASK, scores=scores, updates=200_000, **changes)


def test_what_is_published_is_of_our_tasks_and_in_per_cent():
    published = pd.read_csv(learning.FILE)
    assert set(published["task"]) <= set(TASKS)
    assert set(published["paper"]) == set(learning.TITLES) == set(learning.PAPERS)
    of_qc = published[published["paper"] == "qc"]
    assert (of_qc["low"] <= of_qc["mean"] + 1.0).all()
    assert of_qc["high"].max() == 100.0
    assert not published.duplicated(["paper", "task", "agent", "updates"]).any()


def test_ours_stands_beside_theirs_at_equal_updates(tmp_path):
    stored(tmp_path / "small", (1.0, 2.0))
    stored(tmp_path / "fql", (50.0, 60.0, 58.0))
    numbers = learning.compare(find_results([tmp_path]))
    assert numbers["updates"].tolist() == [100_000, 200_000] * 2  # the published steps that were evaluated
    at_end = numbers[numbers["updates"] == 200_000].set_index("paper")
    assert at_end["seeds"].tolist() == [3, 3]
    assert at_end.loc["qc", ["published mean", "published low", "published high"]].tolist() == [54.98, 40.5, 67.5]
    assert at_end.loc["qc", "where"] == "inside"
    assert np.isnan(at_end.loc["qc", "p"])  # its seeds are not known
    theirs = [50, 38, 62, 42, 46, 40, 44, 28, 48, 50, 28, 26]
    assert at_end.loc["qam", "published mean"] == pytest.approx(np.mean(theirs))
    expected = stats.ttest_ind([50.0, 60.0, 58.0], theirs, equal_var=False).pvalue
    assert at_end.loc["qam", "p"] == pytest.approx(expected)
    assert at_end.loc["qam", "where"] == "above"
    sections, _, legend = learning.make(find_results([tmp_path]))
    assert [title for title, _ in sections] == list(learning.TITLES.values())
    assert sections[0][1].iloc[-1]["ours"].startswith("56.0 [")
    assert set(sections[0][1]["rewards"]) == {"sparse"}
    assert "no runs" not in legend


@pytest.mark.parametrize(
    ("mean", "word"), [(40.4, "below"), (40.5, "inside"), (67.5, "inside"), (68.0, "above"), (np.nan, "diverged")]
)
def test_a_plain_word_says_where_our_mean_lies(mean, word):
    assert learning.where(mean, 40.5, 67.5) == word


def test_only_curves_of_the_same_rewards_stand_beside_each_other(tmp_path):
    """Published curves of scenes and puzzles are of sparse rewards; a run of OGBench's own has none to stand beside."""
    stored(tmp_path / "sparse", (50.0, 60.0))
    store(tmp_path / "own", agent="fql", task="ogbench-scene-play-task2", scores=(50.0, 60.0), updates=200_000)
    assert set(learning.compare(find_results([tmp_path]))["task"]) == {TASK}
    published = pd.read_csv(learning.FILE)["task"]
    staged = published[published.str.contains("scene|puzzle")]
    assert staged.str.contains("-sparse-").all()


def test_without_runs_there_is_only_the_legend():
    sections, numbers, legend = learning.make([])
    assert sections == []
    assert numbers.empty
    assert legend.endswith("no runs of these tasks and agents yet.")
