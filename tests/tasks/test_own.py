"""Environments of one's own: gymnasium's, a function's, and none."""

import functools
import json

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from moorl_jax import Task
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.simulators import Simulators
from moorl_jax.errors import MoorlError, NotAvailableError
from moorl_jax.replay.buffer import CUT, ENDED
from moorl_jax.tasks import make_environment, make_environments, restore_environment, save_environment

VECTOR, UNIT = spaces.Box(-9, 9, (2,)), spaces.Box(-1, 1, (1,))


class Counter(gymnasium.Env):
    """Shows the step and the last action; pays 1 a step."""

    def __init__(self, observation_space=VECTOR, action_space=UNIT):
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.start, self.steps = self.np_random.uniform(), 0
        return self.shown(0.0), {}

    def step(self, action):
        self.steps += 1
        return self.shown(float(action[0])), 1.0, False, False, {}

    def shown(self, action):
        vector = np.array([self.start + self.steps, action], np.float32)
        return {"a": vector, "b": vector} if isinstance(self.observation_space, spaces.Dict) else vector


def counting(**named):
    return Task.of(Counter, name="counter", **named)


def test_an_id_says_all_that_a_task_needs():
    task = Task.of("Pendulum-v1", score=(-1500, -150))
    assert (task.name, task.horizon, task.observation_shape, task.action_size) == ("Pendulum-v1", 200, (3,), 1)
    assert task.action_range == ((-2.0,), (2.0,))
    assert task.score(-150) == 100.0
    assert not task.pixels
    assert Task.of("Pendulum-v1").score(-123.0) == pytest.approx(-123.0)  # the return itself


def test_a_task_is_read_back_from_what_a_result_keeps():
    task = Task.of("Pendulum-v1", horizon=50, name="short", episodes=3).with_data("file", "here.hdf5")
    read = Task.read(json.loads(json.dumps(task.written)))
    assert read == Task.of("Pendulum-v1", horizon=50, name="short", episodes=3)
    with pytest.raises(MoorlError, match="horizon"):
        Task.read(task.written | {"horizon": 0})


def test_actions_are_mapped_to_the_environments_range():
    environment = make_environment(counting(action_range=(-2, 6)))
    environment.reset(seed=0)
    for action, acted in ((-1.0, -2.0), (0.0, 2.0), (1.0, 6.0)):
        shown, *_ = environment.step(np.array([action], np.float32))
        assert shown[1] == acted


def test_episodes_time_out_at_the_horizon_whoever_makes_them():
    assert counting().horizon == 1000
    for task in (counting(horizon=3), Task.of("Pendulum-v1", horizon=3)):
        environment = make_environment(task)
        environment.reset(seed=0)
        assert [environment.step(np.zeros(1, np.float32))[3] for _ in range(3)] == [False, False, True]


def test_dictionaries_of_observations_are_flattened():
    seen = spaces.Dict({"a": VECTOR, "b": VECTOR})
    task = Task.of(lambda: Counter(seen), name="counter")
    assert task.observation_shape == (4,)
    assert make_environment(task).reset(seed=0)[0].shape == (4,)


@pytest.mark.parametrize(
    ("environment", "named", "words"),
    [
        ("Pendulum-v7", {}, "cannot be made"),
        ("Nothing-v0", {}, r"doesn't exist.*--env-package \(package=\)"),
        ("Nothing-v0", {"package": "no_such_package"}, "No module named 'no_such_package'"),
        ("no_such_package:Nothing-v0", {}, "No module named 'no_such_package'"),
        ("CartPole-v1", {}, r"its actions are Discrete\(2\)"),
        (lambda: 3, {"name": "three"}, "returns int, not a gymnasium.Env"),
        (lambda: 1 / 0, {}, "cannot be made: ZeroDivisionError: division by zero"),
        (lambda: Counter(spaces.Box(0, 255, (64, 64, 3), np.uint8)), {}, "agents see a vector"),
        (lambda: Counter(spaces.Discrete(3)), {}, "agents see a vector"),
        (lambda: Counter(action_space=spaces.Box(-np.inf, np.inf, (1,))), {}, r"no bounds; give some, action_range="),
        (Counter, {"name": "hopper"}, "'hopper', is a task of the catalogue"),
        (Counter, {"name": "../up"}, "has other signs"),
        (Counter, {"score": (1, 1)}, "score: the return of score 0 must be below"),
        (Counter, {"horizon": -1}, "horizon must be a whole number at least 1"),
        (None, {}, "needs its observation_size and its action_size"),
    ],
)
def test_what_cannot_be_a_task_is_one_line(environment, named, words):
    with pytest.raises(MoorlError, match=words) as fault:
        Task.of(environment, **named)
    assert "\n" not in str(fault.value)


def test_without_an_environment_none_is_made():
    task = Task.of(observation_size=2, action_size=1)
    assert not task.evaluated
    with pytest.raises(NotAvailableError, match="has no environment: name one"):
        make_environment(task)


def test_a_function_that_is_not_kept_is_named():
    read = Task.read(counting().written)
    with pytest.raises(NotAvailableError, match=r"function tests\.tasks\.test_own\.Counter made the environment"):
        make_environment(read)


def test_gymnasiums_mujoco_is_saved_whole_and_nothing_else():
    task = Task.of("InvertedPendulum-v5")
    one, other = make_environment(task), make_environment(task)
    one.reset(seed=1)
    one.step(np.ones(1, np.float32))
    restore_environment(other, save_environment(one))
    steps = [environment.step(np.zeros(1, np.float32))[0] for environment in (one, other)]
    np.testing.assert_array_equal(*steps)
    assert save_environment(make_environment(Task.of("Pendulum-v1"))) == {}
    wrapped = Task.of(lambda: gymnasium.make("InvertedPendulum-v5"), name="wrapped")  # whose wrapper may hold something
    assert save_environment(make_environment(wrapped)) == {}


def test_where_nothing_can_be_saved_episodes_begin_anew_at_a_resume():
    """The episode under way ends there as by a time-out; one that had not begun is the same one."""
    task = counting(horizon=4)
    prepared = Prepared(None, Normalizer.identity((2,)))

    def simulators():
        return Simulators(task, prepared, (0, 1), None, env_steps=12)

    one, other, later = simulators(), simulators(), simulators()
    for _ in range(4):
        one.step(np.zeros((2, 1), np.float32))
    assert not one.saves
    other.restore(one.save())
    other.restart()
    np.testing.assert_array_equal(other.observations, one.observations)  # both at the start of the second episode
    for _ in range(2):
        other.step(np.zeros((2, 1), np.float32))
    later.restore(other.save())
    later.restart()
    assert later.ends(0).tolist() == [0, 0, 0, ENDED, 0, CUT]
    assert (later.observations[:, 0] < 1).all()  # of the third
    assert (later.observations[:, 0] != one.observations[:, 0]).all()


def test_whatever_can_be_called_makes_an_environment():
    assert Task.of(functools.partial(Counter, VECTOR), name="counter").environment == "function functools.partial"


def test_a_functions_environments_are_stepped_in_this_process(monkeypatch):
    monkeypatch.setattr("moorl_jax.tasks.together.usable_cores", lambda: 8)
    environments = make_environments(counting(), 3)
    assert environments.reset(np.arange(3), [0, 1, 2]).shape == (3, 2)
    environments.close()
