"""Simulators that are stepped together do to the bit what each does alone, in threads, in processes, or in turn."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from moorl_jax.errors import MoorlError, NotAvailableError
from moorl_jax.tasks import InTurn, find, make_environment, make_environments, robots, together
from moorl_jax.tasks.workers import InProcesses

COUNT = 3
IN_THREADS = (
    "hopper",
    "halfcheetah",
    "walker2d",
    "ant",
    "ant-medium-v2",
    "humanoid",
    "minari-hopper-expert-v0",
    "minari-halfcheetah-expert-v0",
    "minari-walker2d-expert-v0",
    "antmaze-umaze-v2",
    "antmaze-medium-play-v2",
    "antmaze-large-play-v2",
)
# A simulator of each other family takes seconds to make, three times.
IN_PROCESSES = (
    "pen-human-v1",
    "walker-walk",
    pytest.param("vd4rl-cheetah_run-random-64px", marks=pytest.mark.slow),
    pytest.param("sawyer-push", marks=pytest.mark.slow),
    pytest.param("kitchen-complete-v0", marks=pytest.mark.slow),
    pytest.param("minari-kitchen-mixed-v2", marks=pytest.mark.slow),
    pytest.param("minari-antmaze-umaze-v1", marks=pytest.mark.slow),
)


@pytest.fixture
def cores(monkeypatch):
    """Set how many cores there are."""

    def number(count):
        for module in (together, robots):
            monkeypatch.setattr(module, "usable_cores", lambda: count)

    number(2)
    return number


def alike(ours, theirs):
    for name, mine, other in zip(ours._fields, ours, theirs, strict=True):
        assert mine.dtype == other.dtype, name
        np.testing.assert_array_equal(mine, other, err_msg=name)


def play_beside_gymnasium(task, many, steps, rng):
    """Step any of the simulators at any time, begin anew those that end, copy states; return the episodes that ended.

    Every other episode hardly acts, for random actions fell a robot at about the same step.
    """
    alone = InTurn([make_environment(task) for _ in range(COUNT)])
    everywhere, ended, force = np.arange(COUNT), 0, np.resize([1.0, 0.1], COUNT)
    np.testing.assert_array_equal(many.reset(everywhere, [4, 5, 6]), alone.reset(everywhere, [4, 5, 6]))
    for step in range(steps):
        places = rng.permutation(COUNT)[: rng.integers(1, COUNT + 1)]
        actions = rng.uniform(-1, 1, (len(places), task.action_size)) * force[places, None]
        ours, theirs = (each.step(places, actions.astype(np.float32)) for each in (many, alone))
        alike(ours, theirs)
        over = places[ours.terminals | ours.timeouts]
        if len(over):
            ended, force[over] = ended + len(over), rng.choice([1.0, 0.1], len(over))
            starts = [step * COUNT + int(place) for place in over]
            np.testing.assert_array_equal(many.reset(over, starts), alone.reset(over, starts))
        if step % 40 == 20:
            origin, target = rng.permutation(COUNT)[:2].tolist()
            saved, other = many.save(origin), alone.save(origin)
            assert saved.keys() == other.keys()
            for name, value in saved.items():
                np.testing.assert_array_equal(value, other[name], err_msg=name)
            if "goal" in saved:  # where the ant is
                saved["goal"] = other["goal"] = saved["physics"][1:3]
            many.restore(target, saved)
            alone.restore(target, other)
    many.close()
    alone.close()
    return ended


@pytest.mark.parametrize("name", IN_THREADS)
@pytest.mark.parametrize("count", [1, 3])
def test_in_threads(name, count, cores, rng):
    cores(count)
    task, before = dataclasses.replace(find(name), horizon=110), threading.active_count()
    many = make_environments(task, COUNT)
    assert isinstance(many, robots.InThreads)
    assert threading.active_count() == before + count - 1
    assert play_beside_gymnasium(task, many, 320, rng) > 3


@pytest.mark.parametrize("name", IN_PROCESSES)
@pytest.mark.usefixtures("cores")
def test_in_processes(name, rng):
    task = dataclasses.replace(find(name), horizon=9)
    try:
        many = make_environments(task, COUNT)
    except NotAvailableError as error:
        if not task.pixels:
            raise
        pytest.skip(f"a camera's images need a machine that can render: {error}")
    assert isinstance(many, InProcesses)
    assert play_beside_gymnasium(task, many, 30, rng) > 3


@pytest.mark.parametrize(("name", "count", "usable"), [("pen-human-v1", 1, 2), ("pen-human-v1", 2, 1)])
def test_no_process_is_started_for_one_simulator_or_on_one_core(name, count, usable, cores):
    cores(usable)
    many = make_environments(find(name), count)
    assert type(many) is InTurn
    many.close()


def test_an_error_in_a_thread_reaches_the_caller(cores, monkeypatch):
    def step(*_):
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("lost")
        time.sleep(0.1)

    many = make_environments(find("hopper"), COUNT)
    many.reset(np.arange(COUNT), [0, 1, 2])
    monkeypatch.setattr(robots.mujoco, "mj_step", step)
    with pytest.raises(ValueError, match="lost"):
        many.step(np.arange(COUNT), np.zeros((COUNT, 3), np.float32))
    many.close()


@pytest.mark.usefixtures("cores")
class TestWorkers:
    def test_what_is_missing_is_said_as_by_a_simulator_of_this_process(self, tmp_path, monkeypatch):
        absent = "raise ModuleNotFoundError('No module named gymnasium_robotics', name='gymnasium_robotics')"
        (tmp_path / "gymnasium_robotics.py").write_text(absent, encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(NotAvailableError, match=r"pip install 'moorl_jax\[robotics\]'"):
            make_environments(find("pen-human-v1"), 2)

    def test_mujocos_warnings_and_errors_come_from_them_too(self):
        many, everywhere = make_environments(find("pen-human-v1"), 2), np.arange(2)
        many.reset(everywhere, [0, 1])
        saved = many.save(1)
        many.restore(1, saved | {"physics": np.full_like(saved["physics"], 1e12)})
        with pytest.warns(UserWarning, match="MuJoCo: "):
            many.step(everywhere, np.zeros((2, 24), np.float32))
        with pytest.raises(ValueError, match="broadcast"):
            many.step(everywhere, np.zeros((2, 7), np.float32))
        many.close()

    def test_one_that_died_is_a_line_to_the_user(self):
        many = make_environments(find("pen-human-v1"), 2)
        many._workers[1]._process.kill()
        with pytest.raises(MoorlError, match="died, exit status -9"):
            many.reset(np.arange(2), [0, 1])
        many.close()

    @pytest.mark.usefixtures("_heard")
    def test_they_end_with_a_script_that_is_killed_and_need_no_guard_in_it(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            "import time\n"
            "from moorl_jax.tasks import find, make_environment, together\n"
            "together.usable_cores = lambda: 2\n"
            "many = together.make_environments(find('pen-human-v1'), 2)\n"
            "print(*(worker._process.pid for worker in many._workers), flush=True)\n"
            "time.sleep(100)\n",
            encoding="utf-8",
        )
        started = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
        workers = [psutil.Process(int(number)) for number in started.stdout.readline().split()]
        assert len(workers) == 2
        os.kill(started.pid, signal.SIGKILL)
        started.communicate()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive
