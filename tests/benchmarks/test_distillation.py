import itertools

import numpy as np
import pandas as pd
import pytest
from gymnasium.wrappers import TimeLimit
from typer.testing import CliRunner

from benchmarks import embed
from benchmarks.distillation import distill, watch
from benchmarks.episodes import play
from moorl_jax.data import plans
from moorl_jax.data.behaviour import Gaussian, read_actor
from moorl_jax.data.navigator import Navigator
from moorl_jax.tasks import find, make_environment
from moorl_jax.tasks.antmaze import Maze

STILL = Gaussian(((np.zeros((29, 8)), np.zeros(8)),), "relu", False, np.full(8, -20.0))


@pytest.fixture
def teacher(rng):
    """Two tanh layers from three numbers to two, whose spread depends on them."""
    sizes = ((3, 6), (6, 4))
    weights = tuple((rng.standard_normal(size), rng.standard_normal(size[1])) for size in sizes)
    return Gaussian(weights, "tanh", True, None)


class TestDistill:
    UPDATES = 1500

    def taught(self, teacher, seed=0, rounds=2, updates=UPDATES):
        rng, asked = np.random.default_rng(0), []

        def show(network, number):
            asked.append((number, network))
            return 5.0 + rng.standard_normal((500, 3))

        student = distill(teacher, show, hidden=(32, 32), rounds=rounds, updates=updates, seed=seed, say=lambda _: None)
        return student, asked

    def test_the_student_acts_as_its_teacher(self, teacher, rng):
        student, _ = self.taught(teacher)
        unseen = 5.0 + rng.standard_normal((200, 3))
        assert student.squash
        for learned, wanted in zip(student.distribution(unseen), teacher.distribution(unseen), strict=True):
            assert np.abs(learned - wanted).mean() < 0.1 * np.std(wanted)

    @pytest.mark.slow
    def test_a_fixed_spread_is_learned_too(self, teacher, rng):
        fixed = Gaussian(teacher.weights, "tanh", False, np.array([-2.0, -1.0, 0.0, 0.5]))
        student, _ = self.taught(fixed)
        unseen = 5.0 + rng.standard_normal((200, 3))
        np.testing.assert_allclose(student.distribution(unseen)[1].mean(axis=0), fixed.log_std, atol=0.05)

    def test_the_teacher_acts_first_then_the_student_as_it_is(self, teacher):
        student, asked = self.taught(teacher, rounds=3, updates=10)
        (_, first), (_, second), (_, third) = asked
        assert [number for number, _ in asked] == [0, 1, 2]
        assert first is teacher
        students = [network.weights[0][0] for network in (second, third, student)]
        assert all(np.abs(a - b).max() > 0 for a, b in itertools.pairwise(students))

    def test_is_deterministic_for_a_seed(self, teacher):
        a, b, c = (self.taught(teacher, seed, updates=10)[0].weights[0][0] for seed in (0, 0, 1))
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


class TestWatch:
    def test_a_walker_is_shown_the_ant_and_a_direction(self):
        task = find("antmaze-umaze-v2")
        navigator = Navigator(STILL, Maze("umaze"), (Maze("umaze").goal,))
        seen = watch(make_environment(task), navigator, STILL, 1, seed=0)
        assert seen.shape == (task.horizon, 29)
        np.testing.assert_allclose(np.linalg.norm(seen[:, -2:], axis=1), 10.0)

    def test_others_are_shown_the_observations(self, hopper):
        network = Gaussian(((np.zeros((11, 3)), np.zeros(3)),), "relu", True, np.zeros(3))
        (alone,) = play(make_environment(hopper), network, 1, seed=3)
        seen = watch(make_environment(hopper), network, network, 1, seed=3)
        assert seen.shape == (alone.steps, 11)
        assert alone.rewards > 0


class TestCommands:
    """At the smallest size, in episodes of 30 steps, of teachers that were never trained."""

    @pytest.fixture
    def embedded(self, tmp_path, monkeypatch):
        for make in ("make_environment", "make_recording_environment"):
            monkeypatch.setattr(embed, make, lambda task: TimeLimit(make_environment(task), 30))
        for module in (plans, embed):
            monkeypatch.setattr(module, "EMBEDDED", tmp_path / "embedded")
        return tmp_path / "embedded"

    def call(self, *words):
        result = CliRunner().invoke(embed.app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result

    def teacher(self, path, observations, actions, rng, **beside):
        path.parent.mkdir(exist_ok=True)
        weight = 0.1 * rng.standard_normal((actions, observations)).astype(np.float32)
        np.savez(path, **{"fc.weight": weight, "fc.bias": np.zeros(actions, np.float32)}, **beside)

    SMALL = ("--rounds", 2, "--episodes", 1, "--updates", 10, "--measured", 1)

    def test_ant(self, embedded, tmp_path, rng):
        self.teacher(tmp_path / "antmaze/ant_hierarch_pol_actor.npz", 29, 16, rng)
        self.call("ant", "--policies", tmp_path, *self.SMALL)
        assert read_actor(embedded / "antmaze/ant.npz", "relu", squash=True).sizes == (29, 8)
        table = pd.read_csv(embedded / "antmaze/ant.csv")
        assert table["policy"].tolist() == 3 * ["teacher", "student"]
        assert table["reached"].between(0, 1).all()

    def test_hands(self, embedded, tmp_path, rng):
        self.teacher(tmp_path / "adroit/pen_dapg_actor.npz", 45, 24, rng, log_std=np.zeros(24))
        self.call("hands", "pen", "--policies", tmp_path, *self.SMALL)
        assert read_actor(embedded / "adroit/pen.npz", "relu", squash=False).sizes == (45, 24)
        table = pd.read_csv(embedded / "adroit/pen.csv")
        assert table["task"].tolist() == 2 * ["pen-expert-v1"]
        assert table["return"].notna().all()

    def test_robots(self, embedded, tmp_path, rng):
        (tmp_path / "mujoco").mkdir()
        self.teacher(tmp_path / embed.TEACHERS["hopper-expert-v2"], 11, 6, rng)
        self.call("robots", "hopper-expert-v2", "--policies", tmp_path, *self.SMALL)
        assert read_actor(embedded / "locomotion/hopper-expert.npz", "relu", squash=True).sizes == (11, 3)
        table = pd.read_csv(embedded / "locomotion/hopper-expert.csv")
        assert table["policy"].tolist() == ["teacher", "student"]

    def test_a_robot_without_a_teacher_is_named(self, embedded, tmp_path):
        result = CliRunner().invoke(embed.app, ["robots", "hopper-random-v2", "--policies", str(tmp_path)])
        assert result.exit_code == 2
        assert "hopper-random-v2" in result.output

    def test_without_the_teacher_it_says_how_to_name_it(self, embedded):
        result = CliRunner().invoke(embed.app, ["ant"])
        assert result.exit_code == 2
        assert "--policies" in result.output
