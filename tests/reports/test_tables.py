import dataclasses

import numpy as np
import pandas as pd
import pytest

from moorl_jax.agents import AGENTS as KNOWN
from moorl_jax.engine.results import Result
from moorl_jax.reports import plots, tables
from moorl_jax.reports.published import published_scores
from moorl_jax.sweeps.budgets import BUDGETS
from moorl_jax.sweeps.cells import Cell
from moorl_jax.sweeps.runner import Outcome, finished
from moorl_jax.tasks import TASKS, find

NAMES = ("hopper-medium-v2", "walker2d-medium-v2")
AGENTS = ("bc", "iql")


def outcome(task, agent, scores, fault="", protocol="offline"):
    source = "none" if protocol == "subroutine" else "recipe"
    cell = Cell(find(task), agent, source, tuple(range(len(scores))), BUDGETS["quick"], protocol)
    if fault:
        return Outcome(cell, None, fault)
    updates, env_steps = cell.spend
    moments = [(updates // 2, 0), (updates, 0)] if updates else []
    moments += [(updates + steps, steps) for steps in (env_steps // 2, env_steps)] if env_steps else []
    rows = [
        {"seed": seed, "updates": done, "env_steps": steps, "score": score * (number + 1) / len(moments), "return": 0.0}
        for number, (done, steps) in enumerate(moments)
        for seed, score in enumerate(scores)
    ]
    plan = {"updates": updates, "env_steps": env_steps, "evaluate_every": 1, "evaluate_every_steps": 1, "episodes": 10}
    config = {"task": task, "source": source, "seeds": list(cell.seeds), "plan": plan}
    return Outcome(cell, Result(None, config, {"dataset_mean_return": 1000.0}, pd.DataFrame(rows), {}))


@pytest.fixture
def outcomes():
    return [
        outcome(task, agent, scores)
        for task, agent, scores in (
            (NAMES[0], "bc", [10.0, 20.0]),
            (NAMES[0], "iql", [30.0, 50.0]),
            (NAMES[1], "bc", [1.0, 3.0]),
            (NAMES[1], "iql", [5.0, 5.0]),
        )
    ]


def test_scores_are_of_the_last_evaluation(outcomes):
    frame = tables.score_frame(outcomes).set_index("task")
    assert frame.loc[NAMES[0], "bc"] == 15.0
    assert frame.loc[NAMES[0], "bc std"] == 5.0  # of the population
    assert frame.loc[NAMES[0], "iql published"] == pytest.approx(67.53)  # CORL README
    assert frame.loc[NAMES[0], "dataset"] == pytest.approx(find(NAMES[0]).score(1000.0))


def test_text_has_a_row_a_task_and_a_mean(outcomes):
    frame = tables.text_frame(outcomes).set_index("task")
    assert list(frame.index) == [*NAMES, "mean"]
    published = [published_scores()[name, "bc"].mean for name in NAMES]
    assert frame.loc[NAMES[0], "bc"] == f"15.0 ± 5.0 ({published[0]:.1f})"
    assert frame.loc["mean", "bc"] == f"8.5 ({np.mean(published):.1f})"


def test_a_failed_cell_is_shown_and_spoils_the_mean(outcomes):
    outcomes[0] = dataclasses.replace(outcomes[0], result=None, fault="broken")
    frame = tables.text_frame(outcomes).set_index("task")
    assert frame.loc[NAMES[0], "bc"].startswith("failed")
    assert frame.loc["mean", "bc"].startswith("–")
    assert np.isnan(tables.score_frame(outcomes).loc[0, "bc"])


def test_a_mean_of_which_a_seed_diverged_is_none(outcomes, tmp_path):
    outcomes[0] = outcome(NAMES[0], "bc", [9.9, np.nan])
    frame = tables.text_frame(outcomes).set_index("task")
    assert frame.loc[NAMES[0], "bc"].startswith("diverged 1/2 (")
    assert frame.loc["mean", "bc"].startswith("diverged 1/4 (")
    numbers = tables.score_frame(outcomes).set_index("task")
    assert numbers.loc[NAMES[0], ["bc", "bc diverged"]].tolist() == pytest.approx([np.nan, 1], nan_ok=True)
    plots.curves(finished(outcomes), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_a_curve_ends_where_a_seed_diverged(outcomes, tmp_path, monkeypatch):
    """pandas would go on with the seed that is left, or with an evaluation before the switch at the same moment."""
    lost = outcome(NAMES[0], "bc", [10.0, 20.0])
    curves = lost.result.curves
    curves.loc[curves.index[-1], "score"] = np.nan
    drawn, noted = [], []
    monkeypatch.setattr(plots.Axes, "plot", lambda _, x, y, **how: drawn.append(np.asarray(y)))
    monkeypatch.setattr(plots.Axes, "text", lambda _, x, y, words, **how: noted.append(words))
    plots.curves(finished([lost]), tmp_path / "curves.png")
    np.testing.assert_array_equal(drawn[0], [7.5, np.nan])
    assert noted == ["bc: diverged 1/2"]


def test_the_caption_says_what_the_figures_are(outcomes):
    caption = tables.caption(outcomes)
    for words in ("4,000 updates", "2 seeds", "population standard deviation", "not the original data", "CORL README"):
        assert words in caption


def test_the_caption_calls_only_regenerated_data_so(outcomes):
    cell = dataclasses.replace(outcomes[0].cell, source="d4rl")
    mixed = [dataclasses.replace(outcomes[0], cell=cell), *outcomes[1:]]
    told = "not the original data: hopper-medium-v2, walker2d-medium-v2 from a public policy near D4RL's medium level"
    assert told in tables.caption(outcomes)
    assert "Made here" in tables.caption(mixed)
    assert "Made here" not in tables.caption(mixed[:1])


def test_one_seed_has_no_spread():
    frame = tables.text_frame([outcome(NAMES[0], "bc", [12.0])])
    assert frame.loc[0, "bc"].startswith("12.0 (")
    assert "one seed, 10 episodes" in tables.caption([outcome(NAMES[0], "bc", [12.0])])


def test_the_caption_tells_images_budget_from_the_others(outcomes):
    seen = outcome("vd4rl-cheetah_run-medium", "pixel_bc", [1.0, 2.0])
    spend = dataclasses.replace(seen.cell.budget, updates=100)
    seen = dataclasses.replace(seen, cell=dataclasses.replace(seen.cell, budget=spend))
    for order in ([seen, *outcomes], [*outcomes, seen]):
        caption = tables.caption(order)
        assert "after 4,000 updates (bc, iql)" in caption
        assert "after 100 updates (pixel_bc)" in caption


class TestOfflineToOnline:
    @pytest.fixture
    def outcomes(self):
        rlpd = outcome(NAMES[0], "rlpd", [40.0, 60.0], protocol="offline-to-online")
        online = rlpd.result.curves[rlpd.result.curves["env_steps"] > 0]
        rlpd = dataclasses.replace(rlpd, result=dataclasses.replace(rlpd.result, curves=online))
        return [outcome(NAMES[0], "iql", [20.0, 40.0], protocol="offline-to-online"), rlpd]

    def test_what_diverged_online_still_shows_its_offline_score(self, outcomes):
        curves = outcomes[0].result.curves
        curves.loc[curves.index[-1], "score"] = np.nan
        assert tables.text_frame(outcomes).loc[0, "iql"] == "15.0 ± 5.0 → diverged 1/2"

    def test_the_table_shows_both_ends(self, outcomes):
        frame = tables.text_frame(outcomes)
        assert frame.loc[0, "iql"] == "15.0 ± 5.0 → 30.0 ± 10.0"
        assert frame.loc[0, "rlpd"] == "– → 50.0 ± 10.0"
        numbers = tables.score_frame(outcomes)
        assert numbers.loc[0, "iql offline"] == 15.0
        assert np.isnan(numbers.loc[0, "rlpd offline"])

    def test_the_caption_names_both_counts_and_no_published_figures(self, outcomes):
        caption = tables.caption(outcomes)
        assert "2,000 updates, → at the end, 1,000 env steps later" in caption
        assert "published" not in caption

    def test_what_fine_tuning_did_stands_below_the_scores(self, outcomes, tmp_path):
        tables.write(outcomes, tmp_path)
        scores, tuning = (tmp_path / "table.md").read_text(encoding="utf-8").split("2 seeds", 1)
        assert "regime" not in scores
        row = pd.read_csv(tmp_path / "fine-tuning.csv").set_index("agent").loc["iql"]
        assert (row["before"], row["drop"], row["back after"], row["final"]) == (15.0, 0.0, 0.0, 30.0)
        assert "only an oracle" in tuning
        tables.write(outcomes[1:], tmp_path / "alone")
        assert "| rlpd" in (tmp_path / "alone/table.md").read_text(encoding="utf-8")

    def test_the_picture_is_drawn(self, outcomes, tmp_path):
        plots.curves(finished(outcomes), tmp_path / "curves.png")
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_files_are_written(outcomes, tmp_path):
    tables.write(outcomes, tmp_path)
    plots.curves(finished(outcomes), tmp_path / "curves.png")
    assert pd.read_csv(tmp_path / "table.csv")["task"].tolist() == list(NAMES)
    assert "| hopper-medium-v2" in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_single_evaluation_is_no_curve(tmp_path):
    told = outcome(NAMES[0], "bc", [10.0, 20.0])
    last = told.result.curves[told.result.curves["updates"] == told.cell.spend[0]]
    plots.curves([("bc", dataclasses.replace(told.result, curves=last))], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_nothing_finished_draws_nothing(tmp_path):
    plots.curves(finished([outcome(NAMES[0], "bc", [1.0], fault="broken")]), tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_published_scores_name_known_tasks_and_their_sources():
    for (task, agent), score in published_scores().items():
        assert task in TASKS
        assert agent in KNOWN
        assert score.source
        assert score.seeds is None or score.seeds > 0
        assert -10 < score.mean < 170


class TestSubroutines:
    """Tasks without datasets, where episodes may succeed."""

    @pytest.fixture
    def outcomes(self):
        outcomes = [
            outcome(task, agent, [20.0, 40.0], protocol="subroutine")
            for task in ("hopper", "sawyer-push")
            for agent in ("sac", "tune_iql")
        ]
        for told in outcomes[2:]:
            told.result.curves["success"] = np.where(told.result.curves["seed"] == 1, 0.5, 0.0)
        return outcomes

    def test_the_rate_of_success_stands_beside_the_score(self, outcomes):
        frame = tables.text_frame(outcomes).set_index("task")
        assert frame.loc["hopper", "sac"] == "30.0 ± 10.0"
        assert frame.loc["sawyer-push", "sac"] == "30.0 ± 10.0, 25 %"
        assert tables.score_frame(outcomes).set_index("task").loc["sawyer-push", "tune_iql success"] == 0.25
        assert "episodes that succeeded" in tables.caption(outcomes)
        assert list(frame) == ["sac", "tune_iql"]  # there is no data to speak of
        assert "Dataset mean" not in tables.caption(outcomes)

    def test_there_is_no_mean_over_different_scales(self, outcomes):
        assert list(tables.text_frame(outcomes)["task"]) == ["hopper", "sawyer-push"]

    def test_the_caption_says_what_was_spent(self, outcomes):
        assert "after 1,000 env steps in all, and 100 updates for each offline training" in tables.caption(outcomes)

    def test_a_picture_of_two_evaluations_at_one_moment(self, outcomes, tmp_path):
        curves = outcomes[0].result.curves
        curves["env_steps"] = 1_000
        curves["updates"] = 5
        plots.curves(finished(outcomes), tmp_path / "curves.png")
        assert (tmp_path / "curves.png").stat().st_size > 10_000
