"""The environments that Minari's AntMaze, Adroit and Kitchen sets were recorded in: gymnasium-robotics as it is.

Not D4RL's: AntMaze is another ant in another maze, Adroit's pen does not end when it is dropped and the other hands are
paid for a palm far from its object, Kitchen has other observations and other noise.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import FlattenObservation, TimeLimit
from gymnasium_robotics.envs.adroit_hand.adroit_door import AdroitHandDoorEnv
from gymnasium_robotics.envs.adroit_hand.adroit_hammer import AdroitHandHammerEnv
from gymnasium_robotics.envs.adroit_hand.adroit_pen import AdroitHandPenEnv
from gymnasium_robotics.envs.adroit_hand.adroit_relocate import AdroitHandRelocateEnv
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import KitchenEnv
from gymnasium_robotics.envs.maze.ant_maze_v4 import AntMazeEnv

from moorl_jax.tasks.adroit import Measured
from moorl_jax.tasks.antmaze import MAZES
from moorl_jax.tasks.kitchen import SUBTASKS, robot_state, set_robot_state
from moorl_jax.tasks.placed import Placed
from moorl_jax.tasks.task import Task


class Pen(Measured, AdroitHandPenEnv):
    """AdroitHandPen-v1, which can be saved."""


class Door(Placed, AdroitHandDoorEnv):
    """AdroitHandDoor-v1, which can be saved."""


class Hammer(Placed, AdroitHandHammerEnv):
    """AdroitHandHammer-v1, which can be saved."""


class Relocate(Placed, AdroitHandRelocateEnv):
    """AdroitHandRelocate-v1, which can be saved."""


HANDS = {"pen": Pen, "door": Door, "hammer": Hammer, "relocate": Relocate}


class AntMaze(AntMazeEnv):
    """AntMaze-v4 with D4RL's start and goal for evaluation; in umaze they change places. The goal ends the episode."""

    def __init__(self, maze: str):
        start, goal = ("g", "r") if maze == "umaze" else ("r", "g")
        cells = {"#": 1, "s": start, "g": goal, "e": goal, "p": 0, " ": 0}
        super().__init__(maze_map=[[cells[mark] for mark in line] for line in MAZES[maze]], continuing_task=False)

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        return {"goal": self.goal.copy()}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        self.goal = saved["goal"].copy()


class Kitchen(KitchenEnv):
    """FrankaKitchen-v1 with the four sub-tasks of a level.

    `once` pays each once, and all four end the episode; else each pays at every step at which it is complete, and
    nothing ends it.
    """

    def __init__(self, level: str, once: bool):
        super().__init__(
            tasks_to_complete=list(SUBTASKS[level]), remove_task_when_completed=once, terminate_on_tasks_completed=once
        )
        self.subtasks = SUBTASKS[level]

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        unfinished = np.array([subtask not in self.episode_task_completions for subtask in self.subtasks])
        return {"unfinished": unfinished, **robot_state(self.robot_env)}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        flags = dict(zip(self.subtasks, saved["unfinished"], strict=True))
        self.tasks_to_complete = {s for s in self.subtasks if flags[s] or not self.remove_task_when_completed}
        self.episode_task_completions = [subtask for subtask in self.subtasks if not flags[subtask]]
        set_robot_state(self.robot_env, saved)


def make(task: Task, as_data: bool) -> gymnasium.Env:
    """Make one simulator of a task of Minari's; the horizon truncates its episodes.

    `as_data` pays and ends as where the data was recorded: Kitchen's without taking finished sub-tasks off the list,
    and without an end when all are complete.

    Dictionaries of observations are flattened in the order of their keys: achieved_goal, desired_goal, observation.
    """
    environment: Any
    if task.family == "adroit":
        environment = HANDS[task.subject]()
    elif task.family == "antmaze":
        environment = FlattenObservation(AntMaze(task.subject))
    else:
        environment = FlattenObservation(Kitchen(task.level, once=not as_data))
    return TimeLimit(environment, task.horizon)
