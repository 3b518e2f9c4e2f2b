import pytest

from benchmarks import speed
from moorl_jax.errors import UnknownNameError


def test_an_agents_online_loop_is_timed(monkeypatch):
    monkeypatch.setattr(speed, "ROWS", 1_000)
    measured = speed.measure("moorl", 1, 80)
    assert measured.updates_per_second == pytest.approx(4 * measured.env_steps_per_second)
    assert list(measured.shares) == ["simulate", "update", "evaluate", "other"]
    assert sum(measured.shares.values()) == pytest.approx(1.0)
    assert measured.shares["update"] > measured.shares["simulate"] > 0
    actor, critic = 11 * 256 + 256 + 257 * 256 + 257 * 6, 14 * 256 + 256 + 257 * 256 + 257
    assert measured.parameters == actor + 2 * critic + 1  # and the temperature


def test_an_agent_without_one_is_named():
    with pytest.raises(UnknownNameError, match="unknown online agent 'bc'"):
        speed.measure("bc", 1, 10)
