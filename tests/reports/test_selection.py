import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from moorl_jax.cli import app
from moorl_jax.engine import seals
from moorl_jax.errors import MoorlError
from moorl_jax.reports import selection
from moorl_jax.reports.collection import find_results
from moorl_jax.tasks import find
from tests.stored import store

TASK = find("hopper-medium-v2")


def kept(folder, name, of_seeds, **how):
    """A result whose seeds end with these scores, an episode each of the lists."""
    directory = store(folder / name, scores=tuple(map(float, np.mean(of_seeds, axis=1))), **how)
    rows = [
        {"seed": seed, "episode": episode, "return": TASK.low + score / 100 * (TASK.high - TASK.low)}
        for seed, scores in enumerate(of_seeds)
        for episode, score in enumerate(scores)
    ]
    pd.DataFrame(rows).to_csv(directory / "episodes.csv", index=False)
    seals.seal(directory)


@pytest.mark.parametrize(
    ("picked", "expected"),
    [(1, 20.0), (2, (10 * 1 + 20 * 3 + 30 * 5) / 9), (3, (10 * 1 + 20 * 7 + 30 * 19) / 27)],
)
def test_the_expected_best_of_some_policies(picked, expected):
    """Of three, each as likely at every pick: of 9 pairs 1 has 10 as its best, 3 have 20, 5 have 30."""
    assert selection.expected_best(np.array([30.0, 10.0, 20.0]), np.array([picked]))[0] == pytest.approx(expected)


def test_the_expected_best_is_what_picking_gives():
    values, rng = np.array([3.0, 1.0, 4.0, 1.0, 5.0]), np.random.default_rng(0)
    picked = rng.choice(values, (200_000, 3)).max(axis=1).mean()
    assert selection.expected_best(values, np.array([3]))[0] == pytest.approx(picked, abs=0.01)


def test_a_bandit_whose_arms_never_vary_knows_the_best_when_it_has_tried_all():
    scores = np.array([[10.0, 10.0], [40.0, 40.0], [20.0, 20.0]])
    recommended = selection.trials(scores, np.array([[0, 2, 1], [1, 0, 2]]), 5, np.random.default_rng(0))
    np.testing.assert_array_equal(recommended, [[10, 20, 40, 40, 40], [40, 40, 40, 40, 40]])


def test_the_bandit_pulls_by_its_bound(monkeypatch):
    """Two arms, 0 and 10, range 10: after one pull each their bounds are 0 + b and 10 + b, so the second is next.

    It is pulled until 10 + 10 sqrt(2 ln t / n) < 0 + 10 sqrt(2 ln t / 1), which is first so at t = 6: 18.5 < 18.9.
    """
    drawn = []

    class Counting(np.ndarray):
        def __getitem__(self, place):
            drawn.append(int(np.asarray(place[0])[0]) if isinstance(place, tuple) else None)
            return np.asarray(self)[place]

    scores = np.array([[0.0], [10.0]]).view(Counting)
    selection.trials(scores, np.array([[0, 1]]), 7, np.random.default_rng(0))
    pulls = [arm for arm in drawn if arm is not None]
    bounds = {t: 10 + 10 * np.sqrt(2 * np.log(t) / (t - 1)) - 10 * np.sqrt(2 * np.log(t)) for t in range(2, 7)}
    back = next(t for t, gap in bounds.items() if gap < 0)
    assert pulls == [0, *[1] * (back - 1), 0, *[1] * (6 - back)]


def test_noise_costs_episodes(tmp_path):
    """Two policies, 0 or 100 at random and always 60: one episode of the first may be 100, many are 50 on average."""
    rng = np.random.default_rng(0)
    scores = np.array([[0.0, 100.0], [60.0, 60.0]])
    recommended = selection.trials(scores, np.array([[0, 1]] * 2_000), 200, rng).mean(axis=0)
    assert recommended[0] == 50.0
    assert recommended[1] == pytest.approx(55.0, abs=0.5)  # half of the time it is deceived
    assert recommended[-1] > 59.0


def test_settings_and_seeds_of_one_budget_are_put_together(tmp_path):
    kept(tmp_path, "plain", [[10.0, 20.0], [30.0, 30.0]])
    kept(tmp_path, "wide", [[50.0, 70.0], [np.nan, np.nan]], overrides=["expectile=0.9"])
    kept(tmp_path, "longer", [[90.0, 90.0]], updates=2_000)  # alone
    (sweep,) = selection.sweeps(find_results([tmp_path]))
    assert (sweep.task, sweep.agent, sweep.settings, sweep.evaluated) == ("hopper-medium-v2", "iql", 2, 2)
    np.testing.assert_allclose(sweep.scores, [[10, 20], [30, 30], [50, 70], [10, 10]], rtol=1e-6)


def test_results_of_earlier_versions_are_named(tmp_path):
    store(tmp_path / "old")
    with pytest.raises(MoorlError, match=r"has no episodes\.csv"):
        selection.sweeps(find_results([tmp_path]))


def test_the_command_prints_writes_and_draws(tmp_path, monkeypatch):
    for name in ("TRIALS", "RESAMPLES"):
        monkeypatch.setattr(selection, name, 20)
    for number, score in enumerate((10.0, 40.0, 70.0)):
        kept(tmp_path, str(number), [[score] * 2, [score + 10] * 2], overrides=[f"expectile=0.{number + 5}"])
    words = ["--pulls", "40", "--out", str(tmp_path / "select.csv"), "--picture", str(tmp_path / "select.png")]
    run = CliRunner().invoke(app, ["select", str(tmp_path), *words], env={"COLUMNS": "160"})
    assert run.exit_code == 0, run.output
    assert "arXiv 2504.11453" in run.output
    numbers = pd.read_csv(tmp_path / "select.csv").set_index("online episodes")
    assert numbers["policies"].unique() == [6]
    assert numbers.loc[2, "EOP"] == pytest.approx(45.0)  # one policy, two episodes
    assert numbers.loc[40, "bandit"] == numbers.loc[40, "best of all"] == pytest.approx(80.0)  # nothing varies
    assert (tmp_path / "select.png").stat().st_size > 10_000
    assert CliRunner().invoke(app, ["select", str(tmp_path), "--agents", "iqk"]).exit_code == 2
