import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks import regress
from benchmarks.regress import (
    ALARM,
    BASELINE,
    BASELINE_SEEDS,
    CONFIRMED,
    FIGURES,
    PINNED,
    SEEDS,
    compare,
    corrected,
    p_value,
)

HERE = Path(__file__).parents[2]
NAMES = [pinned.name for pinned in PINNED]


def measured(rng, seeds, **shift):
    """Runs whose figures are noise around 50, some of them shifted."""
    rows = [
        {"training": name, "seed": seed}
        | {figure.column: 50.0 + shift.get(figure.column, 0.0) + 5.0 * rng.normal() for figure in FIGURES}
        for name in NAMES
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def false_alarms():
    """How often each comparison alarms though nothing has changed, (baselines, comparisons), for given baselines."""
    rng = np.random.default_rng(0)
    baselines, runs, rates = 300, 300, []
    for _ in range(baselines):
        then = rng.normal(5.0, 1.0, (len(NAMES), len(FIGURES), BASELINE_SEEDS))
        now = rng.normal(5.0, 1.0, (runs, len(NAMES), len(FIGURES), SEEDS))
        p = [
            p_value(dataclasses.replace(figure, logarithmic=False), now[:, :, k], then[:, k])
            for k, figure in enumerate(FIGURES)
        ]
        rates.append((corrected(np.concatenate(p, axis=-1)) < ALARM).mean(axis=0))
    return np.array(rates)


def any_of(rates):
    return 1.0 - np.prod(1.0 - rates, axis=-1)


def test_over_all_baselines_a_first_alarm_is_as_rare_as_it_says(false_alarms):
    rates = any_of(false_alarms)
    assert rates.mean() <= ALARM + 2 * rates.std() / len(rates) ** 0.5
    assert ALARM == 0.01


def test_for_a_given_baseline_an_alarm_that_counts_is_as_rare_as_it_says(false_alarms):
    """One that came once would not be: a baseline may lie so that it comes in one of twenty cases."""
    assert (any_of(false_alarms) > CONFIRMED).mean() > 0.2
    assert (any_of(false_alarms**2) > CONFIRMED).mean() <= 0.005
    assert CONFIRMED == 0.01


def test_a_drop_alarms_and_a_rise_does_not():
    rng = np.random.default_rng(1)
    baseline = measured(rng, BASELINE_SEEDS)
    worse = compare(baseline, measured(rng, SEEDS, score=-40.0)).set_index("figure")["alarm"]
    assert worse["score"].all()
    assert not worse["critic's values"].any()
    assert not compare(baseline, measured(rng, SEEDS, score=40.0))["alarm"].any()
    assert compare(baseline, measured(rng, SEEDS, q=40.0)).set_index("figure")["alarm"]["critic's values"].all()


def test_a_drop_alarms_though_the_seeds_are_far_apart():
    """The committed scores of IQL and MOORL spread widely; a mean of them hides a learner that has stopped learning."""
    baseline = pd.read_csv(BASELINE)
    broken = baseline[baseline["seed"] < SEEDS].assign(score=-1.0)
    found = compare(baseline, broken)
    assert found.loc[found["figure"] == "score", "alarm"].all()


def test_what_is_not_a_number_alarms():
    rng = np.random.default_rng(2)
    found = compare(measured(rng, BASELINE_SEEDS), measured(rng, SEEDS).assign(q=np.nan))
    assert found.set_index("figure")["alarm"]["critic's values"].all()


@pytest.mark.parametrize("how", [["--record"], []])
def test_a_baseline_of_which_a_seed_diverged_is_neither_written_nor_held_against(how, monkeypatch, tmp_path):
    """Nothing would alarm: its p values would be NaN."""
    diverged = measured(np.random.default_rng(4), BASELINE_SEEDS)
    diverged.loc[0, "score"] = np.nan
    diverged.to_csv(tmp_path / "baseline.csv", index=False)
    written = (tmp_path / "baseline.csv").stat().st_mtime_ns
    monkeypatch.setattr(regress, "BASELINE", tmp_path / "baseline.csv")
    monkeypatch.setattr(regress, "measure", lambda *_: diverged)
    run = CliRunner().invoke(regress.app, how)
    assert run.exit_code != 0
    assert f"seeds diverged: {NAMES[0]};" in " ".join(run.output.split())
    assert (tmp_path / "baseline.csv").stat().st_mtime_ns == written


@pytest.mark.parametrize(("shifts", "code"), [([0.0], 0), ([40.0, 0.0], 0), ([40.0, 40.0], 1)])
def test_an_alarm_counts_where_it_comes_again(shifts, code, monkeypatch, tmp_path):
    rng = np.random.default_rng(3)
    measured(rng, BASELINE_SEEDS).to_csv(tmp_path / "baseline.csv", index=False)
    trained = []

    def measure(seeds, _display):
        trained.append(seeds)
        return measured(rng, len(seeds), q=shifts[len(trained) - 1])

    monkeypatch.setattr(regress, "BASELINE", tmp_path / "baseline.csv")
    monkeypatch.setattr(regress, "measure", measure)
    run = CliRunner().invoke(regress.app, ["--first-seed", "50"])
    assert run.exit_code == code, run.output
    assert trained == [[50, 51, 52, 53], [54, 55, 56, 57]][: len(shifts)]
    assert ("regressed: " in run.output) == bool(code)


def test_the_committed_baseline_is_of_the_pinned_set():
    baseline = pd.read_csv(BASELINE)
    assert list(baseline["training"].unique()) == NAMES
    assert (baseline.groupby("training")["seed"].count() == BASELINE_SEEDS).all()
    assert not baseline.isna().any(axis=None)


PLANTS = {
    "the actor's loss has a wrong sign": [
        ("agents/td3_bc.py", "loss = -weight * q.mean() + bc_loss", "loss = weight * q.mean() + bc_loss"),
    ],
    "the online actor's loss has a wrong sign": [
        ("agents/sac.py", "log_pi - q)", "log_pi + q)"),
    ],
    "targets never move": [
        ("nets/learner.py", "return jax.tree.map", "tau = 0.0\n    return jax.tree.map"),
    ],
    "time-outs are taken for terminals": [
        ("data/rows.py", "kept = kept_rows(rows, horizon)", "kept = np.arange(len(rows.rewards) - 1)"),
        ("data/rows.py", "rows.terminals[kept]", "ends(rows, horizon)[kept]"),
        ("engine/simulators.py", "terminals[position] = terminal", "terminals[position] = terminal or timeout"),
    ],
}


@pytest.mark.slow
def test_code_without_a_fault_raises_no_alarm():
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.regress", "--first-seed", "2000"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "no regression" in run.stdout


@pytest.mark.slow
@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_is_caught(fault, tmp_path):
    """In a copy of the code, by the command itself."""
    for package in ("moorl_jax", "benchmarks"):
        shutil.copytree(HERE / package, tmp_path / package)
    for file, right, wrong in PLANTS[fault]:
        path = tmp_path / "moorl_jax" / file
        assert path.read_text(encoding="utf-8").count(right) == 1
        path.write_text(path.read_text(encoding="utf-8").replace(right, wrong), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.regress"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "regressed:" in run.stdout


def test_a_seed_that_diverged_alarms_and_leaves_no_mean():
    rng = np.random.default_rng(1)
    now = measured(rng, SEEDS)
    now.loc[0, "score"] = np.nan
    row = compare(measured(rng, BASELINE_SEEDS), now).iloc[0]
    assert (row["alarm"], str(row["seeds"])) == (True, f"diverged 1/{SEEDS}")
    assert np.isnan(row["now"])
