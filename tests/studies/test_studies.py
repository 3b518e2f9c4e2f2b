import dataclasses

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from moorl_jax.cli import app
from moorl_jax.data import hdf5, recipe, sources
from moorl_jax.engine import results
from moorl_jax.errors import MoorlError
from moorl_jax.progress import Display, terminal
from moorl_jax.studies import study
from moorl_jax.studies.catalogue import STUDIES
from moorl_jax.studies.study import Study, Variant
from moorl_jax.sweeps.budgets import BUDGETS, Budget
from moorl_jax.sweeps.cells import Cell
from moorl_jax.sweeps.runner import Outcome, sweep
from moorl_jax.tasks import expand
from tests.stored import store

TINY = Budget(
    "tiny",
    updates=6,
    updates_before=6,
    updates_each=6,
    env_steps=20,
    env_steps_alone=20,
    seeds=2,
    evaluations=2,
    episodes=10,
)


@pytest.mark.parametrize("name", STUDIES)
def test_every_variant_can_be_set_and_differs_from_the_others(name):
    """Each is a valid change of an agent's settings, at the smallest budget of the study too, and a cell of its own."""
    # On a random dataset OPT's own kappa is 1 throughout, as one of the variants'.
    chosen, task = STUDIES[name], expand(STUDIES[name].tasks)[-1]
    for budget in (budget for budget in BUDGETS.values() if budget.env_steps >= chosen.least):
        cells = [
            Cell(task, v.agent, "recipe", (0,), budget, chosen.protocol, v.changes, v.label) for v in chosen.variants
        ]
        assert all(cell.phases for cell in cells)
        assert len({cell.name for cell in cells}) == len({cell.label for cell in cells}) == len(chosen.variants)
    assert "--set" in "".join(cell.command for cell in cells) or not any(v.changes for v in chosen.variants)


@pytest.fixture
def outcomes(hopper, hopper_rows, tmp_path):
    hdf5.write(
        sources.find(hopper, "embedded").place, hopper_rows, {"metadata/version": str(recipe.VERSIONS["locomotion"])}
    )
    variants = (
        Variant("plain", "td3_bc"),
        Variant("wild", "td3_bc", ("exploration_noise=0.5",)),
        Variant("sac", "sac"),
    )
    tiny = Study("What is tried?", "hopper-medium-v2", variants)
    cells = tiny.cells(expand(tiny.tasks), TINY, 2, "embedded", None)
    cells = [dataclasses.replace(cell, task=dataclasses.replace(hopper, evaluation_episodes=1)) for cell in cells]
    return tiny, sweep(cells, tmp_path / "cells", None, Display(terminal()))


def test_a_studys_table_and_picture(outcomes, tmp_path):
    tiny, outcomes = outcomes
    assert [outcome.fault for outcome in outcomes] == ["", "", ""]
    numbers = study.frame(outcomes)
    assert list(numbers["variant"]) == ["plain", "wild", "sac"]
    assert [over.seeds for over in numbers["before"]] == [2, 2, 0]
    curves = outcomes[1].result.curves
    online = curves[curves["env_steps"] > 0]
    halfway, end = (online.loc[online["env_steps"] == steps, "score"].mean() for steps in (10, 20))
    before = numbers["before"][1].mean
    assert numbers["area"][1].mean == pytest.approx((before + 2 * halfway + end) / 4)  # straight in between
    assert numbers["final"][1].mean == pytest.approx(online[online["env_steps"] == 20]["score"].mean())
    assert (numbers["minutes"] > 0).all()
    study.report(tiny, outcomes, tmp_path / "out")
    written = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "What is tried?" in written
    assert (
        "embedded data (regenerated, not D4RL's); 6 offline updates where the agent has an offline phase, 20 env steps"
        in written
    )
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000


def test_a_variants_command_says_what_was_changed(outcomes):
    _, outcomes = outcomes
    assert outcomes[1].result.config["command"].endswith("--set exploration_noise=0.5")
    assert outcomes[1].result.config["agent_config"]["exploration_noise"] == 0.5


def test_a_failed_variant_is_a_dash(outcomes):
    _, outcomes = outcomes
    failed = [Outcome(outcomes[0].cell, None, "broke"), *outcomes[1:]]
    assert study.text(study.frame(failed))["final"][0] == "–"


def test_of_a_variant_of_which_a_seed_diverged_there_is_no_mean(tmp_path):
    """pandas would take that of the seed that is left."""
    tiny, found = Study("What is tried?", "hopper-medium-v2", (Variant("plain", "iql"), Variant("sound", "iql"))), []
    for variant in tiny.variants:
        result = results.read(store(tmp_path / variant.label, scores=(10.0, 20.0), updates=6, env_steps=20))
        cell = Cell(result.task, "iql", "recipe", (0, 1), TINY, "offline-to-online", (), variant.label)
        found.append(Outcome(cell, result))
    curves = found[0].result.curves
    curves.loc[(curves["seed"] == 1) & (curves["env_steps"] == 20), "score"] = np.nan
    (section,) = study.report(tiny, found, tmp_path / "out")
    columns = ["before", "final", "area"]
    assert section.table.loc[0, columns].tolist() == ["7.5 ± 2.5", "diverged 1/2", "diverged 1/2"]
    assert section.table.loc[1, columns].tolist() == ["7.5 ± 2.5", "15.0 ± 5.0", "11.2 ± 3.8"]
    numbers = pd.read_csv(tmp_path / "out" / "table.csv")
    assert numbers["final diverged"].tolist() == [1, 0]
    assert numbers["final"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("opt-kapa",), "did you mean opt-kappa"),
        (("opt-kappa", "--budget", "x"), "budget"),
    ],
)
def test_wrong_words_are_named(words, message, monkeypatch):
    monkeypatch.setattr("moorl_jax.cli.study.use_all_cores", lambda: None)  # JAX has begun
    result = CliRunner().invoke(app, ["study", *words])
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_study_that_cannot_run_says_why_before_it_begins():
    with pytest.raises(MoorlError, match="needs 150,000 env steps: 1,000 are too few"):
        STUDIES["opt-collect"].cells("hopper-medium-v2", BUDGETS["quick"], 1, "embedded", None)
    with pytest.raises(MoorlError, match="ant-medium-v2 has no source 'recipe'"):
        STUDIES["hybrid"].cells(expand("ant-medium-v2"), BUDGETS["quick"], 1, "recipe", None)
