"""Which policies and demonstrations make which dataset, and how much of each.

D4RL's own policies were published for AntMaze and for Adroit's experts: `recipe` rolls them out, `embedded` those of
this package that learned from them. Its locomotion levels are SAC policies of its authors' that never were: `recipe`
has the public ones that come nearest in normalized return, `embedded` those of a SAC of our own as far as it came, and
beyond it students of public SAC and TQC policies.
"""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moorl_jax.data import behaviour
from moorl_jax.data.behaviour import Behaviour
from moorl_jax.data.hdf5 import FLAGS
from moorl_jax.data.navigator import Navigator
from moorl_jax.data.rows import Rows
from moorl_jax.errors import DatasetError, NotAvailableError
from moorl_jax.tasks import Task
from moorl_jax.tasks.antmaze import Maze


@dataclass(frozen=True)
class Actor:
    """Where a behaviour policy is read from, as picklable data: a worker process reads it itself."""

    kind: str  #: uniform, actor, snapshot or navigator
    path: Path = Path()
    activation: str = ""
    squash: bool = False
    iteration: int = 0

    def read(self, task: Task) -> Behaviour:
        """Read the policy, ready to act in the task's environment; raise DatasetError where it is not for it."""
        if self.kind == "uniform":
            return behaviour.Uniform(task.action_size)
        if self.kind == "snapshot":
            policy = behaviour.read_snapshot(self.path, self.iteration)
        else:
            policy = behaviour.read_actor(self.path, self.activation, self.squash)
        observations, actions = policy.sizes
        wanted = observations if task.pixels else task.observation_shape[0]  # those who are filmed see the state
        if (observations, actions) != (wanted, task.action_size):
            raise DatasetError(
                f"{self.path}: it makes {actions:g} numbers of {observations} where {task.name} needs "
                f"{task.action_size} of {wanted}; is this the policy of another task?"
            )
        if self.kind == "navigator":
            maze = Maze(task.subject)
            elsewhere = tuple(cell for cell in maze.free if cell not in maze.play_goals)
            # The plain umaze set has one start and one goal; play has hand-picked goals and starts at none of them.
            # Diverse goes from anywhere to anywhere, as D4RL's paper says; by its script it would be play's again.
            # D4RL's counts of terminal rows, 2,000 of a million in medium-diverse and 6,200 in large-diverse, are in
            # the range of both (by the paper 1,500 to 10,000 and 700 to 9,000, over draws of the file's goal; by the
            # script 0 to 5,200 and 2,600 to 63,000). Its 37 in umaze-diverse are in that of neither, but the paper's
            # least, 3,000 to 5,000, is a tenth of the script's, 39,000.
            goals, starts = {
                "": (maze.play_goals, ()),
                "play": (maze.play_goals, elsewhere),
                "diverse": (maze.free, maze.free),
            }[task.level]
            return Navigator(policy, maze, goals, starts)
        return policy


@dataclass(frozen=True)
class Demonstrations:
    """Logged episodes in a file, repeated to the length asked for."""

    path: Path  #: npz with the keys of D4RL's files

    def read(self, task: Task) -> dict[str, np.ndarray]:
        """Return their columns: observations, actions, rewards, terminals, timeouts.

        Raises DatasetError where the task cannot be trained on them.
        """
        arrays = behaviour.plain_arrays(self.path, "file of demonstrations")
        try:
            columns = {key: np.atleast_1d(arrays[key]) for key in ("observations", "actions", "rewards")}
            columns |= {key: np.atleast_1d(arrays[key]).astype(bool) for key in FLAGS}
        except KeyError as error:
            raise DatasetError(f"{self.path}: the key {error} is missing; these are not demonstrations") from error
        Rows(**columns).check(task, str(self.path))
        return columns


@dataclass(frozen=True)
class Clone:
    """A policy to be trained on demonstrations before it is rolled out."""

    demonstrations: Demonstrations


