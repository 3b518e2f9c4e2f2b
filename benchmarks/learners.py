"""Train SAC and keep its policies along the way, to be rolled out later, as D4RL's and V-D4RL's data was made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from benchmarks.episodes import play
from moorl_jax.agents import SAC
from moorl_jax.data import Normalizer, Prepared, behaviour
from moorl_jax.data.plans import RETURNS
from moorl_jax.engine.request import which_seeds
from moorl_jax.engine.trainer import Trainer
from moorl_jax.footage import Footage
from moorl_jax.phases import Collect, Pause, Phase, Pretrain
from moorl_jax.replay import FromBuffer, Sampling
from moorl_jax.tasks import Task, make_environment
from moorl_jax.types import Transitions
from moorl_jax.whole import whole

EPOCH = 1_000  #: env steps, then updates, in rlkit's SAC example, the learner behind D4RL's locomotion sets
STATE = "learner.npz"  #: the learner's checkpoint beside the policies, with its buffer


def rlkit_sac(env_steps: int, sampling: Sampling = FromBuffer()) -> tuple[Phase, ...]:
    """Return the phases of rlkit's example of SAC: a thousand env steps and a thousand updates in turn.

    The end of an epoch cuts the current episode; the first thousand env steps are the untrained policy's. Its
    settings are our SAC's defaults: 256 x 256, batches of 256, Adam at 3e-4, Polyak 5e-3, a learned temperature.
    Source: rail-berkeley/rlkit `examples/sac.py`, which D4RL names as its learner.
    """
    agent = SAC(random_steps=0)
    epoch = (Pretrain(agent, EPOCH, sampling), Pause(), Collect(agent, EPOCH))
    return (Collect(agent, EPOCH), *epoch * (env_steps // EPOCH - 1))


def learn(
    phases: tuple[Phase, ...],
    task: Task,
    seed: int,
    folder: Path,
    every: int,
    episodes: int,
    say: Callable[[str], None],
    save_every: int = 0,
    demonstrations: Transitions | Footage | None = None,
) -> None:
    """Train online on a task by its state; keep the policy, as float16, and its mean return every `every` env steps.

    The untrained policy is kept too. With `save_every` the learner saves a checkpoint every so many env steps and
    resumes from it. `demonstrations` is the dataset for phases that sample from one.
    """
    prepared = Prepared(demonstrations, Normalizer.identity(task.observation_shape), reward_scale=1.0, reward_shift=0.0)
    trainer = Trainer([phases], task, prepared, which_seeds([seed]))
    measured: list[dict[Any, Any]] = []

    def keep() -> None:
        path = folder / f"{trainer.progress.env_steps:06d}.npz"
        write_actor(path, first_seeds(trainer.policies()), np.float16)
        returns = _returns(path, task, episodes)
        measured.append({"env_steps": trainer.progress.env_steps, "return": returns.mean(), "deviation": returns.std()})
        write_table(folder / RETURNS, measured, "%.1f")
        say(f"{trainer.progress.env_steps:,} env steps: {returns.mean():.0f} ± {returns.std():.0f}")

    if save_every and (folder / STATE).exists():
        with np.load(folder / STATE, allow_pickle=False) as saved:
            trainer.restore(dict(saved))
        rows = pd.read_csv(folder / RETURNS)
        measured = rows[rows["env_steps"] <= trainer.progress.env_steps].to_dict("records")
    else:
        keep()
    while not trainer.finished:
        if trainer.left <= 0:
            trainer.next_phase()
            continue
        acts, left = trainer.current.acts, trainer.left
        trainer.start(min(every - trainer.progress.env_steps % every, left) if acts else left)()
        if acts and trainer.progress.env_steps % every == 0:
            keep()
        if acts and save_every and trainer.progress.env_steps % save_every == 0:
            state: dict[str, Any] = trainer.save()
            with whole(folder / STATE) as partial:
                np.savez(partial, **state)
    trainer.close()


def pick(folder: Path, into: Path, task: Task, medium: float, before: int, episodes: int) -> pd.DataFrame:
    """Copy a learner's policies up to the one whose mean return is nearest to `medium`, with their returns.

    These are the untrained one, that one, and up to `before` at even distances before it. Returns the written table.
    """
    kept = pd.read_csv(folder / RETURNS)
    nearest = int(np.argmin(np.abs(kept["return"] - medium)))
    chosen = np.unique(np.linspace(0, nearest, min(before, nearest) + 1).round().astype(int))
    rows = []
    with whole(into) as partial:
        partial.mkdir()
        for number in chosen:
            env_steps = int(kept["env_steps"].iloc[number])
            path = partial / f"{env_steps:06d}.npz"
            _copy(folder / path.name, path, task)
            earned = _returns(path, task, episodes)
            rows.append({"env_steps": env_steps, "return": earned.mean(), "deviation": earned.std()})
        write_table(partial / RETURNS, rows, "%.1f")
    return pd.DataFrame(rows)


def _copy(policy: Path, to: Path, task: Task) -> None:
    """Copy a policy so that it acts on what the task shows.

    An ant's learner sees 27 numbers, D4RL's ant 84 more: contact forces that are zero, and so their weights are too.
    """
    with np.load(policy, allow_pickle=False) as saved:
        arrays = dict(saved)
    first = arrays["layer0.weight"]
    arrays["layer0.weight"] = np.pad(first, ((0, 0), (0, task.observation_shape[0] - first.shape[1])))
    with whole(to) as partial:
        np.savez_compressed(partial, **arrays)


def _returns(path: Path, task: Task, episodes: int) -> np.ndarray:
    """Return a policy's returns, (episodes,), sampled as a recipe rolls it out."""
    policy = behaviour.read_actor(path, "relu", squash=True)
    return np.array([episode.rewards for episode in play(make_environment(task), policy, episodes)])


def write_actor(path: Path, layers: dict[str, Any], kind: type, **beside: np.ndarray) -> None:
    """Write an actor as `behaviour.read_actor` reads it."""
    arrays: dict[str, Any] = dict(beside)
    for layer, leaves in sorted(jax.tree.map(lambda leaf: np.asarray(leaf, kind), layers).items()):
        arrays[f"{layer}.weight"], arrays[f"{layer}.bias"] = leaves["kernel"].T, leaves["bias"]
    with whole(path) as partial:
        np.savez_compressed(partial, **arrays)


def first_seeds(actor: dict[str, Any]) -> dict[str, Any]:
    """Return the first seed's layers."""
    return jax.tree.map(lambda leaf: leaf[0], actor)


def write_table(path: Path, rows: list[dict[Any, Any]], precision: str) -> None:
    """Write a table of measurements beside the policies."""
    with whole(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, float_format=precision)
