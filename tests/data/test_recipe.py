import numpy as np
import pytest

from moorl_jax.data import hdf5, plans, recipe
from moorl_jax.data.behaviour import Gaussian, Uniform
from moorl_jax.data.trajectories import episode_returns, suspicions
from moorl_jax.errors import DatasetError, NotAvailableError
from moorl_jax.tasks import expand, find, make_environment


@pytest.fixture(scope="module")
def made(tmp_path_factory, hopper):
    """The same recipe twice, once more with another seed."""
    folder = tmp_path_factory.mktemp("made")
    (actor, _), *_ = plans.embedded(hopper)
    actors, reports = [(plans.Actor("uniform"), 300), (actor, 700)], []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        recipe.generate(hopper, actors, folder / name, seed, lambda *report: reports.append(report))
    assert reports[-1] == (1000, 1000)
    return [hdf5.read(folder / name) for name in "abc"]


class TestGenerate:
    def test_is_deterministic_for_a_seed(self, made):
        assert made[0].fingerprint() == made[1].fingerprint() != made[2].fingerprint()

    def test_rows_are_sound(self, made, hopper):
        made[0].check(hopper, "made")
        assert suspicions(made[0], hopper) == []

    def test_actors_come_in_order(self, made, hopper):
        """Uniform actions topple the hopper within some twenty steps; the embedded policy hops for hundreds."""
        _, lengths = episode_returns(made[0], hopper.horizon)
        uniform = lengths[np.cumsum(lengths) <= 300]
        trained = lengths[np.cumsum(lengths) > 300]
        assert uniform.mean() < 50 < 100 < trained.mean()
        assert made[0].terminals[299] or made[0].timeouts[299]  # the recorder cuts each actor's last episode

    def test_actions_are_stored_as_they_were_played(self, made, hopper):
        """Replaying the stored actions from the first reset gives the stored observations."""
        rng = np.random.default_rng((0, 0, 0))
        environment = make_environment(hopper)
        observation, _ = environment.reset(seed=int(rng.integers(2**31)))
        rows = made[0]
        for row in range(int(np.flatnonzero(rows.terminals | rows.timeouts)[0])):
            np.testing.assert_allclose(rows.observations[row], observation, rtol=1e-6, atol=1e-6)
            observation, reward, *_ = environment.step(rows.actions[row])
            assert rows.rewards[row] == pytest.approx(reward, rel=1e-6)
        environment.close()


