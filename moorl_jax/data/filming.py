"""Regenerate V-D4RL-style datasets: a policy that sees the state is filmed, in exactly V-D4RL's two layouts.

V-D4RL's own policies were never published; nothing made here may be called V-D4RL. On one machine a recipe is
deterministic for its seed, whatever the number of processes: each episode has a random generator of its own. Other
renderers round pixels differently.
"""

import io
import json
import math
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from moorl_jax.cores import usable_cores
from moorl_jax.data import image_files, publishing
from moorl_jax.data.image_files import FIRST, LAST, MIDDLE
from moorl_jax.data.plans import Part
from moorl_jax.errors import DatasetError
from moorl_jax.processes import WORKERS
from moorl_jax.tasks import Task, make_environment
from moorl_jax.types import Progress

VERSION = 3  #: raised whenever a change here, of plans, policies or the environment changes the datasets that are made
NOTES = "recipe.json"
SHARD = 10  #: episodes a file at 84 pixels

Episode = dict[str, np.ndarray]


def generate(task: Task, parts: list[Part], folder: Path, seed: int = 0, progress: Progress | None = None) -> None:
    """Film the parts, whole episodes, and write them to `folder`, which appears whole or not at all.

    Raises StorageError where it cannot be written.
    """
    jobs = [
        (task, actor, (seed, part, episode))
        for part, (actor, steps) in enumerate(parts)
        for episode in range(steps // task.horizon)
    ]
    rows = len(jobs) * (task.horizon + 1)
    size = rows * math.prod(task.observation_shape[:2]) * 3  # before they are compressed
    policies = "; ".join(f"{getattr(actor, 'path', Path()).name or 'uniform'}:{steps}" for actor, steps in parts)
    notes = json.dumps({"version": VERSION, "seed": seed, "policies": policies}) + "\n"
    with publishing.published(folder, size) as partial:
        with publishing.storing(folder, size):
            partial.mkdir()
            (partial / NOTES).write_text(notes, encoding="utf-8")
        shard: list[Episode] = []
        with ProcessPoolExecutor(usable_cores(), WORKERS) as pool:
            for done, episode in enumerate(pool.map(film, *zip(*jobs, strict=True)), start=1):
                shard.append(episode)
                if done % SHARD == 0 or done == len(jobs):
                    with publishing.storing(folder, size):
                        write(partial, shard, done)
                    shard = []
                if progress:
                    progress(done * task.horizon, len(jobs) * task.horizon)
        written = len(image_files.read(partial).rewards)
        if written != rows:
            raise DatasetError(f"{folder}: {written} rows were written, not {rows}")


def outdated(folder: Path) -> bool:
    """Tell whether a folder was filmed by an earlier version of its recipe; raise DatasetError if it does not say."""
    notes = folder / NOTES
    try:
        version: int = json.loads(notes.read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(
            f"{notes}: the recipe's notes cannot be read; move the folder away to film it anew"
        ) from error
    return version != VERSION


def film(task: Task, actor: Any, seed: tuple[int, ...]) -> Episode:
    """Play one episode by what the policy makes of the state; return its rows, named as V-D4RL's files of 64 pixels."""
    environment = make_environment(task)
    simulator: Any = environment.unwrapped
    policy, rng = actor.read(task), np.random.default_rng(seed)
    rows = task.horizon + 1
    kinds = np.full(rows, MIDDLE)
    kinds[0], kinds[-1] = FIRST, LAST
    episode = {
        "image": np.empty((rows, *task.observation_shape[:2], 3), np.uint8),
        "action": np.zeros((rows, task.action_size), np.float32),
        "reward": np.zeros(rows, np.float32),
        "discount": np.ones(rows, np.float32),
        "is_first": kinds == FIRST,
        "is_last": kinds == LAST,
        "is_terminal": np.zeros(rows, bool),
    }
    observation, _ = environment.reset(seed=int(rng.integers(2**31)))
    episode["image"][0] = observation[..., -3:]
    for row in range(1, rows):
        episode["action"][row] = policy.act(simulator.sight(), rng)[0]
        # The simulator receives what the dataset records, float32 rounding included.
        observation, reward, _, _, _ = environment.step(episode["action"][row])
        episode["image"][row], episode["reward"][row] = observation[..., -3:], reward
    environment.close()
    return episode


def write(folder: Path, episodes: list[Episode], done: int) -> None:
    """Write the episodes, the last of which is number `done`: an npz each at 64 pixels, else one HDF5 file for all."""
    if episodes[0]["image"].shape[1] == 64:
        for number, episode in enumerate(episodes, start=done - len(episodes)):
            memory = io.BytesIO()
            np.savez_compressed(memory, allow_pickle=False, **episode)
            (folder / f"{number:05d}-{len(episode['reward'])}.npz").write_bytes(memory.getbuffer())
        return
    columns = {name: np.concatenate([episode[name] for episode in episodes]) for name in episodes[0]}
    kinds = np.select([columns["is_first"], columns["is_last"]], [FIRST, LAST], MIDDLE)
    arrays = {"observation": columns["image"].transpose(0, 3, 1, 2), "step_type": kinds}
    arrays |= {name: columns[name] for name in ("action", "reward", "discount")}
    memory = io.BytesIO()  # as in hdf5.write
    with h5py.File(memory, "w") as file:
        for name, value in arrays.items():
            file.create_dataset(name, data=value, compression="gzip", compression_opts=1)
    (folder / f"{done - len(episodes):05d}-{len(kinds)}.hdf5").write_bytes(memory.getbuffer())
