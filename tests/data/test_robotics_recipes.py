"""The recipes of AntMaze and Adroit, in small."""

from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from moorl_jax.data import cloning, hdf5, plans, recipe, sources
from moorl_jax.data.behaviour import Gaussian, read_actor
from moorl_jax.data.navigator import Navigator
from moorl_jax.data.trajectories import episode_returns
from moorl_jax.errors import DatasetError, NotAvailableError
from moorl_jax.tasks import expand, find, make_environment
from moorl_jax.tasks.antmaze import GOAL_RADIUS, Maze

STILL = Gaussian(((np.zeros((29, 8)), np.zeros(8)),), "relu", False, np.full(8, -20.0))


class Compass(Gaussian):
    """A walker that notes where it is sent."""

    def act(self, observation, rng):
        self.__dict__["direction"] = observation[-2:]
        return np.zeros(8), 0.0


@pytest.fixture
def compass():
    return Compass(STILL.weights, "relu", False, STILL.log_std)


class TestNavigator:
    @pytest.mark.parametrize(
        ("place", "direction"),
        [
            ((0.5, 0.5), (1, 0)),  # along the first row
            ((8.5, 0.5), (0, 1)),  # at its end, upward
            ((8.5, 8.5), (-1, 0)),  # back
            ((8.5, 3.0), (0, 1)),
        ],
    )
    def test_it_goes_by_way_of_the_next_cell(self, compass, place, direction, rng):
        navigator = Navigator(compass, Maze("umaze"), (Maze("umaze").goal,))
        navigator.begin(rng)
        navigator.act(np.concatenate([place, np.zeros(27)]), rng)
        assert np.linalg.norm(compass.direction) == pytest.approx(10.0)
        assert compass.direction @ np.array(direction) > 9.0

    def test_beside_the_goal_it_goes_straight_there(self, compass, rng):
        maze = Maze("umaze")
        navigator = Navigator(compass, maze, (maze.goal,))
        goal = navigator.begin(rng)["goal"]
        place = goal + np.array([0.6, -0.2])
        navigator.act(np.concatenate([place, np.zeros(27)]), rng)
        np.testing.assert_allclose(compass.direction, 10 * (goal - place) / np.linalg.norm(goal - place))

    @pytest.mark.parametrize("name", ["umaze", "medium", "large"])
    def test_every_free_cell_has_a_way_to_every_other(self, name):
        maze = Maze(name)
        navigator = Navigator(STILL, maze, maze.free)
        for target in maze.free:
            following = navigator._toward(target)
            for cell in maze.free:
                steps = 0
                while cell != target:
                    assert abs(following[cell][0] - cell[0]) + abs(following[cell][1] - cell[1]) == 1
                    cell, steps = following[cell], steps + 1
                    assert cell in maze.free
                    assert steps < len(maze.free)

    def test_starts_and_goals_lie_where_they_may(self, rng):
        maze = Maze("medium")
        begun = [Navigator(STILL, maze, maze.play_goals, (maze.start,)).begin(rng) for _ in range(60)]
        for options in begun:
            assert np.all((options["position"] >= 0.0) & (options["position"] <= 1.0))
        cells = {tuple(np.floor_divide(options["goal"], 4.0).astype(int)[::-1] + 1) for options in begun}
        assert cells == set(maze.play_goals)

    def test_actions_are_noisy_and_inside_the_range(self, rng):
        navigator = Navigator(STILL, Maze("umaze"), (Maze("umaze").goal,))
        navigator.begin(rng)
        actions = np.array([navigator.act(np.zeros(29), rng)[0] for _ in range(300)])
        assert actions.std() == pytest.approx(0.2, rel=0.1)


