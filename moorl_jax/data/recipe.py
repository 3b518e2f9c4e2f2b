"""Regenerate D4RL-style datasets by D4RL's own procedures: roll out policies, log every step.

The bytes are not D4RL's, and nothing made here may be called D4RL: the policies differ or their noise does, and with
them the returns. A recipe is deterministic for its seed, whatever the number of processes: the steps come from a fixed
number of streams, each with its own simulator and random generator.
"""

from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from moorl_jax.cores import usable_cores
from moorl_jax.data import cloning, hdf5
from moorl_jax.data.plans import Actor, Clone, Demonstrations, Part, shares
from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError
from moorl_jax.processes import WORKERS
from moorl_jax.tasks import Task, make_recording_environment
from moorl_jax.tasks.antmaze import GOAL_RADIUS, Maze
from moorl_jax.types import Progress

# By family; raised whenever a change here, of plans, policies or environments changes the datasets that are made.
VERSIONS = {"locomotion": 3, "antmaze": 2, "adroit": 2}
STREAMS = 8  #: simulators a policy's steps are divided over, at most
EPISODES_A_STREAM = 10  #: full episodes a stream has room for, at least; each stream cuts one short
GOALS = 1_000  #: drawn for AntMaze, one of which relabels the rows

# Of a million rows, how many D4RL's AntMaze sets call terminal, about. TFDS cuts an episode at each terminal and each
# time-out: these are its `d4rl_antmaze` examples (10,154, 1,036, 10,768, 2,959, 13,517, 7,189) less the time-outs.
TERMINALS = {
    "antmaze-umaze-v2": 8_700,
    "antmaze-umaze-diverse-v2": 37,
    "antmaze-medium-play-v2": 9_800,
    "antmaze-medium-diverse-v2": 2_000,
    "antmaze-large-play-v2": 12_500,
    "antmaze-large-diverse-v2": 6_200,
}

Columns = dict[str, np.ndarray]


def generate(task: Task, parts: list[Part], path: Path, seed: int = 0, progress: Progress | None = None) -> None:
    """Make the parts in the task's environment and write their rows to `path` in D4RL's layout.

    The last row of each stream is flagged as a time-out when its episode is not over: the recorder cut it.
    """
    total, done = sum(steps for _, steps in parts), 0
    jobs = [
        (position, (task, actor, share, (seed, position, stream)))
        for position, (source, steps) in enumerate(parts)
        for actor in _actors(source, task, path, seed)
        for stream, share in enumerate(shares(steps, _streams(steps, task)))
    ]
    made: list[list[Columns]] = [[] for _ in parts]
    for position, (source, steps) in enumerate(parts):
        if isinstance(source, Demonstrations):
            made[position] = [_repeated(source.read(task), steps)]
            done += steps
    with ProcessPoolExecutor(usable_cores(), WORKERS) as pool:
        futures = [pool.submit(roll_out, *job) for _, job in jobs]
        try:
            for future in as_completed(futures):
                done += len(future.result()["rewards"])
                if progress:
                    progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)  # where one has failed, what is queued need not run
        for (position, _), future in zip(jobs, futures, strict=True):
            made[position].append(future.result())
    streams = [columns for part in made for columns in part]
    # Demonstrations lack what a simulator knows; a dataset has the columns that all of its parts have.
    names = [name for name in streams[0] if all(name in stream for stream in streams)]
    columns = {name: np.concatenate([stream[name] for stream in streams]) for name in names}
    notes = {
        "metadata/algorithm": "moorl_jax recipe",
        "metadata/version": str(VERSIONS[task.family]),
        "metadata/seed": str(seed),
        "metadata/policies": "; ".join(f"{_name(source)}:{steps}" for source, steps in parts),
    }
    if task.family == "antmaze":
        rng = np.random.default_rng((seed, len(parts)))
        goal = _relabel(columns, Maze(task.subject), TERMINALS[task.name], rng)
        notes["metadata/goal"] = " ".join(map(str, goal))
        terminal = f"{1e6 * columns['terminals'].mean():.0f}"
        notes["metadata/terminals"] = f"{terminal} of a million, D4RL's {TERMINALS[task.name]}"
    if task.family != "locomotion":
        columns.pop("next_observations", None)  # as in D4RL's files
    extra: dict[str, Any] = {name: columns.pop(name) for name in list(columns) if name.startswith("infos/")}
    hdf5.write(path, Rows(**columns), {**extra, **notes})


def outdated(path: Path, family: str) -> bool:
    """Tell whether a file was made by an earlier version of its recipe; raise DatasetError if it does not say."""
    version = hdf5.note(path, "version")
    if version is None:
        raise DatasetError(f"{path}: it lacks a recipe's 'metadata/version'; move it away to make the dataset anew")
    return version != str(VERSIONS[family])


