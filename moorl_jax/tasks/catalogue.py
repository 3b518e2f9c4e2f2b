"""All tasks by name: environment, horizon, score scale, and sources of data.

Sizes, horizons and reference scores are D4RL's (`d4rl/infos.py`, `d4rl/*/__init__.py`) and V-D4RL's. A score is
100 (return - low) / (high - low), with the same references for every dataset of an environment.
"""

from moorl_jax.errors import UnknownNameError
from moorl_jax.tasks.ogbench_sets import OGBENCH, UNSOLVED, OGBenchSet
from moorl_jax.tasks.task import Task

DENSE = "dense, as the environment gives it"
SPARSE_GOAL = "1 at the goal, else 0"
STAGES = "number of the four sub-tasks complete at this step"
ONCE = "1 for each of the four sub-tasks, when it is first complete"
FINISHED = "1 for all four sub-tasks, when the last one is complete"
STAGED = "Meta-World's, in [0, 10] a step"
SUCCESSFUL = "1 at every step that Meta-World counts as a success, else 0"
UNIT = "dm_control's, in [0, 1] a step, the sum of two steps with one action"

# robot: gymnasium id, observation size, action size, low, high
LOCOMOTION = {
    "halfcheetah": ("HalfCheetah-v4", 17, 6, -280.178953, 12135.0),
    "hopper": ("Hopper-v4", 11, 3, -20.272305, 3234.3),
    "walker2d": ("Walker2d-v4", 17, 6, 1.629008, 4592.3),
    "ant": ("Ant-v4", 111, 8, -325.6, 3879.7),
}
ROBOTS = ("halfcheetah", "hopper", "walker2d")  #: those of the papers' tables
LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert", "full-replay")
OURS = ("random", "medium", "medium-replay", "medium-expert", "expert")  #: levels that policies of our own make

# dataset: horizon, rows after which an episode of the data times out, D4RL's file in ant_maze_v2/
# Its script logs one step more than its limit, and for umaze-diverse the limit was its default, not the horizon.
ANTMAZE = {
    "umaze": (700, 701, "Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse_fixed.hdf5"),
    "umaze-diverse": (700, 1001, "Ant_maze_u-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5"),
    "medium-play": (1000, 1001, "Ant_maze_big-maze_noisy_multistart_True_multigoal_False_sparse_fixed.hdf5"),
    "medium-diverse": (1000, 1001, "Ant_maze_big-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5"),
    "large-play": (1000, 1001, "Ant_maze_hardest-maze_noisy_multistart_True_multigoal_False_sparse_fixed.hdf5"),
    "large-diverse": (1000, 1001, "Ant_maze_hardest-maze_noisy_multistart_True_multigoal_True_sparse_fixed.hdf5"),
}

# hand task: horizon, observation size, action size, low, high
ADROIT = {
    "pen": (100, 45, 24, 96.262799, 3076.8331017826877),
    "door": (200, 39, 28, -56.512833, 2880.5693087298737),
    "hammer": (200, 46, 26, -274.856578, 12794.134825156867),
    "relocate": (200, 39, 30, -6.425911, 4233.877797728884),
}
HAND_LEVELS = ("human", "cloned", "expert")
DEMONSTRATED = ("pen", "door")  #: hands with human demonstrations among the policies that recipes read

# dataset: D4RL's file in kitchen/
KITCHEN = {
    "complete": "mini_kitchen_microwave_kettle_light_slider-v0.hdf5",
    "partial": "kitchen_microwave_kettle_light_slider-v0.hdf5",
    "mixed": "kitchen_microwave_kettle_bottomburner_light-v0.hdf5",
}

# Tasks for online learning without data. Humanoid has no reference returns: its score is the return itself.
# robot: gymnasium id, observation size, action size, low, high
WALKERS = {
    **{robot: LOCOMOTION[robot] for robot in ("hopper", "halfcheetah", "walker2d")},
    "ant": ("Ant-v4", 27, 8, -325.6, 3879.7),
    "humanoid": ("Humanoid-v4", 376, 17, 0.0, 100.0),
}
SAWYER = ("push", "coffee-push", "coffee-pull", "basketball", "lift")
SAWYER_HORIZON = 500

