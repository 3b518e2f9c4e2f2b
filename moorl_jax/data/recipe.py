"""Regenerate D4RL-style datasets by D4RL's own procedure: roll out policies, log every step.

The bytes are not D4RL's, and nothing made here may be called D4RL: the policies differ, and with them the returns.
A recipe is deterministic for its seed, whatever the number of processes: the steps come from a fixed number of
streams, each with its own simulator and random generator.
"""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from moorl_jax.data import behaviour, hdf5
from moorl_jax.data.behaviour import Behaviour
from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError, NotAvailableError
from moorl_jax.tasks import Task, make_environment

VERSION = 1  #: raised whenever a change of this file changes the datasets it makes
STREAMS = 8  #: simulators a policy's steps are divided over, at most
EPISODES_A_STREAM = 10  #: full episodes a stream has room for, at least; each stream cuts one short

Progress = Callable[[int, int], None]  #: called with (steps done, steps in all)


@dataclass(frozen=True)
class Actor:
    """Where a behaviour policy is read from, as picklable data: a worker process reads it itself."""

    kind: str  #: uniform, actor or snapshot
    path: Path = Path()
    activation: str = ""
    squash: bool = False
    iteration: int = 0

    def read(self, task: Task) -> Behaviour:
        """Read the policy, ready to act in the task's environment."""
        if self.kind == "uniform":
            return behaviour.Uniform(task.action_size)
        if self.kind == "snapshot":
            return behaviour.read_snapshot(self.path, self.iteration)
        return behaviour.read_actor(self.path, self.activation, self.squash)


# D4RL's levels are SAC policies of its authors' that were never released. These are the public ones that come
# nearest in normalized return: sampled, not greedy, as D4RL sampled its own.
_MEDIUM = {
    "halfcheetah": Actor("actor", Path("mujoco/zoo/ppo_HalfCheetah-v3_actor.npz"), "relu", squash=False),
    "hopper": Actor("actor", Path("mujoco/zoo/sac_Hopper-v3_actor.npz"), "relu", squash=True),
    "walker2d": Actor("snapshot", Path("mujoco/trpo_curves/log_Walker2d-v1_1.h5"), iteration=80),
}
_EXPERT = {
    "halfcheetah": Actor("actor", Path("mujoco/zoo/tqc_HalfCheetah-v3_actor.npz"), "relu", squash=True),
    "hopper": Actor("actor", Path("mujoco/zoo/trpo_Hopper-v3_actor.npz"), "tanh", squash=False),
    "walker2d": Actor("actor", Path("mujoco/sac_experts/Walker2d-v3_actor.npz"), "relu", squash=True),
}
_CURVE = {
    "halfcheetah": Path("mujoco/trpo_curves/log_HalfCheetah-v1_2.h5"),
    "hopper": Path("mujoco/trpo_curves/log_Hopper-v1_4.h5"),
    "walker2d": Path("mujoco/trpo_curves/log_Walker2d-v1_1.h5"),
}
# The iteration at which each learning curve has reached its robot's medium level; HalfCheetah's never does.
_REACHES_MEDIUM = {"halfcheetah": 500, "hopper": 40, "walker2d": 80}
# D4RL's own numbers of steps.
_REPLAY_STEPS = {"halfcheetah": 202_000, "hopper": 402_000, "walker2d": 302_000}
_STEPS = 1_000_000

EMBEDDED_STEPS = 100_000


def plan(task: Task, policies: Path | None, source: str = "recipe") -> list[tuple[Actor, int]]:
    """Return the policies to roll out for the task, each with its number of steps, in the dataset's order.

    `embedded` needs nothing but this package; `recipe` reads the directory `policies`. Raises NotAvailableError
    where there is no such recipe, or no directory was given.
    """
    if source == "embedded":
        with resources.as_file(resources.files("moorl_jax.data") / "embedded" / "hopper.npz") as path:
            return [(Actor("actor", path, "relu", squash=True), EMBEDDED_STEPS)]
    robot, level = task.datasets["recipe"].split("-", 1)
    if level == "random":
        return [(Actor("uniform"), _STEPS)]
    if policies is None:
        raise NotAvailableError(
            f"{task.name}: the recipe rolls out trained policies; name their directory with --policies or the "
            "variable MOORL_POLICIES"
        )

    if not policies.is_dir():
        raise DatasetError(f"{policies}: no such directory of policies")

    def inside(actor: Actor, steps: int) -> tuple[Actor, int]:
        return Actor(actor.kind, policies / actor.path, actor.activation, actor.squash, actor.iteration), steps

    if level == "medium":
        return [inside(_MEDIUM[robot], _STEPS)]
    if level == "expert":
        return [inside(_EXPERT[robot], _STEPS)]
    if level == "medium-expert":
        return [inside(_MEDIUM[robot], _STEPS), inside(_EXPERT[robot], _STEPS)]
    # A replay is what one learner saw: its successive policies, each for an equal share of the steps.
    iterations = behaviour.snapshots(policies / _CURVE[robot])
    if level == "medium-replay":
        iterations = [iteration for iteration in iterations if iteration <= _REACHES_MEDIUM[robot]]
    total = _REPLAY_STEPS[robot] if level == "medium-replay" else _STEPS
    return [
        inside(Actor("snapshot", _CURVE[robot], iteration=iteration), steps)
        for iteration, steps in zip(iterations, _shares(total, len(iterations)), strict=True)
    ]


