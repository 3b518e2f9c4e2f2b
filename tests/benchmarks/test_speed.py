import pandas as pd
import pytest

from benchmarks.speed import offline, online, roofline, simulators, start, whole_runs
from benchmarks.speed.__main__ import _compared, _measuring, _write
from moorl_jax.errors import UnknownNameError


@pytest.mark.slow
def test_an_agents_online_loop_is_timed(monkeypatch):
    monkeypatch.setattr(roofline, "ROWS", 1_000)
    measured = online.measure("moorl", 1, 80, beside_loop=True)
    assert measured.updates_per_second == pytest.approx(4 * measured.env_steps_per_second)
    assert list(measured.shares) == ["simulate", "update", "other"]
    assert sum(measured.shares.values()) == pytest.approx(1.0)
    assert measured.shares["update"] > measured.shares["simulate"] > 0
    actor, critic = 11 * 256 + 256 + 257 * 256 + 257 * 6, 14 * 256 + 256 + 257 * 256 + 257
    assert measured.parameters == actor + 2 * critic + 1  # and the temperature
    assert measured.compile_seconds > 0
    assert measured.loop > 0


def test_an_agent_without_one_is_named():
    with pytest.raises(UnknownNameError, match="unknown online agent 'bc'"):
        online.measure("bc", 1, 10)


@pytest.mark.slow
def test_updates_are_counted_against_the_roofline_and_a_plain_loop(monkeypatch):
    monkeypatch.setattr(roofline, "ROWS", 1_000)
    monkeypatch.setattr(offline, "_window", lambda name: 40)
    prepared = offline.data("td3_bc")
    measured = offline.measure("td3_bc", 2, prepared)
    # Multiplications and additions of forward and backward passes: 0.42 GFLOP by hand, to which XLA adds Adam's.
    assert 0.3 < measured.gigaflops < 0.6
    assert measured.compile_seconds > 0
    assert offline.measure_loop("td3_bc", prepared) > 0
    assert offline.measure_evaluation("td3_bc", prepared) > 0
    # Of what it counts and times: as many updates a second of that size, below what the machine can do.
    assert 0.0 < measured.share < 1.2


def test_windows_are_whole_cycles():
    """The trainer rounds updates up to cycles: of 30 in a window RLPD, whose cycle has 20, would make 40."""
    assert offline._window("rlpd") == 40
    assert all(offline._window(name) % len(offline._updating(name).cycle()) == 0 for name in offline.AGENTS_MEASURED)


def test_several_seeds_and_a_plain_loop_are_compared():
    found = _compared({1: 100.0, 2: 160.0}, loop=50.0, compiling=3.0)
    assert found["cost of 2"] == pytest.approx(1.25)  # 2 / 160 s in 1 / 100 s
    assert found["ratio at 1"] == 2.0


def test_what_is_measured_is_chosen_before_it_begins():
    assert _measuring(["offline", "online"], ["opt", "bc"]) == {"offline": ("bc",), "online": ("opt",)}
    assert _measuring(["online", "simulators"], ["opt"]) == {"online": ("opt",), "simulators": ()}
    assert _measuring(["offline"], []) == {"offline": offline.AGENTS_MEASURED}
    with pytest.raises(UnknownNameError, match="did you mean online"):
        _measuring(["offline", "onlin"], [])
    with pytest.raises(UnknownNameError, match="unknown agent of offline 'opt'"):
        _measuring(["offline"], ["opt"])


def test_a_table_is_written_as_it_grows(tmp_path):
    rows = pd.DataFrame([{"agent": "bc", "updates/s, 1": 1234.5, "of roofline, 1": 0.5}])
    text = _write("offline", rows, tmp_path / "kind" / "offline-bc")
    assert "| bc      | 1.23e+03       | 50.0%            |" in text
    assert (tmp_path / "kind" / "offline-bc.md").read_text(encoding="utf-8") == text
    assert pd.read_csv(tmp_path / "kind" / "offline-bc.csv")["updates/s, 1"].tolist() == [1234.0]


def test_words_in_a_table_stay_words(tmp_path):
    rows = pd.DataFrame([{"agent": "iql", "what": "first updates", "seconds": 12.345}])
    assert "| iql     | first updates | 12.3" in _write("start", rows, tmp_path / "start")


@pytest.mark.slow
@pytest.mark.parametrize(("agent", "low", "high"), [("cql", 5.0, 12.0), ("rlpd", 1.1, 1.5)])
def test_costs_are_counted_whole(agent, low, high, monkeypatch):
    """CQL's gradient is summed over blocks, RLPD's taken critic by critic: loops, of which XLA counts one turn."""
    monkeypatch.setattr(roofline, "ROWS", 1_000)
    monkeypatch.setattr(offline, "_window", lambda name: 40)
    assert low < offline.measure(agent, 1, offline.data(agent)).gigaflops < high


def test_simulators_together_are_measured_beside_those_that_take_turns(monkeypatch):
    short = {"TASKS": ("hopper-medium-v2",), "COUNTS": (2,), "EVALUATED": ("halfcheetah-medium-v2",), "HORIZON": 3}
    for name, value in {**short, "TURNS": 1, "SECONDS": 0.01}.items():
        monkeypatch.setattr(simulators, name, value)
    table = pd.DataFrame(simulators.rows())
    assert table["simulators"].tolist() == ["2", "evaluation, 4 x 10"]
    assert table["ratio"].tolist() == pytest.approx((table["together"] / table["one after another"]).tolist())


@pytest.mark.slow
def test_a_whole_run_is_timed_with_and_without_kept_programs(monkeypatch, hopper_data):
    monkeypatch.setattr(whole_runs, "UPDATES", {"cpu": 20})
    measured = whole_runs.measure("bc", 1, hopper_data)
    uses = ("compile, s", "update, s", "evaluate, s", "other, s")
    assert measured["in all, s"] == pytest.approx(sum(measured[use] for use in uses))
    assert measured["compile, s, programs kept"] < measured["compile, s"]


def test_a_process_is_timed_by_the_wall_and_by_the_processor():
    slept = start._spent("-c", "import time; time.sleep(1.5)")
    assert slept["seconds"] >= 1.5 > slept["processor seconds"]
    assert start._spent("-c", "sum(range(10**8))")["processor seconds"] > 0.3