# dm_control task: sizes of its state and action
VD4RL = {"walker_walk": (24, 6), "cheetah_run": (17, 6), "humanoid_walk": (67, 21)}
VD4RL_SIZE = 84  #: pixels of the tasks without a size in their name; the others are of 64
VD4RL_LEVELS = ("random", "medium_replay", "medium", "medium_expert", "expert")

# Minari's sets were recorded in other environments than D4RL's, so they have their own names here. They have no score
# scale of their own for locomotion and hands, so these use D4RL's.
MINARI_LEVELS = ("simple", "medium", "expert")
MINARI_HAND_HORIZONS = {"pen": 200, "door": 300, "hammer": 625, "relocate": 530}  #: human and cloned; 200 for experts
MINARI_KITCHEN_HORIZONS = {"complete": 280, "partial": 450, "mixed": 450}
MINARI_MAZES = {"umaze": "AntMaze_UMaze-v4", "medium": "AntMaze_Medium-v4", "large": "AntMaze_Large-v4"}


def _locomotion(robot: str, level: str) -> Task:
    environment, observation_size, action_size, low, high = LOCOMOTION[robot]
    datasets = {"d4rl": f"gym_mujoco_v2/{robot}_{level.replace('-', '_')}-v2.hdf5"}
    if robot in ROBOTS:
        datasets["recipe"] = f"{robot}-{level}"
    if robot in ROBOTS and level in OURS:
        datasets["embedded"] = f"{robot}-{level}"
    return Task(f"{robot}-{level}-v2", "locomotion", robot, level, environment, 1000, (observation_size,), action_size,
                low, high, DENSE, 10, datasets)  # fmt: skip


def _antmaze(dataset: str) -> Task:
    horizon, recorded, file = ANTMAZE[dataset]
    maze, _, level = dataset.partition("-")
    datasets = {"d4rl": f"ant_maze_v2/{file}", "recipe": f"antmaze-{dataset}", "embedded": f"antmaze-{dataset}"}
    return Task(f"antmaze-{dataset}-v2", "antmaze", maze, level, "moorl_jax AntMaze", horizon, (29,), 8,
                0.0, 1.0, SPARSE_GOAL, 100, datasets, recorded=recorded)  # fmt: skip


def _adroit(hand: str, level: str) -> Task:
    horizon, observation_size, action_size, low, high = ADROIT[hand]
    datasets, no_recipe = {"d4rl": f"hand_dapg_v1/{hand}-{level}-v1.hdf5"}, ""
    if level == "expert" or hand in DEMONSTRATED:
        datasets["recipe"] = f"{hand}-{level}"
    else:
        no_recipe = f"the human demonstrations of {hand} are not among the policies"
    if level == "expert":
        datasets["embedded"] = f"{hand}-expert"
    return Task(f"{hand}-{level}-v1", "adroit", hand, level, "moorl_jax Adroit", horizon, (observation_size,),
                action_size, low, high, DENSE, 10, datasets, no_recipe=no_recipe)  # fmt: skip


def _kitchen(level: str) -> Task:
    datasets = {"d4rl": f"kitchen/{KITCHEN[level]}"}
    return Task(f"kitchen-{level}-v0", "kitchen", "kitchen", level, "moorl_jax Kitchen", 280, (60,), 9,
                0.0, 4.0, STAGES, 10, datasets,
                no_recipe="there are no demonstrations of it among the policies")  # fmt: skip


def _minari_locomotion(robot: str, level: str) -> Task:
    environment, observation_size, action_size, low, high = LOCOMOTION[robot]
    return Task(f"minari-{robot}-{level}-v0", "locomotion", robot, level, environment.replace("-v4", "-v5"), 1000,
                (observation_size,), action_size, low, high, DENSE, 10,
                {"minari": f"mujoco/{robot}/{level}-v0"})  # fmt: skip