Part = tuple[Actor | Demonstrations | Clone, int]
"""What a dataset is made of, with the number of its rows; 0 for demonstrations as they are."""

# Sampled, not greedy, as D4RL sampled its own.
_MEDIUM = {
    "halfcheetah": Actor("actor", Path("mujoco/zoo/ppo_HalfCheetah-v3_actor.npz"), "relu", squash=False),
    "hopper": Actor("actor", Path("mujoco/zoo/sac_Hopper-v3_actor.npz"), "relu", squash=True),
    "walker2d": Actor("snapshot", Path("mujoco/trpo_curves/log_Walker2d-v1_1.h5"), iteration=80),
    "cheetah_run": Actor("actor", Path("dm_control/cheetah_run_sac_actor.npz"), "relu", squash=True),
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
_HAND_EPISODES = 5_000

_FILMED_STEPS = 10_000  #: a tenth of V-D4RL's

_WALKER = Actor("navigator", Path("antmaze/ant_hierarch_pol_actor.npz"), "relu", squash=True)

EMBEDDED = Path(__file__).parent / "embedded"  #: policies that the package carries; `benchmarks.embed` made them
RETURNS = "returns.csv"  #: beside a learner's policies: the env steps of each, and its mean return
#: Robots and levels whose policy learned from a public one (`benchmarks.embed robots`), not from reward.
DISTILLED = {
    ("halfcheetah", "expert"),
    ("hopper", "expert"),
    ("walker2d", "medium"),
    ("walker2d", "expert"),
}


def recipe(task: Task, policies: Path | None) -> list[Part]:
    """Return what the task's dataset is made of, in its order, where the user has a directory of `policies`.

    Raises NotAvailableError where it is needed and was not given.
    """
    if task.level == "random":
        return [(Actor("uniform"), _FILMED_STEPS if task.pixels else _STEPS)]
    if task.pixels:
        medium = _MEDIUM.get(task.subject) if task.level in ("medium", "medium_expert") else None
        return _filmed(task, medium and _inside(required(task, policies), medium))
    policies = required(task, policies)
    if task.family == "antmaze":
        return [(_inside(policies, _WALKER), _STEPS)]
    if task.family == "adroit":
        return _hand(task, policies)
    return _locomotion(task.subject, task.level, policies)


def embedded(task: Task) -> list[Part]:
    """Return what the task's dataset is made of, in its order, of the package's own policies.

    AntMaze's sets and the hands' experts are as `recipe` has them. A robot's are one learner's, as D4RL's were:
    `random` is its untrained policy, `medium` the one nearest to D4RL's level, and the replay what it had seen until
    then: each policy stands for the env steps it is nearest to. The levels in DISTILLED are those of a student, for no
    learner of ours is as near to D4RL's.
    """
    if task.pixels:
        return [(Actor("uniform"), _FILMED_STEPS)] if task.level == "random" else _filmed(task)
    if task.family == "antmaze":
        return [(dataclasses.replace(_WALKER, path=EMBEDDED / "antmaze/ant.npz"), _STEPS)]
    if task.family == "adroit":
        hand = Actor("actor", EMBEDDED / f"adroit/{task.subject}.npz", "relu", squash=False)
        return [(hand, _HAND_EPISODES * task.horizon)]
    return _robot(task.subject, task.level)


def _robot(robot: str, level: str) -> list[Part]:
    """Plan a robot's set of our own policies."""
    if level == "medium-expert":
        return [*_robot(robot, "medium"), *_robot(robot, "expert")]
    if (robot, level) in DISTILLED:
        student = EMBEDDED / f"locomotion/{robot}-{level}.npz"
        return [(Actor("actor", student, "relu", squash=True), _STEPS)]
    kept = _kept(robot)
    actors = [actor for actor, _ in kept]
    if level != "medium-replay":
        return [(actors[0 if level == "random" else -1], _STEPS)]
    learned = np.array([int(row["env_steps"]) for _, row in kept])
    bounds = np.array([0, *(learned[1:] + learned[:-1]) / 2, learned[-1]]) / learned[-1]
    steps = np.diff(np.round(bounds * _REPLAY_STEPS[robot]).astype(int))
    return [(actor, int(count)) for actor, count in zip(actors, steps, strict=True)]


def _kept(subject: str) -> list[tuple[Actor, dict[str, str]]]:
    """Return the policies that a learner saved as it learned, each with its line of RETURNS."""
    folder = EMBEDDED / subject
    with (folder / RETURNS).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(Actor("actor", folder / f"{int(row['env_steps']):06d}.npz", "relu", squash=True), row) for row in rows]