class TestAntMaze:
    def test_rows_are_d4rls(self, walker, tmp_path):
        """Its keys; episodes of 1,001 steps; rewards and terminals by one goal, whichever goals were walked to."""
        task = find("antmaze-umaze-diverse-v2")
        ((actor, steps),) = plans.recipe(task, walker)
        assert steps == 1_000_000
        path = tmp_path / "made.hdf5"
        recipe.generate(task, [(actor, 1500)], path, self.starting_in_the_goals_cell(task, actor))
        rows, goal = hdf5.read(path), np.array(hdf5.note(path, "goal").split(), float)
        rows.check(task, "made")
        assert np.flatnonzero(rows.timeouts).tolist() == [1000, 1499]
        with h5py.File(path) as file:
            assert set(file) - {"metadata"} == {"observations", "actions", "rewards", "terminals", "timeouts", "infos"}
            goals, qpos = file["infos/goal"][:], file["infos/qpos"][:]
        # Positions are logged after the step.
        np.testing.assert_array_equal(qpos[:1000], rows.observations[1:1001, :15])
        assert len(np.unique(goals, axis=0)) == 2
        np.testing.assert_array_equal(rows.terminals, np.linalg.norm(qpos[:, :2] - goal, axis=1) <= 0.5)
        np.testing.assert_array_equal(rows.rewards, rows.terminals)
        assert hdf5.note(path, "terminals") == f"{1e6 * rows.terminals.mean():.0f} of a million, D4RL's 37"
        assert rows.terminals[:1001].any()
        assert not rows.terminals.all()

    def starting_in_the_goals_cell(self, task, actor):
        """Find a seed whose first episode starts where goals are drawn: the walker stands still."""
        maze = Maze("umaze")
        for seed in range(100):
            rng = np.random.default_rng((seed, 0, 0))
            rng.integers(2**31)
            if np.linalg.norm(actor.read(task).begin(rng)["position"] - maze.position(maze.goal)) < 1.5:
                return seed
        raise AssertionError

    @pytest.mark.parametrize(("rows", "wanted"), [(400, 60_000), (400, 1_000_000), (8, 37)])
    def test_relabelling(self, rows, wanted, rng):
        """By the one of many draws that comes nearest to D4RL's count, of those that are reached at all."""
        maze, draws = Maze("umaze"), np.random.default_rng(0)
        after = np.zeros((rows, 29), np.float32)
        after[:, :2] = maze.position(maze.goal) + rng.uniform(-1.0, 2.5, (rows, 2))
        columns = {"next_observations": after}
        goal = recipe._relabel(columns, maze, wanted, np.random.default_rng(0))
        drawn = [maze.goal_near(maze.goal, draws) for _ in range(recipe.GOALS)]
        reached = {tuple(other): np.linalg.norm(after[:, :2] - other, axis=1) <= 0.5 for other in drawn}
        far = {other: abs(1e6 * near.mean() - wanted) for other, near in reached.items() if near.any()}
        assert far[tuple(goal)] == min(far.values())
        np.testing.assert_array_equal(columns["terminals"], reached[tuple(goal)])
        np.testing.assert_array_equal(columns["rewards"], columns["terminals"])

    def test_is_deterministic_for_a_seed(self, walker, tmp_path):
        task = find("antmaze-medium-play-v2")
        ((actor, _),) = plans.recipe(task, walker)
        prints = []
        for name, seed in (("a", 0), ("b", 0), ("c", 1)):
            recipe.generate(task, [(actor, 120)], tmp_path / name, seed)
            prints.append(hdf5.read(tmp_path / name).fingerprint())
        assert prints[0] == prints[1] != prints[2]


@pytest.fixture
def demonstrations(tmp_path, rng):
    """Two short episodes whose actions follow from the observations."""
    observations = rng.standard_normal((60, 45)).astype(np.float32)
    actions = np.clip(0.3 * observations[:, :24], -1, 1).astype(np.float32)
    timeouts = np.zeros(60, bool)
    timeouts[[29, 59]] = True
    (tmp_path / "adroit").mkdir()
    np.savez(
        tmp_path / "adroit/pen_human.npz",
        observations=observations,
        actions=actions,
        rewards=np.arange(60, dtype=np.float32),
        terminals=np.zeros(60, bool),
        timeouts=timeouts,
    )
    return tmp_path


