"""Franka Kitchen with D4RL's observations, noise, tasks and endings, on the robot of gymnasium-robotics.

Source: Farama-Foundation/D4RL `d4rl/kitchen/kitchen_envs.py`, `adept_envs/franka/kitchen_multitask_v0.py`,
`adept_envs/franka/robot/franka_robot.py`, `franka_config.xml`.
"""

import copy
import functools
import json
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces
from gymnasium_robotics.envs.franka_kitchen.kitchen_env import (
    BONUS_THRESH,
    OBS_ELEMENT_GOALS,
    OBS_ELEMENT_INDICES,
    KitchenEnv,
)

from moorl_jax.tasks.catalogue import FINISHED, ONCE, STAGES

SUBTASKS = {
    "complete": ("microwave", "kettle", "light switch", "slide cabinet"),
    "partial": ("microwave", "kettle", "light switch", "slide cabinet"),
    "mixed": ("microwave", "kettle", "bottom burner", "light switch"),
}
ROBOT_SIZE, OBJECTS_SIZE = 9, 21  #: positions of arm and gripper, and of all that can be moved
NOISE_RATIO = 0.1  #: of the amplitudes, uniform on either side
# The amplitudes that D4RL's configuration gives the objects' positions: slides; buttons and lights; blocks, of which
# turns are the noisier. gymnasium-robotics reads them one place off, and takes 0.0005 of them.
OBJECT_NOISE = np.repeat([0.005, 0.0005, 0.005, 0.1, 0.005, 0.1, 0.005], [2, 6, 3, 3, 3, 3, 1])
RANDOM_BYTES = 512  #: room for a random generator's state as text


class Kitchen(gymnasium.Env):
    """Reward for four sub-tasks; finishing all four ends the episode, but with STAGES.

    `rewards` is what a step pays, in the catalogue's words: ONCE 1 for each sub-task when it is first finished, STAGES
    the number that are complete in the observation acted on, FINISHED 1 for the end and nothing before. With any,
    success is the share of sub-tasks finished so far.

    STAGES pays as D4RL's `scripts/generation/generate_kitchen_datasets.py` labelled its data: a row for its own
    observation, with REMOVE_TASKS_WHEN_COMPLETE = False, so that nothing ends. The last row of each demonstration is
    terminal there all the same, whatever is complete in it.

    Observations are the robot's positions (9) and the objects' (21), both noisy, and the positions wanted (30), zero
    where nothing is: (60,). The noisy positions decide whether a sub-task is finished, and they are what the robot's
    next command starts from, as in D4RL. Actions are the nine joints' velocities, (9,), clipped to [-1, 1].
    """

    def __init__(self, level: str, rewards: str = ONCE):
        self.rewards = rewards
        self.robot = copy.copy(_robot())
        self.robot.data = mujoco.MjData(self.robot.model)
        self.model, self.data = self.robot.model, self.robot.data
        self.subtasks = SUBTASKS[level]
        self.unfinished = list(self.subtasks)
        self.stages = 0  #: sub-tasks that are complete in the last observation
        self.wanted = np.zeros(ROBOT_SIZE + OBJECTS_SIZE)
        for subtask in self.subtasks:
            self.wanted[OBS_ELEMENT_INDICES[subtask]] = OBS_ELEMENT_GOALS[subtask]
        self.observation_space = spaces.Box(-np.inf, np.inf, (60,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (ROBOT_SIZE,), np.float32)

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode: always from the same position, with other noise; there are no options."""
        super().reset(seed=seed)
        self.unfinished = list(self.subtasks)
        robot, _ = self.robot.reset(seed=seed)
        mujoco.mj_normalizeQuat(self.model, self.data.qpos)  # the kettle's, as the MuJoCo of D4RL's time did by itself
        observation = self._observation(robot)
        self.stages = len(self._complete(observation))
        return observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply the action for 0.08 seconds."""
        robot, *_ = self.robot.step(np.asarray(action, np.float64))
        observation = self._observation(robot)
        complete = self._complete(observation)
        finished = [subtask for subtask in self.unfinished if subtask in complete]
        self.unfinished = [subtask for subtask in self.unfinished if subtask not in finished]
        done = not self.unfinished
        reward = float({ONCE: len(finished), STAGES: self.stages, FINISHED: done}[self.rewards])
        self.stages = len(complete)
        success = 1.0 - len(self.unfinished) / len(self.subtasks)
        return observation, reward, done and self.rewards != STAGES, False, {"success": success}

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        unfinished = np.array([subtask in self.unfinished for subtask in self.subtasks])
        return {"unfinished": unfinished, "stages": np.array(self.stages), **robot_state(self.robot)}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        flags = zip(self.subtasks, saved["unfinished"], strict=True)
        self.unfinished = [subtask for subtask, unfinished in flags if unfinished]
        self.stages = int(saved["stages"])
        set_robot_state(self.robot, saved)

    def _observation(self, robot: np.ndarray) -> np.ndarray:
        """Return the observation; `robot` holds the robot's noisy positions and velocities."""
        noise = NOISE_RATIO * OBJECT_NOISE * self.robot.np_random.uniform(-1.0, 1.0, OBJECTS_SIZE)
        return np.concatenate([robot[:ROBOT_SIZE], self.data.qpos[ROBOT_SIZE:] + noise, self.wanted])

    def _complete(self, observation: np.ndarray) -> list[str]:
        """Return the sub-tasks that are complete in an observation."""
        away = {s: observation[OBS_ELEMENT_INDICES[s]] - OBS_ELEMENT_GOALS[s] for s in self.subtasks}
        return [subtask for subtask, distances in away.items() if np.linalg.norm(distances) < BONUS_THRESH]


@functools.cache
def _robot() -> Any:
    """Load the robot once: its model takes 100 MB and all simulators share it."""
    return KitchenEnv(robot_noise_ratio=NOISE_RATIO).robot_env


def robot_state(robot: Any) -> dict[str, np.ndarray]:
    """Return what the robot's next step and its observation depend on besides the simulator's state."""
    noise = json.dumps(robot.np_random.bit_generator.state).ljust(RANDOM_BYTES)
    return {"seen_positions": robot._last_robot_qpos.copy(), "noise": np.frombuffer(noise.encode(), np.uint8)}


def set_robot_state(robot: Any, saved: dict[str, np.ndarray]) -> None:
    """Take over what `robot_state` returned."""
    robot._last_robot_qpos = saved["seen_positions"].copy()
    robot.np_random.bit_generator.state = json.loads(saved["noise"].tobytes())