def shares(total: int, parts: int) -> list[int]:
    """Divide a number of steps as evenly as whole numbers allow."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def required(task: Task, policies: Path | None) -> Path:
    """Return the directory of policies, or say that there is none."""
    if policies is None:
        instead = "; this package's own policies make it as --source embedded" if "embedded" in task.datasets else ""
        raise NotAvailableError(
            f"{task.name}: the recipe rolls out trained policies; name their directory with --policies or the "
            f"variable MOORL_POLICIES{instead}"
        )
    if not policies.is_dir():
        raise DatasetError(f"{policies}: no such directory of policies")
    return policies


def _filmed(task: Task, medium: Actor | None = None) -> list[Part]:
    """Plan V-D4RL's sets, of the policies that our SAC saved as it learned from the state.

    As there, `medium` is about half as good as the best, unless another is given, and a medium replay is what the
    learner saw until then; here the policies up to it, each for an equal share of the steps.
    """
    kept = _kept(task.subject)
    learned, returns = [actor for actor, _ in kept], [float(row["return"]) for _, row in kept]
    best = int(np.argmax(returns))
    half = int(np.argmin(np.abs(np.array(returns) - returns[best] / 2)))
    if task.level == "medium_replay":
        actors = learned[: half + 1]
    elif task.level == "expert":
        actors = [learned[best]]
    else:
        medium = medium or learned[half]
        actors = [medium] if task.level == "medium" else [medium, learned[best]]
    return list(zip(actors, shares(_FILMED_STEPS, len(actors)), strict=True))


def _hand(task: Task, policies: Path) -> list[Part]:
    """Plan D4RL's Adroit sets.

    `cloned` is half a clone's episodes, half the demonstrations again and again (`hand_dapg_combined.py`).
    """
    steps = _HAND_EPISODES * task.horizon
    if task.level == "expert":
        return [
            (
                _inside(policies, Actor("actor", Path(f"adroit/{task.subject}_dapg_actor.npz"), "tanh", squash=False)),
                steps,
            )
        ]
    human = Demonstrations(policies / f"adroit/{task.subject}_human.npz")
    if task.level == "human":
        return [(human, 0)]
    return [(Clone(human), steps // 2), (human, steps - steps // 2)]


def _locomotion(robot: str, level: str, policies: Path) -> list[Part]:
    if level == "medium":
        return [(_inside(policies, _MEDIUM[robot]), _STEPS)]
    if level == "expert":
        return [(_inside(policies, _EXPERT[robot]), _STEPS)]
    if level == "medium-expert":
        return [(_inside(policies, actors[robot]), _STEPS) for actors in (_MEDIUM, _EXPERT)]
    # A replay is what one learner saw: its successive policies, each for an equal share of the steps.
    iterations = behaviour.snapshots(policies / _CURVE[robot])
    if level == "medium-replay":
        iterations = [iteration for iteration in iterations if iteration <= _REACHES_MEDIUM[robot]]
    total = _REPLAY_STEPS[robot] if level == "medium-replay" else _STEPS
    return [
        (_inside(policies, Actor("snapshot", _CURVE[robot], iteration=iteration)), steps)
        for iteration, steps in zip(iterations, shares(total, len(iterations)), strict=True)
    ]


def _inside(policies: Path, actor: Actor) -> Actor:
    return dataclasses.replace(actor, path=policies / actor.path)