class TestAdroit:
    def test_human_demonstrations_are_taken_as_they_are(self, demonstrations, tmp_path):
        task = find("pen-human-v1")
        recipe.generate(task, plans.recipe(task, demonstrations), tmp_path / "made")
        rows = hdf5.read(tmp_path / "made")
        assert rows.rewards.tolist() == list(range(60))
        assert rows.timeouts.sum() == 2

    def test_cloned_is_half_a_clones_half_the_demonstrations(self, demonstrations, tmp_path, monkeypatch):
        monkeypatch.setattr(cloning, "UPDATES", 200)
        task = find("pen-cloned-v1")
        (clone, half), (human, rest) = plans.recipe(task, demonstrations)
        assert (half, rest) == (250_000, 250_000)
        recipe.generate(task, [(clone, 150), (human, 130)], tmp_path / "made.hdf5")
        rows = hdf5.read(tmp_path / "made.hdf5")
        rows.check(task, "made")
        assert rows.rewards[150:].tolist() == [*range(60), *range(60), *range(10)]
        assert rows.timeouts[[149, 279]].tolist() == [not rows.terminals[149], True]

    def test_the_clone_acts_as_it_was_shown(self, demonstrations, tmp_path):
        with np.load(demonstrations / "adroit/pen_human.npz") as file:
            observations, actions = file["observations"], file["actions"]
        cloning.clone(observations, actions, tmp_path / "clone.npz")
        policy = read_actor(tmp_path / "clone.npz", "tanh", squash=False)
        rng = np.random.default_rng(0)
        acted = np.array([policy.act(observation, rng)[0] for observation in observations])
        assert np.abs(acted - actions).mean() < 0.1 * np.abs(actions).mean()

    @pytest.mark.parametrize("name", ["hammer-human-v1", "relocate-cloned-v1", "kitchen-mixed-v0"])
    def test_what_cannot_be_made_says_why(self, name, tmp_path):
        with pytest.raises(NotAvailableError, match=r"demonstrations of .* among the policies"):
            sources.choose(find(name), "recipe", tmp_path)

    def test_missing_demonstrations_are_named(self, tmp_path):
        task = find("door-human-v1")
        with pytest.raises(DatasetError, match=r"door_human\.npz: no such file of demonstrations"):
            recipe.generate(task, plans.recipe(task, tmp_path), tmp_path / "made")

    def test_experts_have_d4rls_keys(self, policies, tmp_path):
        task = find("door-expert-v1")
        ((actor, steps),) = plans.recipe(task, policies)
        assert steps == 1_000_000
        recipe.generate(task, [(actor, 400)], tmp_path / "made")
        with h5py.File(tmp_path / "made") as file:
            assert set(file["infos"]) == {"qpos", "qvel", "door_body_pos"}

    def test_replayed_door_demonstrations_return_what_was_recorded(self, policies):
        """From their initial states, per demonstration, as closely as others measured."""
        environment = make_environment(find("door-human-v1")).unwrapped
        with np.load(policies / "adroit/door_human.npz", allow_pickle=False) as file:
            shown = {name: file[name] for name in file.files}
        ends = np.cumsum(shown["episode_lengths"])
        replayed, recorded = [], []
        for episode, (first, last) in enumerate(zip(ends - shown["episode_lengths"], ends, strict=True)):
            environment.reset(seed=0)
            state = {"door_body_pos": shown["init_door_body_pos"][episode]}
            state |= {"qpos": shown["init_qpos"][episode], "qvel": shown["init_qvel"][episode]}
            environment.set_env_state(state)
            replayed.append(sum(environment.step(action)[1] for action in shown["actions"][first:last]))
            recorded.append(shown["rewards"][first:last].sum())
        assert np.corrcoef(replayed, recorded)[0, 1] > 0.98
        assert np.mean(replayed) == pytest.approx(803, rel=0.05)
        assert np.mean(recorded) == pytest.approx(794, rel=0.01)


class TestEmbedded:
    """What is made without any policies but those that the package carries."""

    @pytest.fixture
    def make(self, monkeypatch):
        """Make a task's set, of fewer steps than it has, in this process."""
        monkeypatch.setattr(recipe, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))

        def make(task, steps):
            monkeypatch.setattr(plans, "_STEPS", steps)
            monkeypatch.setattr(plans, "_HAND_EPISODES", steps // task.horizon)
            made = sources.find(task, "embedded")
            made.get(anew=True)
            return made.place

        return make

    ANTS = [task.name for task in expand("antmaze")]
    EXPERTS = [task.name for task in expand("adroit") if task.level == "expert"]

    @pytest.mark.parametrize("name", [*ANTS, *EXPERTS])
    def test_it_is_what_the_recipe_makes_of_other_policies(self, name, tmp_path):
        ((theirs, wanted),), ((ours, steps),) = (
            plans.recipe(find(name), tmp_path),
            plans.embedded(find(name)),
        )
        assert (ours.kind, steps) == (theirs.kind, wanted)
        assert ours.path.is_relative_to(plans.EMBEDDED)

    @pytest.mark.parametrize(
        "name", [pytest.param(name, marks=pytest.mark.slow if "medium" in name else ()) for name in ANTS]
    )
    def test_ants_reach_their_goals(self, name, make):
        """An ant that walks at random reaches none: goals lie cells away from most starts."""
        task = find(name)
        path = make(task, 3100)
        rows = hdf5.read(path)
        rows.check(task, name)
        with h5py.File(path) as file:
            assert set(file["infos"]) == {"qpos", "qvel", "goal"}
            away = np.linalg.norm(file["infos/qpos"][:, :2] - file["infos/goal"][:], axis=1)
        episodes = np.split(away, np.flatnonzero(rows.timeouts)[:-1] + 1)
        assert len(episodes[0]) == len(episodes[1]) > task.horizon
        assert sum(episode.min() <= GOAL_RADIUS for episode in episodes) >= 2

    @pytest.mark.parametrize("name", EXPERTS)
    def test_hands_earn_what_experts_do(self, name, make):
        """A hand that does nothing scores 0, D4RL's experts about 100, but for the pens that they drop, too."""
        task = find(name)
        path = make(task, 8 * task.horizon)
        rows = hdf5.read(path)
        rows.check(task, name)
        with h5py.File(path) as file:
            assert set(file) - {"metadata"} == {"observations", "actions", "rewards", "terminals", "timeouts", "infos"}
        returns, lengths = episode_returns(rows, task.horizon)
        assert lengths.sum() == 8 * task.horizon
        assert np.quantile(task.score(returns), 0.75) > 80
