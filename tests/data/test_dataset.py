"""Data of one's own: arrays, files and Minari's sets, with what they hold and without what they do not."""

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from moorl_jax import Dataset, Task, train
from moorl_jax.agents import BC
from moorl_jax.data.rows import to_transitions
from moorl_jax.errors import DatasetError, MoorlError

ROWS = 12
LAST = np.arange(ROWS) % 4 == 3  #: rows of three episodes


def columns():
    """Arrays by name: what happened at step n shows n, and the next observation n + 0.5, which no other row shows."""
    steps = np.arange(ROWS, dtype=float)
    following = np.stack([steps + 0.5, steps], axis=1)
    shown = np.stack([steps, steps], axis=1)
    return {"observations": shown, "actions": np.tile([[0.5]], (ROWS, 1)), "rewards": steps, "next": following}


def made(*names, **more):
    """The data of the flags of these names, and of `next_observations`."""
    given = columns()
    following = given.pop("next")
    flags = {name: following if name == "next_observations" else LAST for name in names}
    return Dataset.from_arrays(**given | flags | more)


@pytest.mark.parametrize(
    ("names", "kept", "terminals"),
    [
        (["terminals"], 11, 2),  # D4RL's pairing loses the last row
        (["timeouts"], 9, 0),  # and each time-out's
        (["next_observations"], 12, 0),
        (["terminals", "next_observations"], 12, 3),
        (["timeouts", "next_observations"], 12, 0),
        (["terminals", "timeouts", "next_observations"], 12, 3),
    ],
)
def test_any_mixture_of_what_rows_may_hold(names, kept, terminals):
    data = made(*names).transitions
    assert (len(data), data.terminals.sum()) == (kept, terminals)
    own = "next_observations" in names
    goes_on = data.terminals == 0
    expected = columns()["next"][:, 0] if own else data.observations[goes_on, 0] + 1
    np.testing.assert_array_equal(data.next_observations[:, 0] if own else data.next_observations[goes_on, 0], expected)


def test_shuffled_rows_keep_their_successors():
    order = np.random.default_rng(0).permutation(ROWS)
    given = {name: value[order] for name, value in columns().items()}
    following = given.pop("next")
    data = Dataset.from_arrays(**given, next_observations=following)
    np.testing.assert_array_equal(data.transitions.next_observations, following)
    assert "break off without a flag" in " ".join(data.noticed())


def test_next_actions_are_of_rows_that_go_on():
    """Of three episodes of four rows the last ones' are not known."""
    given = columns() | {"actions": np.arange(ROWS)[:, None] / ROWS}
    del given["next"]
    following = given["observations"] + 1
    rows = Dataset.from_arrays(**given, timeouts=LAST, next_observations=following)
    transitions = Dataset.from_arrays(**given, terminals=LAST, next_observations=following)
    kept = to_transitions(rows.rows, 1000, next_actions=True)
    np.testing.assert_allclose(kept.observations[:, 0], np.flatnonzero(~LAST))
    np.testing.assert_allclose(kept.next_actions, kept.actions + 1 / ROWS, rtol=1e-6)
    assert len(to_transitions(transitions.rows, 1000, next_actions=True)) == ROWS


def test_actions_of_another_range_are_rescaled():
    data = made("timeouts", actions=np.linspace(-2, 6, ROWS)[:, None], action_range=(-2, 6))
    np.testing.assert_allclose(data.rows.actions[:, 0], np.linspace(-1, 1, ROWS), atol=1e-6)
    assert data.task.action_range == ((-2.0,), (6.0,))


def test_a_file_holds_the_same_as_its_arrays(tmp_path):
    given = columns()
    given["next_observations"] = given.pop("next")
    with h5py.File(tmp_path / "my data.hdf5", "w") as file:
        for name, value in (given | {"terminals": LAST}).items():
            file[name] = value
    data = Dataset.from_hdf5(tmp_path / "my data.hdf5")
    assert (data.task.name, data.source) == ("my-data", "file")
    (tmp_path / "my data.hdf5").rename(tmp_path / "hopper.hdf5")
    assert Dataset.from_hdf5(tmp_path / "hopper.hdf5").task.name == "hopper-data"  # not the catalogue's
    assert data.fingerprint == made("terminals", "next_observations", timeouts=None).fingerprint


def test_a_set_that_minaris_collector_made(recwarn):
    environment = minari.DataCollector(gymnasium.make("Pendulum-v1", max_episode_steps=5))
    shown = []
    for episode in range(3):
        shown.append(environment.reset(seed=episode)[0])
        shown += [environment.step(np.array([2.0], np.float32))[0] for _ in range(5)]
    environment.create_dataset("pendulum/mine-v0")
    alone = Dataset.from_minari("pendulum/mine-v0")
    of_task = Dataset.from_minari("pendulum/mine-v0", task=Task.of("Pendulum-v1"))
    for data in (alone, of_task):
        assert data.task.action_range == ((-2.0,), (2.0,))
        np.testing.assert_allclose(data.rows.actions, 1.0)
        shown_after = np.concatenate([shown[first + 1 : first + 6] for first in (0, 6, 12)])
        np.testing.assert_allclose(data.transitions.next_observations, shown_after, rtol=1e-6)
    assert (alone.task.environment, of_task.task.environment) == ("", "Pendulum-v1")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"actions": np.arange(ROWS) % 2}, "discrete actions cannot be trained on"),
        ({"observations": np.zeros((ROWS, 8, 8, 3))}, "images and discrete"),
        (
            {"observations": {"eye": np.zeros((ROWS, 2))}},
            "'observations' is not an array of numbers; join",
        ),
        ({"actions": np.full((ROWS, 1), 2.0)}, r"'actions' reaches 2, outside \[-1, 1\].*--action-range"),
        ({"timeouts": np.full(ROWS, 2)}, "'timeouts' holds other values than 0 and 1"),
        ({"timeouts": np.zeros(ROWS)}, "time-outs end no episode"),
        ({"rewards": np.zeros(ROWS - 1)}, "has 12 rows where 'rewards' has 11"),
        ({"task": "hopper"}, r"needs \(12, 11\)"),
        ({"action_range": (1, -1)}, "each low must be below its high"),
        ({"action_range": (-1, [1, 2])}, "numbers or vectors of 1"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_in_one_line(changed, words):
    with pytest.raises(MoorlError, match=words) as fault:
        made(**{"timeouts": LAST} | changed)
    assert "\n" not in str(fault.value)


def test_what_is_odd_about_data_is_said_when_it_is_trained_on():
    said = []
    data = made("terminals")
    assert data.noticed() == ["there is no 'timeouts' key: episodes are cut by the clock at the horizon"]
    agent = BC(hidden=(4,), batch_size=2)
    run = train(agent, dataset=data, seeds=1, updates=2, evaluate_every=1, warn=said.append)
    assert said == [f"arrays data of arrays: {data.noticed()[0]}"]
    assert run.curves.filter(like="loss").notna().all(axis=None)
    assert run.curves[["return", "score"]].isna().all(axis=None)


def test_no_next_observations_are_made_up():
    with pytest.raises(DatasetError, match="end no episode"):
        made()