def _minari_antmaze(dataset: str) -> Task:
    maze, _, level = dataset.partition("-")
    return Task(f"minari-antmaze-{dataset}-v1", "antmaze", maze, level, MINARI_MAZES[maze], ANTMAZE[dataset][0],
                (31,), 8, 0.0, 1.0, SPARSE_GOAL, 100, {"minari": f"D4RL/antmaze/{dataset}-v1"})  # fmt: skip


def _minari_adroit(hand: str, level: str) -> Task:
    _, observation_size, action_size, low, high = ADROIT[hand]
    horizon = 200 if level == "expert" else MINARI_HAND_HORIZONS[hand]
    return Task(f"minari-{hand}-{level}-v2", "adroit", hand, level, f"AdroitHand{hand.capitalize()}-v1", horizon,
                (observation_size,), action_size, low, high, DENSE, 10,
                {"minari": f"D4RL/{hand}/{level}-v2"})  # fmt: skip


def _minari_kitchen(level: str) -> Task:
    # Flattened: what is achieved and what is wanted of the four sub-tasks, then 59 positions and velocities.
    size = 59 + 2 * (12 if level == "mixed" else 11)
    return Task(f"minari-kitchen-{level}-v2", "kitchen", "kitchen", level, "FrankaKitchen-v1",
                MINARI_KITCHEN_HORIZONS[level], (size,), 9,
                0.0, 4.0, STAGES, 10, {"minari": f"D4RL/kitchen/{level}-v2"})  # fmt: skip


def _walker(robot: str) -> Task:
    environment, observation_size, action_size, low, high = WALKERS[robot]
    return Task(robot, "locomotion", robot, "", environment, 1000, (observation_size,), action_size,
                low, high, DENSE, 10)  # fmt: skip


def _franka_kitchen(name: str, most: float, rewards: str) -> Task:
    return Task(name, "kitchen", "kitchen", "complete", "moorl_jax Kitchen", 280, (60,), 9, 0.0, most, rewards, 10)


def _sawyer(name: str, subject: str, most: float, rewards: str) -> Task:
    return Task(name, "sawyer", subject, "", "moorl_jax Sawyer", SAWYER_HORIZON, (39,), 4,
                0.0, most * SAWYER_HORIZON, rewards, 10)  # fmt: skip


def _vd4rl(task: str, level: str, size: int) -> Task:
    name = f"vd4rl-{task}-{level}" + ("" if size == VD4RL_SIZE else f"-{size}px")
    made = f"{task}-{level}"
    datasets = {"vd4rl": f"main/{task}/{level}/{size}px", "recipe": made, "embedded": made}
    return Task(name, "vd4rl", task, level, f"dm_control {task.replace('_', '-')}", 500, (size, size, 9),
                VD4RL[task][1], 0.0, 1000.0, UNIT, 10, datasets)  # fmt: skip


def _control(task: str) -> Task:
    name, (state_size, action_size) = task.replace("_", "-"), VD4RL[task]
    return Task(name, "control", task, "", f"dm_control {name}", 500, (state_size,), action_size,
                0.0, 1000.0, UNIT, 10)  # fmt: skip