def _shares(total: int, parts: int) -> list[int]:
    """Divide a number of steps as evenly as whole numbers allow."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def generate(
    task: Task, actors: list[tuple[Actor, int]], path: Path, seed: int = 0, progress: Progress | None = None
) -> None:
    """Roll out the actors in the task's environment and write the steps to `path` in D4RL's layout.

    The last row of each stream is flagged as a time-out when its episode is not over: the recorder cut it.
    """
    shares = [
        (task, actor, share, (seed, part, stream))
        for part, (actor, steps) in enumerate(actors)
        for stream, share in enumerate(_shares(steps, _streams(steps, task)))
    ]
    total = sum(steps for _, steps in actors)
    done = 0
    # spawn: forking a process that runs JAX's threads can deadlock.
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(roll_out, *share): position for position, share in enumerate(shares)}
        streams: list[dict[str, np.ndarray]] = [{} for _ in shares]
        for future in as_completed(futures):
            streams[futures[future]] = future.result()
            done += len(streams[futures[future]]["rewards"])
            if progress:
                progress(done, total)
    columns = {key: np.concatenate([stream[key] for stream in streams]) for key in streams[0]}
    extra = {key: columns.pop(key) for key in list(columns) if key.startswith("infos/")}
    notes = {
        "metadata/algorithm": "moorl_jax recipe",
        "metadata/version": str(VERSION),
        "metadata/seed": str(seed),
        "metadata/policies": "; ".join(f"{actor.path.name or 'uniform'}:{steps}" for actor, steps in actors),
    }
    hdf5.write(path, Rows(**columns), {**extra, **notes})


def _streams(steps: int, task: Task) -> int:
    return max(1, min(STREAMS, steps // (EPISODES_A_STREAM * task.horizon)))


def roll_out(task: Task, actor: Actor, steps: int, seed: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Log `steps` steps of the actor in one simulator; keys as in D4RL's files, float32."""
    policy, environment = actor.read(task), make_environment(task)
    simulator = environment.unwrapped
    rng = np.random.default_rng(seed)
    data, model = simulator.data, simulator.model  # type: ignore[attr-defined]
    columns = {
        "observations": np.empty((steps, *task.observation_shape), np.float32),
        "actions": np.empty((steps, task.action_size), np.float32),
        "rewards": np.empty(steps, np.float32),
        "terminals": np.zeros(steps, bool),
        "timeouts": np.zeros(steps, bool),
        "next_observations": np.empty((steps, *task.observation_shape), np.float32),
        "infos/action_log_probs": np.empty(steps, np.float32),
        "infos/qpos": np.empty((steps, model.nq), np.float32),
        "infos/qvel": np.empty((steps, model.nv), np.float32),
    }
    observation, _ = environment.reset(seed=int(rng.integers(2**31)))
    for step in range(steps):
        action, columns["infos/action_log_probs"][step] = policy.act(observation, rng)
        columns["observations"][step], columns["actions"][step] = observation, action
        columns["infos/qpos"][step], columns["infos/qvel"][step] = data.qpos, data.qvel
        # The simulator receives what the dataset records, float32 rounding included.
        observation, reward, terminal, timeout, _ = environment.step(columns["actions"][step])
        columns["rewards"][step], columns["next_observations"][step] = reward, observation
        columns["terminals"][step], columns["timeouts"][step] = terminal, timeout and not terminal
        if terminal or timeout:
            observation, _ = environment.reset()
    columns["timeouts"][-1] = not columns["terminals"][-1]
    environment.close()
    return columns
