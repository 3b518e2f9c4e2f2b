"""Monte-Carlo returns: by hand, and against Cal-QL's own."""

import json
from pathlib import Path

import numpy as np
import pytest

from moorl_jax.data.returns import returns_to_go, transitions_with_returns
from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError
from moorl_jax.types import ReturnsToGo

CONVENTIONS = np.load(Path(__file__).parents[1] / "parity" / "d4rl_conventions.npz", allow_pickle=False)
H = json.loads(str(CONVENTIONS["hparams"]))


def rows(rewards, terminals, timeouts):
    count = len(rewards)
    observations = np.arange(count, dtype=np.float32)[:, None]
    flags = (np.asarray(flag, bool) for flag in (terminals, timeouts))
    return Rows(observations, np.zeros((count, 1), np.float32), np.asarray(rewards, np.float32), *flags)


def test_a_terminal_episode_then_a_timed_out_one_then_a_tail():
    """1 2 3| 4 5 6> 7 8: of the time-out's row and the unfinished tail nothing is left, and nothing is bootstrapped."""
    data = transitions_with_returns(
        rows([1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0, 0]), 10, ReturnsToGo(0.5)
    )
    np.testing.assert_array_equal(data.rewards, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(data.mc_returns, [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3, 4 + 0.5 * 5, 5])
    np.testing.assert_array_equal(data.terminals, [0, 0, 1, 0, 0])


def test_only_an_episode_of_nothing_but_failure_counts_as_endless():
    rule = ReturnsToGo(0.9, failure_reward=-1.0)
    fail = np.full(3, -1.0, np.float32)
    np.testing.assert_allclose(returns_to_go(fail, np.zeros(3), rule), -10.0)
    np.testing.assert_allclose(returns_to_go(fail, np.array([0, 0, 1.0]), rule), -10.0)
    mixed = np.array([-1.0, 0.0, -1.0], np.float32)
    np.testing.assert_allclose(returns_to_go(mixed, np.zeros(3), rule), [-1 - 0.81, -0.9, -1])
    np.testing.assert_allclose(returns_to_go(fail, np.zeros(3), ReturnsToGo(0.9)), [-2.71, -1.9, -1])


def test_data_without_a_finished_episode_is_refused():
    with pytest.raises(DatasetError, match="no episode is finished"):
        transitions_with_returns(rows([1, 2, 3], [0, 0, 0], [0, 0, 0]), 10, ReturnsToGo(0.9))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_parity_with_cal_ql(kind):
    raw = {
        name: CONVENTIONS[f"raw/{kind}/{name}"]
        for name in ("observations", "actions", "rewards", "terminals", "timeouts")
    }
    scale, shift = (H["reward_scale"], H["reward_bias"]) if kind == "sparse" else (1.0, 0.0)
    rewards = (raw["rewards"] * scale + shift).astype(np.float32)
    given = Rows(
        raw["observations"], raw["actions"], rewards, raw["terminals"].astype(bool), raw["timeouts"].astype(bool)
    )
    failure = shift if kind == "sparse" else None
    data = transitions_with_returns(given, H["max_episode_steps"], ReturnsToGo(H["gamma"], failure))
    theirs = {
        name: CONVENTIONS[f"calql/{kind}/{name}"] for name in ("observations", "rewards", "terminals", "mc_returns")
    }
    for name, value in theirs.items():
        np.testing.assert_allclose(getattr(data, name), value, rtol=1e-6, atol=1e-6, err_msg=name)


LISTS = sorted({name.split("/")[2] for name in CONVENTIONS.files if name.startswith("calql/list/")})


@pytest.mark.parametrize("name", LISTS)
def test_parity_of_single_episodes(name):
    rewards, terminals, expected = (
        CONVENTIONS[f"calql/list/{name}/{part}"] for part in ("rewards", "terminals", "mc_returns")
    )
    failure = {"sparse": -5.0, "adroit": -15.0}.get(name.split("_")[0])
    ours = returns_to_go(rewards.astype(np.float32), terminals, ReturnsToGo(H["gamma"], failure))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