class TestPlan:
    def test_random_needs_no_policies(self):
        assert plans.recipe(find("walker2d-random-v2"), None) == [(plans.Actor("uniform"), 1_000_000)]

    def test_without_policies_the_message_says_how_to_name_them(self):
        with pytest.raises(NotAvailableError, match="--policies or the variable MOORL_POLICIES"):
            plans.recipe(find("walker2d-medium-v2"), None)

    @pytest.mark.parametrize(("name", "carried"), [("antmaze-umaze-v2", True), ("walker2d-full-replay-v2", False)])
    def test_the_message_tells_whether_the_package_has_its_own(self, name, carried):
        with pytest.raises(NotAvailableError) as error:
            plans.recipe(find(name), None)
        assert ("--source embedded" in str(error.value)) == carried

    def test_a_directory_without_the_policy_is_named(self, tmp_path):
        (actor, _), *_ = plans.recipe(find("walker2d-expert-v2"), tmp_path)
        with pytest.raises(DatasetError, match=r"Walker2d-v3_actor\.npz: no such policy file"):
            actor.read(find("walker2d-expert-v2"))

    def test_a_directory_without_the_learning_curve_is_named(self, tmp_path):
        with pytest.raises(DatasetError, match=r"log_Hopper-v1_4\.h5: no such training log"):
            plans.recipe(find("hopper-medium-replay-v2"), tmp_path)

    def test_a_replay_is_what_one_learner_saw(self, tmp_path, monkeypatch):
        monkeypatch.setattr(plans, "EMBEDDED", tmp_path)
        (tmp_path / "halfcheetah").mkdir()
        table = "env_steps,return,deviation\n1000,-300,1\n10000,5,1\n30000,900,1\n40000,2000,1\n"
        (tmp_path / "halfcheetah" / plans.RETURNS).write_text(table, encoding="utf-8")

        def planned(level):
            parts = plans.embedded(find(f"halfcheetah-{level}-v2"))
            return {int(actor.path.stem): steps for actor, steps in parts}

        assert planned("random") == {1_000: 1_000_000}
        assert planned("medium") == {40_000: 1_000_000}
        # From its beginning to 5,500 env steps, to 20,000, to 35,000 and to 40,000, stretched to D4RL's 202,000 rows.
        assert planned("medium-replay") == {1_000: 27_775, 10_000: 73_225, 30_000: 75_750, 40_000: 25_250}

    @pytest.mark.parametrize(("level", "published"), [("medium", 4_770.0), ("expert", 10_656.0)])
    def test_our_policies_are_at_d4rls_level(self, level, published):
        """To 15 % of D4RL's mean return."""
        task = find(f"halfcheetah-{level}-v2")
        ((actor, _),) = plans.embedded(task)
        returns = recipe.roll_out(task, actor, 2 * task.horizon, (0,))["rewards"].reshape(2, -1).sum(axis=1)
        assert returns == pytest.approx(published, rel=0.15)

    def test_medium_expert_is_both_half_and_half(self):
        parts = plans.embedded(find("walker2d-medium-expert-v2"))
        assert [(actor.path.stem, steps) for actor, steps in parts] == [
            ("walker2d-medium", 1_000_000),
            ("walker2d-expert", 1_000_000),
        ]

    def test_numbers_of_steps_are_d4rls(self, policies):
        steps = {
            "random": 1_000_000,
            "medium": 1_000_000,
            "expert": 1_000_000,
            "full-replay": 1_000_000,
            "medium-expert": 2_000_000,
        }
        replay = {"halfcheetah": 202_000, "hopper": 402_000, "walker2d": 302_000}
        for task in expand("locomotion-all"):
            robot, level = task.subject, task.level
            planned = sum(share for _, share in plans.recipe(task, policies))
            assert planned == (replay[robot] if level == "medium-replay" else steps[level]), task.name

    @pytest.mark.parametrize("robot", ["halfcheetah", "hopper", "walker2d"])
    def test_every_policy_acts_in_its_environment(self, robot, policies):
        for level in ("medium", "expert", "medium-replay"):
            task = find(f"{robot}-{level}-v2")
            for actor, _ in plans.recipe(task, policies)[-1:]:
                columns = recipe.roll_out(task, actor, 50, (0,))
                assert np.isfinite(columns["observations"]).all()
                assert np.isfinite(columns["infos/action_log_probs"]).all()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "low", "high"),
        [
            ("halfcheetah-medium-v2", 40, 55),
            ("hopper-medium-v2", 40, 65),
            ("walker2d-medium-v2", 45, 70),
            ("halfcheetah-expert-v2", 85, 105),
            ("hopper-expert-v2", 85, 120),
            ("walker2d-expert-v2", 105, 130),
        ],
    )
    def test_levels_lie_where_the_policies_were_measured(self, name, low, high, policies):
        task = find(name)
        (actor, _), *_ = plans.recipe(task, policies)
        columns = recipe.roll_out(task, actor, 20_000, (1,))
        rows = recipe.Rows(**{key: value for key, value in columns.items() if not key.startswith("infos/")})
        complete = episode_returns(rows, task.horizon)[0][:-1]  # the recorder cut the last one
        assert low < task.score(complete.mean()) < high


class TestBehaviour:
    def test_uniform_density(self, rng):
        action, log_density = Uniform(3).act(np.zeros(11), rng)
        assert np.abs(action).max() <= 1.0
        assert log_density == pytest.approx(3 * np.log(0.5))

    def test_squashed_density_integrates_to_one(self, rng):
        """Averaging 1 / density over samples gives the length of the interval they fill."""
        policy = Gaussian(((np.zeros((2, 1)), np.array([0.3])),), "relu", True, np.array([-0.5]))
        samples = [policy.act(np.zeros(2), rng) for _ in range(20_000)]
        inside = [np.exp(-log_density) for action, log_density in samples if abs(action[0]) < 0.8]
        assert np.sum(inside) / len(samples) == pytest.approx(1.6, rel=0.05)

    def test_network_and_normalizer(self, rng):
        kernel = np.array([[1.0], [-2.0]])
        policy = Gaussian(((kernel, np.array([0.1])),), "relu", False, np.array([-20.0]), np.ones(2), 2.0, clip=1.0)
        action, _ = policy.act(np.array([2.0, 9.0]), rng)
        assert action[0] == pytest.approx(-1.0)  # 0.5 - 2 * 1 (clipped from 4) + 0.1, then clipped
        action, _ = policy.act(np.array([2.0, 1.5]), rng)
        assert action[0] == pytest.approx(0.5 - 2 * 0.25 + 0.1)

    def test_one_that_diverged_records_nothing(self, hopper, tmp_path):
        """MuJoCo takes NaN for no action and pays for it."""
        path = tmp_path / "gone.npz"
        np.savez(path, **{"0.weight": np.full((3, 11), np.nan), "0.bias": np.zeros(3), "log_std": np.zeros(3)})
        with pytest.raises(DatasetError, match=r"gone\.npz: the policy has diverged"):
            recipe.roll_out(hopper, plans.Actor("actor", path, "relu", squash=True), 10, (0,))
