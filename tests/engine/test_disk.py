import resource

import jax
import numpy as np
import pytest

from moorl_jax.agents import BC
from moorl_jax.engine import results
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.engine.disk import written_to
from moorl_jax.engine.training import train
from moorl_jax.errors import MoorlError, StorageError


@pytest.fixture
def full(monkeypatch):
    """A disk that takes no more than 200 kB a file; call what is returned to make room."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))

    def make_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    yield make_room
    make_room()


def test_a_checkpoint_that_finds_no_room_is_one_line_and_leaves_the_one_before(tmp_path, full, capfd, rng):
    keeper = Checkpoints(tmp_path / "run", {"a": 1}, print)
    keeper.save(1, {"x": np.ones(3)}, {})
    large = {"x": rng.standard_normal(1_000_000)}
    with pytest.raises(
        MoorlError, match=r"00000002.partial cannot be written: .*; it takes up to 8.0 MB, .* free"
    ) as caught:
        keeper.save(2, large, {})
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["00000001"]
    assert "Traceback" not in capfd.readouterr().err
    full()
    keeper.save(2, large, {})
    np.testing.assert_array_equal(keeper.latest().arrays["x"], large["x"])


def test_another_fault_is_no_want_of_room(tmp_path):
    fault = pytest.raises(StorageError, match=r"run cannot be written: ValueError: Array has been deleted$")
    with fault, written_to(tmp_path / "run", {}):
        raise ValueError("Array has been deleted")


def test_a_training_that_found_no_room_goes_on_to_the_same_end(tmp_path, full, hopper_data):
    def run(**how):
        agent = BC(hidden=(256, 256))
        what = {"seeds": 1, "updates": 2, "evaluate_every": 1, "episodes": 1, "dataset": hopper_data}
        return train(agent, "hopper-medium-v2", **what, **how)

    with pytest.raises(MoorlError, match="cannot be written"):
        run(checkpoints=tmp_path / "run.running", checkpoint_seconds=0)
    full()
    resumed = run(checkpoints=tmp_path / "run.running", checkpoint_seconds=0)
    jax.tree.map(np.testing.assert_array_equal, resumed.states, run().states)


def test_a_result_that_finds_no_room_is_one_line_and_leaves_nothing(tmp_path, full, hopper_data):
    run = train(BC(), "hopper-medium-v2", seeds=1, updates=2, episodes=1, dataset=hopper_data)
    with pytest.raises(MoorlError, match=r"run.partial cannot be written: .*; it takes up to 0\.. MB"):
        results.save(run, tmp_path / "run", "a command")
    assert not list(tmp_path.iterdir())
    full()
    results.save(run, tmp_path / "run", "a command")
    assert results.read(tmp_path / "run").last_scores() == pytest.approx(run.curves["score"].iloc[-1:], rel=1e-6)