def roll_out(task: Task, actor: Actor, steps: int, seed: tuple[int, ...]) -> Columns:
    """Log `steps` steps of the actor in one simulator; keys as in D4RL's files, float32."""
    policy, environment = actor.read(task), make_recording_environment(task)
    simulator: Any = environment.unwrapped
    rng = np.random.default_rng(seed)
    columns: Columns = {
        "observations": np.empty((steps, *task.observation_shape), np.float32),
        "actions": np.empty((steps, task.action_size), np.float32),
        "rewards": np.empty(steps, np.float32),
        "terminals": np.zeros(steps, bool),
        "timeouts": np.zeros(steps, bool),
        "next_observations": np.empty((steps, *task.observation_shape), np.float32),
    }
    infos: dict[str, list[Any]] = {}
    observation, _ = environment.reset(seed=int(rng.integers(2**31)), options=policy.begin(rng))
    for step in range(steps):
        action, log_density = policy.act(observation, rng)
        columns["observations"][step], columns["actions"][step] = observation, action
        if task.family != "antmaze":
            _log(infos, _infos(task, simulator, log_density))
        # The simulator receives what the dataset records, float32 rounding included.
        observation, reward, terminal, timeout, _ = environment.step(columns["actions"][step])
        columns["rewards"][step], columns["next_observations"][step] = reward, observation
        columns["terminals"][step], columns["timeouts"][step] = terminal, timeout and not terminal
        if task.family == "antmaze":  # D4RL's script logs after the step there
            _log(infos, _infos(task, simulator, log_density))
        if terminal or timeout:
            observation, _ = environment.reset(options=policy.begin(rng))
    columns["timeouts"][-1] = not columns["terminals"][-1]
    environment.close()
    return columns | {f"infos/{name}": np.stack(values) for name, values in infos.items()}


def _log(infos: dict[str, list[Any]], values: dict[str, Any]) -> None:
    for name, value in values.items():
        infos.setdefault(name, []).append(np.array(value, np.float32))


def _infos(task: Task, simulator: Any, log_density: float) -> dict[str, Any]:
    """Return what D4RL's files of the family hold beside the transitions."""
    state = {"qpos": simulator.data.qpos, "qvel": simulator.data.qvel}
    if task.family == "antmaze":
        return state | {"goal": simulator.goal}
    if task.family == "adroit":
        return state | simulator.get_env_state()
    return {"action_log_probs": log_density} | state


def _relabel(columns: Columns, maze: Maze, wanted: int, rng: np.random.Generator) -> list[float]:
    """Reward and terminate, in place, by one goal for all rows, whichever were walked to, and return it.

    D4RL drew one as evaluation draws its own, and what is terminal differs tenfold between draws. Here it is, of many
    such draws that are reached at all, the one that makes nearest to `wanted` rows of a million terminal.
    Episodes go on after it, so terminals come in clusters, as in D4RL's `-v2` files.
    Source: Farama-Foundation/D4RL `scripts/generation/relabel_antmaze_rewards.py`.
    """
    places = columns["next_observations"][:, :2]
    goals, terminal = draw_goals(places, maze, rng)
    goal = goals[np.argmin(np.where(terminal > 0, np.abs(terminal - wanted), np.inf))]
    reached = np.linalg.norm(places - goal, axis=1) <= GOAL_RADIUS
    columns["rewards"], columns["terminals"] = reached.astype(np.float32), reached
    return goal.tolist()


def draw_goals(places: np.ndarray, maze: Maze, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw goals, (GOALS, 2), as evaluation does; count for each how many of a million `places`, (N, 2), reach it."""
    goals = np.array([maze.goal_near(maze.goal, rng) for _ in range(GOALS)])
    return goals, 1e6 / len(places) * KDTree(places).query_ball_point(goals, GOAL_RADIUS, return_length=True)


def _actors(source: Actor | Clone | Demonstrations, task: Task, path: Path, seed: int) -> list[Actor]:
    """Return the actors to roll out; a clone is trained first, and its policy kept beside the dataset."""
    if isinstance(source, Demonstrations):
        return []
    if isinstance(source, Actor):
        return [source]
    weights, demonstrations = path.with_name(f"{path.name}.clone.npz"), source.demonstrations.read(task)
    cloning.clone(demonstrations["observations"], demonstrations["actions"], weights, seed)
    return [Actor("actor", weights, "tanh", squash=False)]


def _repeated(columns: Columns, steps: int) -> Columns:
    """Repeat the columns until there are `steps` rows, the last a time-out; with 0 steps, unchanged."""
    if not steps:
        return columns
    rows = np.arange(steps) % len(columns["rewards"])
    repeated = {name: values[rows] for name, values in columns.items()}
    repeated["timeouts"][-1] = not repeated["terminals"][-1]
    return repeated


def _streams(steps: int, task: Task) -> int:
    return max(1, min(STREAMS, steps // (EPISODES_A_STREAM * task.recorded_horizon)))


def _name(source: Actor | Clone | Demonstrations) -> str:
    if isinstance(source, Clone):
        return f"clone of {source.demonstrations.path.name}"
    return source.path.name or "uniform"
