"""OGBench's files, published and made here, against its package's own reading and relabelling."""

import numpy as np
import pytest

from moorl_jax.data import scripted, sources
from moorl_jax.data.rows import to_transitions
from moorl_jax.data.sources import OGBench, Scripted
from moorl_jax.data.sources import ogbench as source
from moorl_jax.data.trajectories import trajectory_returns
from moorl_jax.errors import DatasetError, NotAvailableError
from moorl_jax.tasks import find
from moorl_jax.tasks.environments import optional
from moorl_jax.tasks.ogbench_sets import OGBENCH

TASK = find("ogbench-pointmaze-medium-navigate-task1")
GOAL = (20.0, 20.0)  #: of that task
PUZZLE = find("ogbench-puzzle-3x3-play-task1")


def short(name, steps=12):
    """A set of OGBench's with short episodes."""
    return next(of for of in OGBENCH if of.name == name)._replace(steps=steps)


def make(name, path, *episodes):
    """Make some episodes of a set, and again as its validation."""
    for place in (path, scripted.validation(path)):
        scripted.Making(short(name), 0, range(*episodes), place)()


def columns(path):
    with np.load(path) as file:
        return dict(file)


@pytest.fixture
def package():
    return pytest.importorskip("ogbench", reason="OGBench's package is not installed: the extra 'ogbench'")


def test_a_file_made_here_is_to_the_package_what_it_is_to_us(package, tmp_path):
    path = tmp_path / "pointmaze-medium-navigate-v0.npz"
    make("pointmaze-medium-navigate", path, 0, 2)
    rows = columns(path)
    rows["qpos"][5] = GOAL
    np.savez(path, **rows)
    _hold_to_package(package, TASK, path)
    assert source.read(path, TASK).terminals.tolist() == [row == 5 for row in range(24)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cube-double-noisy", "puzzle-3x3-play", "scene-play", "scene-noisy"])
def test_so_are_the_other_sets(name, package, tmp_path):
    path = tmp_path / f"{name}-v0.npz"
    make(name, path, 0, 2)
    _hold_to_package(package, find(f"ogbench-{name}-task2"), path)


@pytest.mark.slow
def test_sparse_rewards_wait_for_all_that_is_to_be_done(package, tmp_path):
    """What the package pays by the part, its sparse twin pays -1 for, of the same file and with the same ends."""
    path = tmp_path / "scene-play-v0.npz"
    dense, sparse = find("ogbench-scene-play-task2"), find("ogbench-scene-play-sparse-task2")
    assert dense.datasets == sparse.datasets
    make("scene-play", path, 0, 1)
    rows = columns(path)
    solved = optional("ogbench").make(dense.environment)
    solved.reset(seed=0)
    for joint in ("drawer_slide", "window_slide"):  # what the task asks for
        solved.data.joint(joint).qpos[0] = 0.0
    rows["qpos"][3:5], rows["button_states"][3:5] = solved.data.qpos, solved._target_button_states
    solved.close()
    np.savez(path, **rows)
    by_parts, all_or_nothing = source.read(path, dense), source.read(path, sparse)
    assert by_parts.terminals[3:5].all()
    assert by_parts.rewards.min() < -1.0
    np.testing.assert_array_equal(all_or_nothing.rewards, -1.0 * ~by_parts.terminals)
    np.testing.assert_array_equal(all_or_nothing.terminals, by_parts.terminals)


def _hold_to_package(package, task, path):
    environment, theirs, _ = package.make_env_and_datasets(
        task.environment.replace("-singletask", f"-{task.level}-singletask"), dataset_path=str(path)
    )
    environment.close()
    ours = to_transitions(source.read(path, task), task.horizon)
    for name in ("observations", "actions", "next_observations", "rewards"):
        np.testing.assert_array_equal(getattr(ours, name), theirs[name])
    np.testing.assert_array_equal(1.0 - ours.terminals, theirs["masks"])


@pytest.mark.parametrize(
    "name",
    [
        "pointmaze-teleport-navigate",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("puzzle-4x4-noisy", "cube-triple-play")),
    ],
)
def test_an_episode_depends_on_its_number_alone(name, package, tmp_path):
    make(name, tmp_path / "a.npz", 3, 6)
    make(name, tmp_path / "b.npz", 4, 5)
    many, one = columns(tmp_path / "a.npz"), columns(tmp_path / "b.npz")
    for key, values in one.items():
        np.testing.assert_array_equal(many[key][12:24], values)
    assert not np.array_equal(many["qpos"][:12], many["qpos"][12:24])