def _ogbench(of: OGBenchSet, number: int, sparse: bool = False) -> Task:
    datasets = {"ogbench": f"{of.name}-v0"} | ({"recipe": f"{of.name}-v0"} if of.scripted else {})
    name = f"ogbench-{of.name}-sparse" if sparse else f"ogbench-{of.name}"
    rewards = UNSOLVED if sparse else of.rewards
    return Task(f"{name}-task{number}", "ogbench", of.subject, of.level,
                f"{of.subject}-singletask-task{number}-v0", of.horizon, (of.observation_size,), of.action_size,
                0.0, 1.0, rewards, 50, datasets, no_recipe=of.no_recipe, recorded=of.steps)  # fmt: skip


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        *(_locomotion(robot, level) for robot in LOCOMOTION for level in LEVELS),
        *(_antmaze(dataset) for dataset in ANTMAZE),
        *(_adroit(hand, level) for hand in ADROIT for level in HAND_LEVELS),
        *(_kitchen(level) for level in KITCHEN),
        *(_minari_locomotion(robot, level) for robot in ROBOTS for level in MINARI_LEVELS),
        *(_minari_antmaze(dataset) for dataset in ANTMAZE),
        *(_minari_adroit(hand, level) for hand in ADROIT for level in HAND_LEVELS),
        *(_minari_kitchen(level) for level in KITCHEN),
        *(_walker(robot) for robot in WALKERS),
        _franka_kitchen("franka-kitchen", 4.0, ONCE),
        _franka_kitchen("franka-kitchen-sparse", 1.0, FINISHED),
        *(_sawyer(f"sawyer-{subject}", subject, 10.0, STAGED) for subject in SAWYER),
        *(_sawyer(f"sawyer-{subject}-sparse", subject, 1.0, SUCCESSFUL) for subject in SAWYER),
        *(_control(task) for task in VD4RL),
        *(_vd4rl(task, level, size) for size in (VD4RL_SIZE, 64) for task in VD4RL for level in VD4RL_LEVELS),
        *(_ogbench(of, number) for of in OGBENCH for number in range(1, 6)),
        *(_ogbench(of, number, sparse=True) for of in OGBENCH if of.has_sparse_twins for number in range(1, 6)),
    )
}

_STANDARD_LOCOMOTION = tuple(
    f"{robot}-{level}-v2" for level in ("medium", "medium-replay", "medium-expert") for robot in ROBOTS
)
_ANTMAZE = tuple(f"antmaze-{dataset}-v2" for dataset in ANTMAZE)
_CLONED = tuple(f"{hand}-cloned-v1" for hand in ADROIT)
_STANDARD_VD4RL = tuple(f"vd4rl-{task}-{level}" for task in VD4RL for level in ("medium", "medium_expert", "expert"))

SUITES: dict[str, tuple[str, ...]] = {
    "quick": ("hopper-medium-replay-v2",),
    "locomotion": _STANDARD_LOCOMOTION,
    "locomotion-all": tuple(f"{robot}-{level}-v2" for level in LEVELS for robot in ROBOTS),
    "antmaze": _ANTMAZE,
    "adroit": tuple(f"{hand}-{level}-v1" for hand in ADROIT for level in HAND_LEVELS),
    "kitchen": tuple(f"kitchen-{level}-v0" for level in KITCHEN),
    "vd4rl": _STANDARD_VD4RL,
    "ogbench-scripted": tuple(f"ogbench-{of.name}-task{task}" for of in OGBENCH if of.scripted for task in range(1, 6)),
    "vd4rl-all": tuple(f"vd4rl-{task}-{level}" for task in VD4RL for level in VD4RL_LEVELS),
    # The MOORL paper has 28 tasks, but its list is unknown to us; this choice is ours.
    "moorl-28": (
        *_STANDARD_LOCOMOTION,
        *_ANTMAZE,
        *_CLONED,
        *_STANDARD_VD4RL,
    ),
    # Of arXiv 2512.00383, whose environment versions are unknown to us; these are our choice.
    "subroutines-12": (
        *WALKERS,
        "franka-kitchen",
        "franka-kitchen-sparse",
        *(f"sawyer-{subject}" for subject in SAWYER),
    ),
    "opt-19": (
        *(f"{robot}-{level}-v2" for robot in ROBOTS for level in ("random", "medium", "medium-replay")),
        *_ANTMAZE,
        *_CLONED,
    ),
}


def find(name: str) -> Task:
    """Return the task of that name; raise UnknownNameError with a suggestion otherwise."""
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name]


def expand(names: str) -> tuple[Task, ...]:
    """Return the tasks of a comma-separated list of task and suite names, in order, each once."""
    tasks: dict[str, Task] = {}
    for name in names.split(","):
        if name not in SUITES and name not in TASKS:
            raise UnknownNameError("task or suite", name, [*TASKS, *SUITES])
        for member in SUITES.get(name, (name,)):
            tasks[member] = TASKS[member]
    return tuple(tasks.values())
