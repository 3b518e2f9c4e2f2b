import importlib.abc
import sys

import gymnasium
import numpy as np
import pytest

from moorl_jax.data import plans
from moorl_jax.errors import NotAvailableError, UnknownNameError
from moorl_jax.tasks import SUITES, TASKS, expand, find, make_environment


def test_every_task_of_the_benchmarks_is_listed():
    families = [task.family for task in TASKS.values()]
    assert {family: families.count(family) for family in set(families)} == {
        "locomotion": 24 + 9 + 5,
        "antmaze": 6 + 6,
        "adroit": 12 + 12,
        "kitchen": 3 + 3 + 2,
        "sawyer": 10,
        "control": 3,
        "vd4rl": 30,
        "ogbench": 5 * (12 + 8 + 11 + 6 + 4 + 3),  # the last are sparse twins
    }


@pytest.mark.parametrize(
    ("name", "low", "high", "horizon"),
    [
        ("halfcheetah-medium-v2", -280.178953, 12135.0, 1000),
        ("hopper-expert-v2", -20.272305, 3234.3, 1000),
        ("walker2d-random-v2", 1.629008, 4592.3, 1000),
        ("antmaze-umaze-v2", 0.0, 1.0, 700),
        ("antmaze-large-diverse-v2", 0.0, 1.0, 1000),
        ("pen-human-v1", 96.262799, 3076.8331017826877, 100),
        ("relocate-cloned-v1", -6.425911, 4233.877797728884, 200),
        ("kitchen-mixed-v0", 0.0, 4.0, 280),
    ],
)
def test_reference_scores_and_horizons_are_d4rls(name, low, high, horizon):
    task = find(name)
    assert (task.low, task.high, task.horizon) == (low, high, horizon)
    assert task.score(low) == 0.0
    assert task.score(high) == pytest.approx(100.0)


def test_suites_hold_known_tasks_once():
    for members in SUITES.values():
        assert len(set(members)) == len(members)
        assert set(members) <= set(TASKS)
    assert len(SUITES["moorl-28"]) == 28
    assert len(SUITES["opt-19"]) == 19
    assert len(SUITES["locomotion"]) == 9


def test_expand_keeps_order_and_drops_repetitions():
    names = [task.name for task in expand("hopper-medium-replay-v2,quick,walker2d-random-v2")]
    assert names == ["hopper-medium-replay-v2", "walker2d-random-v2"]


@pytest.mark.parametrize("lookup", [find, expand])
def test_an_unknown_name_gets_a_suggestion(lookup):
    with pytest.raises(UnknownNameError, match="hopper-medium-v2"):
        lookup("hoper-medium-v2")


def test_minaris_tasks_are_never_d4rls():
    """Their data comes from Minari alone, nobody else's does, and no suite holds them."""
    for task in TASKS.values():
        assert (set(task.datasets) == {"minari"}) == task.name.startswith("minari-") == ("minari" in task.datasets)
    assert not any(name.startswith("minari-") for members in SUITES.values() for name in members)


def test_embedded_sets_are_those_whose_policies_the_package_carries():
    embedded = {name for name, task in TASKS.items() if "embedded" in task.datasets}
    experts = {f"{hand}-expert-v1" for hand in ("pen", "door", "hammer", "relocate")}
    filmed = {name for name, task in TASKS.items() if task.pixels}
    levels = ("random", "medium", "medium-replay", "medium-expert", "expert")
    robots = {f"{robot}-{level}-v2" for robot in ("halfcheetah", "hopper", "walker2d") for level in levels}
    assert embedded == {*robots, *SUITES["antmaze"], *experts, *filmed}
    for name in embedded:
        for actor, _ in plans.embedded(find(name)):
            assert actor.kind == "uniform" or actor.path.is_file()


@pytest.mark.parametrize(
    ("package", "module", "task", "extra"),
    [
        ("gymnasium_robotics", "adroit", "pen-human-v1", "robotics"),
        ("metaworld", "sawyer", "sawyer-push", "metaworld"),
        ("ogbench", "ogbench", "ogbench-scene-play-task2", "ogbench"),
    ],
)
def test_without_an_optional_package_the_remedy_is_named(package, module, task, extra, monkeypatch):
    monkeypatch.delitem(sys.modules, f"moorl_jax.tasks.{module}", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])
    with pytest.raises(NotAvailableError, match=rf"pip install 'moorl_jax\[{extra}\]'"):
        make_environment(find(task))


class Absent(importlib.abc.MetaPathFinder):
    """Makes a package look as if it were not installed."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)


@pytest.mark.parametrize("name", ["halfcheetah-medium-v2", "hopper-medium-v2", "walker2d-medium-v2"])
def test_simulators_have_the_catalogues_sizes(name):
    task = find(name)
    environment = make_environment(task)
    assert isinstance(environment, gymnasium.Env)
    assert environment.observation_space.shape == task.observation_shape
    assert environment.action_space.shape == (task.action_size,)
    assert np.all(environment.action_space.high == 1.0)
    environment.close()


def test_the_horizon_truncates():
    environment = make_environment(find("halfcheetah-medium-v2"))
    environment.reset(seed=0)
    for step in range(1000):
        _, _, terminal, timeout, _ = environment.step(np.zeros(6, np.float32))
        assert not terminal
        assert timeout == (step == 999)
    environment.close()


def test_a_warning_of_mujocos_is_pythons_and_leaves_no_file(tmp_path, monkeypatch, hopper):
    monkeypatch.chdir(tmp_path)
    environment = make_environment(hopper)
    environment.reset(seed=0)
    environment.unwrapped.data.qvel[:] = np.nan
    with pytest.warns(UserWarning, match="^MuJoCo: Nan, Inf or huge value"):
        environment.step(np.zeros(3))
    environment.close()
    assert not list(tmp_path.iterdir())
