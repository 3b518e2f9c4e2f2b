import dataclasses

import numpy as np
import pandas as pd
import pytest

from moorl_jax.engine.results import Result
from moorl_jax.errors import MoorlError
from moorl_jax.reports.writing import in_numbers
from moorl_jax.studies import questions, subroutines
from moorl_jax.studies.catalogue import BY_BOTH, STUDIES, VALIDATIONS
from moorl_jax.sweeps.budgets import BUDGETS
from moorl_jax.sweeps.cells import Cell
from moorl_jax.sweeps.runner import Outcome
from moorl_jax.tasks import expand, find

BUDGET = dataclasses.replace(BUDGETS["quick"], evaluations=4, env_steps_alone=40_000)


def outcome(task, agent, finals, changes=(), label="", successes=None, moments=(10_000, 20_000, 30_000, 40_000)):
    """A finished run whose scores rise evenly to `finals`, one a seed; a tuned one is evaluated at 20k env steps."""
    cell = Cell(find(task), agent, "none", tuple(range(len(finals))), BUDGET, "subroutine", changes, label or agent)
    rows = [("online", steps, step / len(moments)) for step, steps in enumerate(moments, start=1)]
    if agent.startswith("tune"):
        rows.insert(2, ("judge", 20_000, 0.1))
    curves = [
        {"seed": seed, "phase": phase, "updates": 0, "env_steps": steps, "score": share * final}
        | ({} if successes is None else {"success": successes[seed]})
        for phase, steps, share in rows
        for seed, final in enumerate(finals)
    ]
    made = {"seconds": {"total": 120.0}, "dataset_mean_return": None}
    plan = {"updates": 0, "env_steps": 40_000, "evaluate_every": 1, "evaluate_every_steps": 1, "episodes": 10}
    config = {"task": task, "source": "none", "seeds": list(cell.seeds), "plan": plan}
    return Outcome(cell, Result(None, config, made, pd.DataFrame(curves), {}))


def answers(outcomes):
    table = questions.sections(outcomes)[2].table
    return {row["comparison"]: row["answer"] for row in table.to_dict("records")}