@pytest.mark.slow
def test_an_interrupted_making_goes_on(package, tmp_path, monkeypatch):
    of, path, whole = short("pointmaze-medium-navigate"), tmp_path / "a.npz", tmp_path / "b.npz"
    join = scripted._join
    monkeypatch.setattr(scripted, "_join", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        scripted.generate(of, path, 0, 10)
    monkeypatch.setattr(scripted, "_join", join)
    kept = {part: part.stat().st_mtime_ns for part in next(tmp_path.glob("a.*.parts")).iterdir()}
    next(iter(kept)).unlink()
    done = []
    scripted.generate(of, path, 0, 10, lambda *counts: done.append(counts))
    assert len(done) == 2
    assert 0 < done[0][0] < 132
    assert done[-1] == (132, 132)
    assert not list(tmp_path.glob("*.parts"))
    scripted.generate(of, whole, 0, 10)
    for place in (path, scripted.validation(path)):
        other = place.with_name(place.name.replace("a", "b", 1))
        assert place.read_bytes() == other.read_bytes()
    assert scripted.noted(path) == (scripted.VERSION, 0, 10)


def _saved(path, **changed):
    rows = {
        "observations": np.zeros((9, 2), np.float32),
        "actions": np.zeros((9, 2), np.float32),
        "terminals": np.arange(9) == 8,
        "qpos": np.zeros((9, 2), np.float32),
    }
    np.savez(path, **{key: value for key, value in (rows | changed).items() if value is not None})


BAD = {
    "not npz": (lambda path: path.write_text("<html>"), "not an npz file of plain arrays"),
    "pickled": (lambda path: _saved(path, qpos=np.array([None] * 9)), "not an npz file of plain arrays"),
    "no states of buttons": (lambda path: _saved(path), "the key 'button_states' is missing"),
    "uneven": (
        lambda path: _saved(path, qpos=np.zeros((8, 2)), button_states=np.zeros((9, 9))),
        "'qpos' is not an array of numbers, one row a step",
    ),
    "missing": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize(("write", "words"), BAD.values(), ids=BAD)
def test_a_faulty_file_is_refused_in_one_line(write, words, tmp_path):
    path = tmp_path / "a.npz"
    write(path)
    with pytest.raises(DatasetError, match=words) as refused:
        source.read(path, PUZZLE)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_another_puzzles_file_is_refused(package, tmp_path):
    _saved(tmp_path / "a.npz", button_states=np.zeros((9, 16), np.int64))
    with pytest.raises(DatasetError, match=f"its states are not of {PUZZLE.environment}"):
        source.read(tmp_path / "a.npz", PUZZLE)


def test_which_sources_there_are():
    assert list(sources.of(TASK)) == ["ogbench", "recipe"]
    assert sources.choose(TASK) == "ogbench"
    assert (
        sources.find(TASK, "recipe").place
        == sources.find(find("ogbench-pointmaze-medium-navigate-task5"), "recipe").place
    )
    walker = find("ogbench-antmaze-giant-stitch-task3")
    assert list(sources.of(walker)) == ["ogbench"]
    with pytest.raises(NotAvailableError, match="its walkers learned, and OGBench's scripts download them"):
        sources.find(walker, "recipe")


def test_what_was_made_serves_and_says_how_much_it_is():
    made = Scripted(TASK)
    made.place.parent.mkdir(parents=True)
    _saved(made.place, recipe=np.array([scripted.VERSION, 3, 20]))
    assert sources.choose(TASK) == "recipe"
    assert made.is_current()
    assert made.authenticity() == "20 of OGBench's 1,000 episodes, made here from seed 3"
    _saved(made.place, recipe=np.array([0, 3, 20]))
    assert not made.is_current()
    _saved(made.place)
    with pytest.raises(DatasetError, match="does not say which recipe made it"):
        made.is_current()


def test_a_trajectory_returns_whether_it_came_to_the_goal(package, tmp_path):
    places = np.zeros((9, 2))
    places[[2, 3]] = GOAL
    _saved(tmp_path / "a.npz", qpos=places, terminals=np.isin(np.arange(9), (4, 8)))
    rows = source.read(tmp_path / "a.npz", TASK)
    returns, lengths = trajectory_returns(rows, TASK)
    assert returns.tolist() == [1.0, 0.0]
    assert lengths.tolist() == [5, 4]
    assert rows.rewards.tolist() == [-1, -1, 0, 0, -1, -1, -1, -1, -1]


class TestDownload:
    @pytest.fixture(autouse=True)
    def _package(self, package):
        pass

    def test_a_file_is_whole_and_checked(self, tmp_path, monkeypatch):
        _saved(tmp_path / "theirs.npz")
        content = (tmp_path / "theirs.npz").read_bytes()
        monkeypatch.setattr(source, "received", lambda url, by_hand: iter([(content, len(content))]))
        dataset = sources.load(TASK, "ogbench")
        assert (dataset.source, len(dataset.transitions)) == ("ogbench", 8)
        assert OGBench(TASK).place.read_bytes() == content

    @pytest.mark.parametrize(
        ("chunks", "words"),
        [([(b"<html>", 0)], "what the server sent cannot be used"), ([(b"PK", 9)], "ended after 2 of 9 bytes")],
    )
    def test_anything_else_is_refused(self, chunks, words, monkeypatch):
        monkeypatch.setattr(source, "received", lambda url, by_hand: iter(chunks))
        with pytest.raises(DatasetError, match=words):
            sources.load(TASK, "ogbench")
        assert not OGBench(TASK).place.exists()

    @pytest.mark.parametrize(
        ("name", "remedy"),
        [
            (TASK.name, "or make it by OGBench's own scripts: --source recipe"),
            ("ogbench-antmaze-large-navigate-task1", "its walkers learned"),
        ],
    )
    def test_without_a_network_a_line_says_what_to_do(self, name, remedy, monkeypatch):
        monkeypatch.setattr(source, "SERVER", "http://127.0.0.1:9")
        with pytest.raises(DatasetError, match=rf"download it elsewhere and put it at .*-v0\.npz; .*{remedy}"):
            sources.load(find(name), "ogbench")
