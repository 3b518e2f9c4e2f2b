from types import SimpleNamespace

import h5py
import jax
import numpy as np
import psutil
import pytest

from moorl_jax.data import frames, image_files, plans
from moorl_jax.data.frames import Frames
from moorl_jax.errors import DatasetError
from moorl_jax.tasks import find
from moorl_jax.tasks.catalogue import VD4RL_LEVELS
from moorl_jax.types import NStep

LENGTHS = (4, 2)  #: env steps of the episodes made here


def episodes(lengths=LENGTHS, size=2, seed=0):
    """Random episodes, each a reset row and its env steps; images channels last."""
    rng = np.random.default_rng(seed)
    for ended, length in enumerate(lengths):  # the second one really ends
        rows = length + 1
        first = np.arange(rows) == 0
        yield {
            "image": rng.integers(0, 256, (rows, size, size, 3), np.uint8),
            "action": np.where(first[:, None], 0.0, rng.uniform(-1, 1, (rows, 6))).astype(np.float32),
            "reward": np.where(first, 0.0, rng.uniform(size=rows)).astype(np.float32),
            "discount": (1 - ended * (np.arange(rows) == length)).astype(np.float32),
            "is_first": first,
            "is_last": np.arange(rows) == length,
            "is_terminal": np.zeros(rows, bool),
        }


def write_npz(folder, lengths=LENGTHS):
    """The layout of 64 pixels: an npz an episode."""
    for number, episode in enumerate(episodes(lengths)):
        np.savez_compressed(folder / f"2022010{number}T000000-abc-{len(episode['reward'])}.npz", **episode)


def write_hdf5(folder, lengths=LENGTHS):
    """The layout of 84 pixels: gzip shards of several episodes, channels first."""
    for shard, made in enumerate([list(episodes(lengths))]):
        joined = {name: np.concatenate([each[name] for each in made]) for name in made[0]}
        kinds = np.where(
            joined["is_first"], image_files.FIRST, np.where(joined["is_last"], image_files.LAST, image_files.MIDDLE)
        )
        with h5py.File(folder / f"shard_{shard}.hdf5", "w") as file:
            file.create_dataset("observation", data=joined["image"].transpose(0, 3, 1, 2), compression="gzip")
            for name in ("action", "reward", "discount"):
                file.create_dataset(name, data=joined[name], compression="gzip")
            file.create_dataset("step_type", data=kinds, compression="gzip")


@pytest.mark.parametrize("write", [write_npz, write_hdf5])
def test_both_layouts_are_read_byte_by_byte(write, tmp_path):
    write(tmp_path)
    made = list(episodes())
    rows = image_files.read(tmp_path)
    names = {"frames": "image", "actions": "action", "rewards": "reward", "discounts": "discount", "firsts": "is_first"}
    for ours, theirs in names.items():
        np.testing.assert_array_equal(getattr(rows, ours), np.concatenate([each[theirs] for each in made]))
    returns, lengths = rows.episode_returns()
    assert lengths.tolist() == list(LENGTHS)
    assert returns == pytest.approx([each["reward"].sum() for each in made])


def test_an_episode_whose_flags_have_a_row_more_is_read_with_a_note(tmp_path):
    """V-D4RL published such files of humanoid_walk (conglu1997/v-d4rl, issue 13)."""
    write_npz(tmp_path)
    whole = image_files.read(tmp_path)
    assert whole.notes == ()
    file, episode = image_files.files(tmp_path)[0], next(episodes())
    np.savez_compressed(file, **episode | {name: np.append(episode[name], False) for name in ("is_first", "is_last")})
    uneven = image_files.read(tmp_path)
    assert uneven.fingerprint() == whole.fingerprint()
    assert uneven.notes == (f"{file.name}: its flags have 6 rows, all else has 5; the last flag is left out",)


def test_what_a_first_row_holds_beside_its_frame_does_not_matter(tmp_path):
    write_npz(tmp_path)
    clean = image_files.read(tmp_path)
    for file, episode in zip(image_files.files(tmp_path), episodes(), strict=True):
        for name in ("action", "reward", "discount"):
            episode[name][0] = np.nan
        np.savez_compressed(file, **episode)
    assert image_files.read(tmp_path).fingerprint() == clean.fingerprint()


def test_frames_are_in_memory_only_once(tmp_path):
    """The device works on the very array that was read."""
    write_hdf5(tmp_path)
    rows = image_files.read(tmp_path)
    on_device = jax.device_put(rows.footage(NStep()))
    assert on_device.frames.unsafe_buffer_pointer() == rows.frames.ctypes.data


def test_long_shards_are_read_in_parts(tmp_path, monkeypatch):
    write_hdf5(tmp_path)
    whole = image_files.read(tmp_path)
    monkeypatch.setattr(image_files, "AT_ONCE", 3)
    assert image_files.read(tmp_path).fingerprint() == whole.fingerprint()


def test_frames_of_another_task_are_refused(tmp_path):
    write_npz(tmp_path)
    task = find("vd4rl-cheetah_run-medium")
    with pytest.raises(DatasetError, match="'frames' has shape"):
        image_files.read(tmp_path).check(task, "here")
    good = Frames(
        frames=np.zeros((3, 84, 84, 3), np.uint8),
        actions=np.zeros((3, 6), np.float32),
        rewards=np.zeros(3, np.float32),
        discounts=np.ones(3, np.float32),
        firsts=np.array([True, False, False]),
    )
    good.check(task, "here")
    for fault, message in (
        ({"firsts": np.array([False, True, False])}, "does not begin an episode"),
        ({"firsts": np.array([True, True, False])}, "no env steps"),
        ({"actions": np.full((3, 6), 1.5, np.float32)}, "outside"),
        ({"rewards": np.array([0, np.nan, 0], np.float32)}, "NaN"),
    ):
        with pytest.raises(DatasetError, match=message):
            Frames(**(vars(good) | fault)).check(task, "here")


def test_levels_are_filmed_of_the_policies_that_the_learner_had(monkeypatch, tmp_path):
    folder = tmp_path / "walker_walk"
    folder.mkdir()
    rows = "env_steps,return,deviation\n100,30.0,1.0\n200,460.0,9.0\n300,900.0,9.0\n400,880.0,9.0\n"
    (folder / plans.RETURNS).write_text(rows, encoding="utf-8")
    monkeypatch.setattr(plans, "EMBEDDED", tmp_path)
    learned = {
        level: [(actor.path.stem, steps) for actor, steps in plans.recipe(find(f"vd4rl-walker_walk-{level}"), None)]
        for level in VD4RL_LEVELS
        if level != "random"
    }
    assert learned == {
        "medium_replay": [("000100", 5_000), ("000200", 5_000)],
        "medium": [("000200", 10_000)],
        "medium_expert": [("000200", 5_000), ("000300", 5_000)],
        "expert": [("000300", 10_000)],
    }


def test_frames_that_do_not_fit_are_not_read(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2_000_000_000))
    with pytest.raises(DatasetError, match=r"100,200 frames take 2\.1 GB, 2\.0 GB of memory are free"):
        frames.allocate((100_200, 84, 84, 3))