def test_what_a_variant_ends_with_and_costs():
    outcomes = [
        outcome("hopper", "sac", (10.0, 20.0)),
        outcome("hopper", "recommend_iql", (30.0, 50.0), (BY_BOTH,), "both"),
        outcome("sawyer-push", "sac", (1.0, 2.0), successes=(0.0, 0.5)),
    ]
    numbers = pd.DataFrame([in_numbers(row) for row in subroutines.frame(outcomes).to_dict("records")])
    assert numbers["final"].tolist() == [15.0, 40.0, 1.5]
    assert np.isnan(numbers["success"][0])
    assert numbers["success"][2] == 25.0
    # Linear in between, from a quarter at 10k to all at 40k.
    assert numbers["area"].tolist() == pytest.approx([0.625 * 15, 0.625 * 40, 0.625 * 1.5])
    # A tenth of the budget in equal shares: the learner and two checkpoints on each of three datasets.
    assert numbers["validation"].tolist() == [0, 4_000 // 7 * 7, 0]
    assert numbers["minutes"].tolist() == [2.0] * 3


def test_planted_effects_are_found_and_absent_ones_are_not():
    low, high, same = (1.0, 2.0, 3.0), (11.0, 12.0, 13.0), (1.0, 2.0, 3.0)
    by_dataset = VALIDATIONS["dataset by episodes"]
    outcomes = [
        outcome("hopper", "sac", low),
        outcome("hopper", "recommend_iql", same),
        outcome("hopper", "recommend_iql", high, by_dataset, "with"),
        outcome("hopper", "tune_pex", (-3.0, -2.0, -1.0)),
        outcome("sawyer-push-sparse", "sac", low, successes=(0.0, 0.0, 0.0)),
        outcome("sawyer-push-sparse", "recommend_iql", low, successes=(0.5, 0.8, 1.0)),
    ]
    found = answers(outcomes)
    assert found["of dataset by episodes, above none"] == "yes"
    assert found["subroutines above online only, sparse reward"] == "yes"
    assert found["subroutines above online only, dense reward"] == "open"
    assert found["with sparse reward, less with dense"] == "yes"
    assert found["recommend_iql above online only"] == "yes"
    assert found["tune_pex above online only"] == "no, the reverse"
    assert found["tune_pex above recommend_iql"] == "no, the reverse"
    assert found["rank correlation over tasks"] == "open"
    winners = questions.sections(outcomes)[0].table.set_index("task")
    assert winners["best at the end"].tolist() == ["with", "recommend_iql"]
    assert winners["it ends with"]["sawyer-push-sparse"] == "77 %"


def test_a_gain_that_grows_with_instability_is_found():
    """Six learners, each less steady than the one before; what a subroutine adds is planted in the same order."""
    outcomes = []
    tasks = ("hopper", "walker2d", "halfcheetah", "ant", "sawyer-push", "sawyer-lift")
    for lost, task in enumerate(tasks):
        learner = outcome(task, "sac", (1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
        curves = learner.result.curves
        curves.loc[curves["env_steps"] == 30_000, "score"] -= 5.0 * lost
        # 0 to 5 of the six seeds end above all of the learner's.
        ended = tuple(100.0 if seed < lost else -100.0 for seed in range(6))
        outcomes += [learner, outcome(task, "recommend_cql", ended)]
    assert answers(outcomes)["rank correlation over tasks"] == "yes"


def test_two_seeds_answer_nothing():
    outcomes = []
    for gained, task in enumerate(("hopper", "walker2d", "halfcheetah", "ant", "humanoid")):
        learner = outcome(task, "sac", (1.0, 2.0))
        learner.result.curves.loc[learner.result.curves["env_steps"] == 30_000, "score"] -= float(gained)
        outcomes += [learner, outcome(task, "recommend_iql", (gained / 2, gained / 2))]
    assert set(answers(outcomes).values()) == {"open"}


def test_where_nobody_ever_succeeds_nothing_is_answered():
    nobody = (0.0, 0.0, 0.0)
    outcomes = [
        outcome("hopper", "sac", (11.0, 12.0, 13.0)),
        outcome("hopper", "recommend_iql", (1.0, 2.0, 3.0)),
        outcome("sawyer-push-sparse", "sac", nobody, successes=nobody),
        outcome("sawyer-push-sparse", "recommend_iql", nobody, successes=nobody),
    ]
    found = answers(outcomes)
    assert "subroutines above online only, sparse reward" not in found
    assert found["with sparse reward, less with dense"] == "open"  # there is nothing to compare with
    assert found["recommend_iql above online only"] == "no, the reverse"
    assert "no run ever succeeded: sawyer-push-sparse." in questions.sections(outcomes)[2].caption


def test_where_success_is_not_all_that_is_paid_for_scores_decide():
    nobody = (0.0, 0.0, 0.0)
    outcomes = [
        outcome("sawyer-push", "sac", (1.0, 2.0, 3.0), successes=nobody),
        outcome("sawyer-push", "recommend_iql", (11.0, 12.0, 13.0), successes=nobody),
    ]
    assert answers(outcomes)["recommend_iql above online only"] == "yes"
    assert questions.sections(outcomes)[0].table["it ends with"].tolist() == ["12.0 ± 0.8"]


def test_scores_after_the_switch():
    drops = subroutines.drop_frame([outcome("hopper", "sac", (4.0,)), outcome("hopper", "tune_iql", (4.0, 8.0))])
    assert drops["variant"].tolist() == ["tune_iql"]
    row = drops.iloc[0]
    shown = [row[name].mean for name in ("learner", "0", "20,000", "end", "drop")]
    assert shown == pytest.approx([3.0, 0.6, 6.0, 6.0, 0.0])
    assert row["1,000"].seeds == row["back after"] == 0


def test_a_drop_is_counted_from_the_switch():
    tuned = outcome("hopper", "tune_iql", (10.0, 10.0))
    curves = tuned.result.curves
    curves.loc[(curves["env_steps"] == 30_000) & (curves["seed"] == 0), "score"] = -4.0
    row = subroutines.drop_frame([tuned]).iloc[0]
    assert row["drop"].mean == pytest.approx((1.0 + 4.0) / 2)  # the other seed never falls
    assert row["back after"] == (20_000 + 0) / 2


def test_a_study_is_written_with_a_picture_for_each_agent(tmp_path):
    outcomes = [outcome("hopper", "sac", (1.0, 2.0)), outcome("hopper", "tune_iql", (2.0, 3.0))]
    failed = dataclasses.replace(outcome("hopper", "tune_pex", (1.0, 1.0)), result=None, fault="broke")
    sections = subroutines.report(STUDIES["subroutine-drop"], [*outcomes, failed], tmp_path / "out")
    assert sections[0].title == "Variants"
    assert sections[0].table["final"].tolist()[2] == "–"
    written = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "## The paper's findings as questions" in written
    assert "## After the switch to fine-tuning" in written
    assert (tmp_path / "out" / "curves-tune_iql.png").exists()


def test_a_study_can_be_cut_to_some_agents():
    chosen = STUDIES["subroutines"].only("sac,tune_iql")
    assert {variant.agent for variant in chosen.variants} == {"sac", "tune_iql"}
    assert len(chosen.variants) == 1 + len(VALIDATIONS)
    with pytest.raises(MoorlError, match="did you mean tune_iql"):
        chosen.only("tune_iq")


def test_the_drop_shows_evaluations_of_every_phase():
    """PEX collects before it learns."""
    tuned = outcome("hopper", "tune_pex", (4.0,), moments=(10_000, 20_000, 21_000, 40_000))
    curves = tuned.result.curves
    curves.loc[curves["env_steps"] == 21_000, "phase"] = "collect"
    assert subroutines.drop_frame([tuned]).iloc[0]["1,000"].mean == 3.0


def test_what_diverged_wins_nothing_wherever_it_stands():
    """Python's max keeps a NaN that comes first."""
    lost, sound = (11.0, np.nan, 99.0), (2.0, 3.0, 4.0)
    outcomes = [outcome("hopper", "sac", (1.0, 2.0, 3.0)), outcome("hopper", "recommend_cql", lost, label="lost")]
    outcomes.append(outcome("hopper", "recommend_iql", sound, label="sound"))
    for order in (outcomes, [outcomes[0], *reversed(outcomes[1:])]):
        row = questions.sections(order)[0].table.iloc[0]
        assert (row["best at the end"], row["it ends with"], row["largest area"]) == ("sound", "3.0 ± 0.8", "sound")
    row = questions.sections(outcomes[:2])[0].table.iloc[0]
    assert (row["best at the end"], row["it ends with"], row["beats online only"]) == ("–", "–", "–")


def test_a_learner_that_diverged_is_no_stable_one():
    """No run of it counts as a success either."""
    alone = outcome("sawyer-push-sparse", "sac", (0.0, np.nan), successes=(0.0, np.nan))
    sections = questions.sections([alone, outcome("sawyer-push-sparse", "tune_iql", (0.0, 0.0), successes=(0.0, 0.0))])
    assert sections[1].table.loc[0, ["online only", "instability"]].tolist() == ["diverged 1/2", "diverged 1/2"]
    assert "no run ever succeeded: sawyer-push-sparse." in sections[2].caption


def test_scores_after_the_switch_are_of_all_seeds_or_of_none():
    tuned = outcome("hopper", "tune_iql", (4.0, 8.0))
    curves = tuned.result.curves
    curves.loc[(curves["seed"] == 1) & (curves["env_steps"] == 40_000), "score"] = np.nan
    section = subroutines._drop_section(subroutines.drop_frame([tuned]))
    shown = section.table.iloc[0]
    assert (shown["0"], shown["20,000"], shown["end"], shown["drop"]) == ("0.6", *["diverged 1/2"] * 3)
    assert shown["back after"] == "–"


def test_the_drop_is_evaluated_every_thousand_env_steps():
    with pytest.raises(MoorlError, match="no multiple"):
        STUDIES["subroutine-drop"].cells(
            expand("hopper"), dataclasses.replace(BUDGET, env_steps_alone=2_500), 1, "auto", None
        )
    cell = STUDIES["subroutine-drop"].cells(expand("hopper"), BUDGETS["short"], 1, "auto", None)[0]
    assert cell.intervals[1] == 1_000
