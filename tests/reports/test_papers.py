import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from moorl_jax.cli import app
from moorl_jax.reports import papers
from moorl_jax.reports.papers import PAPERS
from moorl_jax.reports.published import published_table
from moorl_jax.tasks import TASKS

TASK = "hopper-medium-v2"


def runs_of(agent, scores, **changes):
    row = {
        "result": 0,
        "task": TASK,
        "agent": agent,
        "protocol": "offline",
        "source": "recipe",
        "updates": 1_000,
        "env_steps": 0,
        "episodes": 10,
        "finished": "2026-11-21T12:00:00+00:00",
        "learned_offline": True,
        "acted": False,
        "comparable": True,
        "dataset": 30.0,
        "drop": 0.0,
        "back_after": 0.0,
        "area": 20.0,
    }
    rows = [row | {"seed": seed, "before": score, "last": score, "best": score} for seed, score in enumerate(scores)]
    return pd.DataFrame(rows).assign(**changes)


def test_all_tasks_are_known_and_all_figures_in_some_paper():
    for name in PAPERS:
        for section in PAPERS[name].sections:
            assert set(section.tasks) <= set(TASKS)
            assert set(published_table(section.table, section.phase)) <= {
                (task, agent) for each in PAPERS[name].sections for task in each.tasks for agent in each.agents
            }


def test_ours_stands_beside_theirs_with_welchs_test():
    section = dataclasses.replace(PAPERS["corl"].sections[0], tasks=(TASK,), agents=("iql", "bc", "rebrac"))
    ours = pd.concat([runs_of("iql", [40.0, 44.0, 42.0]), runs_of("bc", [50.0], result=1)])
    numbers = papers.frame(section, ours).set_index("agent")
    # CORL's README: 67.53 ± 3.78 of four seeds, of which the sample's deviation is larger.
    expected = stats.ttest_ind_from_stats(42.0, 2.0, 3, 67.53, 3.78 * np.sqrt(4 / 3), 4, equal_var=False).pvalue
    assert numbers.loc["iql", "p"] == pytest.approx(expected)
    assert np.isnan(numbers.loc["bc", "p"])  # one seed
    marks = {("recipe", 3, 1_000, 0): "a", ("recipe", 1, 1_000, 0): "b"}
    row = papers.text(numbers.reset_index(), marks).loc[0]
    assert row["iql"] == "42.0 ± 1.6 a < 67.5 ± 3.8"
    assert row["bc"] == "50.0 b / 53.5 ± 1.8"
    assert row["rebrac"].startswith("– / 102.3")


def test_of_three_seeds_of_which_one_diverged_there_is_no_mean():
    section = dataclasses.replace(PAPERS["corl"].sections[0], tasks=(TASK,), agents=("iql", "bc"))
    never = runs_of("bc", [np.nan] * 3, result=1, learned_offline=False)
    numbers = papers.frame(section, pd.concat([runs_of("iql", [9.9, np.nan, 9.9]), never]))
    assert numbers["diverged"].tolist() == [1, 0]
    row = papers.text(numbers, {("recipe", 3, 1_000, 0): "a"}).loc[0]
    assert row["iql"] == "diverged 1/3 a / 67.5 ± 3.8"
    assert row["bc"].startswith("– /")  # it has no offline phase


def test_of_several_results_the_largest_counts():
    section = dataclasses.replace(PAPERS["corl"].sections[0], tasks=(TASK,), agents=("iql",))
    short, long_, few = (
        runs_of("iql", scores, result=number, updates=updates)
        for number, (scores, updates) in enumerate([([1.0, 2.0, 3.0], 10), ([5.0, 7.0], 20), ([9.0], 20)])
    )
    assert papers.frame(section, pd.concat([few, short, long_])).loc[0, "mean"] == 6.0
    newest = runs_of("iql", [0.0, 1.0], result=5, updates=20, finished="2026-11-22T12:00:00+00:00")
    assert papers.frame(section, pd.concat([newest, long_])).loc[0, "mean"] == 0.5
    online = runs_of("iql", [8.0], result=4, updates=99, protocol="offline-to-online")
    assert papers.frame(section, pd.concat([long_, online])).loc[0, "mean"] == 6.0


def test_original_data_comes_before_a_larger_budget():
    section = dataclasses.replace(PAPERS["corl"].sections[0], tasks=(TASK,), agents=("iql",))
    original = runs_of("iql", [60.0, 62.0], source="d4rl", updates=10)
    made_here = runs_of("iql", [30.0, 32.0], result=1, updates=1_000, finished="2026-11-22T12:00:00+00:00")
    assert papers.frame(section, pd.concat([original, made_here])).loc[0, "mean"] == 61.0


def test_fine_tuning_has_a_table_of_where_it_began():
    before, after = (
        dataclasses.replace(section, tasks=("antmaze-umaze-v2",), agents=("spot",))
        for section in PAPERS["corl"].sections[-2:]
    )
    spent = {"updates": 30_000, "env_steps": 40_000, "protocol": "offline-to-online", "task": "antmaze-umaze-v2"}
    ours = runs_of("spot", [60.0, 70.0], before=15.0, **spent)
    assert papers.frame(before, ours).loc[0, ["mean", "published", "env_steps"]].tolist() == [15.0, 91.0, 0]
    assert papers.frame(after, ours).loc[0, ["mean", "published", "env_steps"]].tolist() == [65.0, 99.5, 40_000]


def test_an_agent_without_data_followed_either_protocol_and_spent_no_updates():
    section = dataclasses.replace(PAPERS["moorl"].sections[0], tasks=(TASK,), agents=("sac",))
    given = {"source": "none", "learned_offline": False}
    short = runs_of("sac", [9.0], updates=100_000, env_steps=20_000, protocol="offline-to-online", **given)
    long_ = runs_of("sac", [37.0], result=1, updates=0, env_steps=100_000, protocol="online", **given)
    assert papers.frame(section, short).loc[0, ["mean", "updates"]].tolist() == [9.0, 0]
    assert papers.frame(section, pd.concat([short, long_])).loc[0, ["mean", "env_steps"]].tolist() == [37.0, 100_000]


def test_the_command_writes_three_forms(tmp_path):
    run = CliRunner().invoke(app, ["tables", "opt", "--results", str(tmp_path)])
    assert run.exit_code == 2  # there is no directory of cells
    (tmp_path / "cells").mkdir()
    run = CliRunner().invoke(app, ["tables", "opt", "--results", str(tmp_path)])
    assert run.exit_code == 0, run.output
    assert "| walker2d-random-v2" in (tmp_path / "papers/opt.md").read_text(encoding="utf-8")
    assert "no runs yet" in (tmp_path / "papers/opt.md").read_text(encoding="utf-8")
    latex = (tmp_path / "papers/opt.tex").read_text(encoding="utf-8")
    assert r"td3\_bc" in latex
    assert "-- / 94.6" in latex
    assert r"{\footnotesize Ours: no runs yet.\par}" in latex
    assert not any(line.startswith("%") for line in latex.splitlines())
    assert len(pd.read_csv(tmp_path / "papers/opt.csv")) == 9 * 4 + 10 * 3
    assert "did you mean" in CliRunner().invoke(app, ["tables", "optt", "--results", str(tmp_path)]).stderr
