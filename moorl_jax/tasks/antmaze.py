"""AntMaze with D4RL's constants: an ant walks through a maze to a goal that it does not observe.

The `AntMaze` environments of gymnasium-robotics are another robot (half the time step, another gear, other contacts)
in mazes with another origin and another goal. This one has D4RL's numbers, which its `-v2` datasets were made with.
Source: Farama-Foundation/D4RL `d4rl/locomotion/{ant,maze_env,goal_reaching_env,wrappers}.py`, `assets/ant.xml`.
"""

from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

# Walls are #. Evaluation starts at s, and its goal is at g or e; the goals of play in the datasets are at g and p.
MAZES = {
    "umaze": (
        "#####",
        "#s  #",
        "### #",
        "#g  #",
        "#####",
    ),
    "medium": (
        "########",
        "#s ##  #",
        "#  #  p#",
        "##   ###",
        "#  #   #",
        "#p#  # #",
        "#   #pe#",
        "########",
    ),
    "large": (
        "############",
        "#s   #p    #",
        "# ## # # # #",
        "#    p #  p#",
        "# #### ### #",
        "# p# #     #",
        "## # # # ###",
        "#  #p p# g #",
        "############",
    ),
}
CELL = 4.0  #: metres a side
WALL_HEIGHT = 2.0
GOAL_RADIUS = 0.5
FORCE = 30.0  #: newton metres at an action of 1
FRAME_SKIP = 5  #: of 0.02 s each

# Direction of each leg, and the axis and range in degrees of its ankle, in the order of the joints.
_LEGS = (
    ((1, 1), (-1, 1), (30, 70)),
    ((-1, 1), (1, 1), (-70, -30)),
    ((-1, -1), (-1, 1), (-70, -30)),
    ((1, -1), (1, 1), (30, 70)),
)
_DRIVEN = (4, 1, 2, 3)  #: legs in the order of the actions, hip then ankle


class Maze:
    """A maze's cells, as (row, column), and where they lie: the start is the origin, x grows with the column."""

    def __init__(self, name: str):
        cells = {(r, c): mark for r, line in enumerate(MAZES[name]) for c, mark in enumerate(line)}
        self.walls = frozenset(cell for cell, mark in cells.items() if mark == "#")
        self.free = tuple(cell for cell, mark in cells.items() if mark != "#")
        (self.start,) = (cell for cell, mark in cells.items() if mark == "s")
        (self.goal,) = (cell for cell, mark in cells.items() if mark in "ge")
        self.play_goals = tuple(cell for cell, mark in cells.items() if mark in "gp")

    def position(self, cell: tuple[int, int]) -> np.ndarray:
        """Return the (x, y) of a cell's centre, in metres."""
        return CELL * np.array([cell[1] - self.start[1], cell[0] - self.start[0]], np.float64)

    def goal_near(self, cell: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Draw a goal in a cell as D4RL does: past its centre by U(0, 1) + U(0, 0.5) metres on each axis."""
        return np.maximum(self.position(cell) + rng.uniform(0.0, 1.0, 2) + rng.uniform(0.0, 0.5, 2), 0.0)


def torques(actions: np.ndarray) -> np.ndarray:
    """Return what the joints are given, (..., 8), in newton metres."""
    return FORCE * np.clip(actions, -1.0, 1.0)


def reached(places: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Return whether an ant at (x, y) is at its goal, (..., 2) each."""
    return np.linalg.norm(places - goals, axis=-1) <= GOAL_RADIUS


class AntMaze(gymnasium.Env):
    """Reward 1 within half a metre of the goal, which ends the episode, and 0 before.

    Observations are positions (15, of which x and y come first) and velocities (14), (29,). Actions, (8,), are clipped
    to [-1, 1]. Every episode starts at the maze's start with a new goal in the maze's goal cell, as in `-v2`.
    """

    def __init__(self, name: str, ends_at_goal: bool = True):
        self.maze, self._ends_at_goal = Maze(name), ends_at_goal
        self.model = mujoco.MjModel.from_xml_string(_mjcf(self.maze))
        self.data = mujoco.MjData(self.model)
        self.goal = self.maze.position(self.maze.goal)
        self.observation_space = spaces.Box(-np.inf, np.inf, (29,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (8,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; `options` may name its `position` and its `goal`, each an (x, y)."""
        super().reset(seed=seed)
        options = options or {}
        goal = options.get("goal")
        self.goal = self.maze.goal_near(self.maze.goal, self.np_random) if goal is None else np.asarray(goal)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos += self.np_random.uniform(-0.1, 0.1, self.model.nq)
        self.data.qvel[:] = 0.1 * self.np_random.standard_normal(self.model.nv)
        if "position" in options:
            self.data.qpos[:2] = options["position"]
        mujoco.mj_normalizeQuat(self.model, self.data.qpos)  # as the MuJoCo of D4RL's time did by itself
        mujoco.mj_forward(self.model, self.data)
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply the action for a tenth of a second."""
        self.data.ctrl[:] = torques(action)
        mujoco.mj_step(self.model, self.data, FRAME_SKIP)
        paid = bool(reached(self.data.qpos[:2], self.goal))
        return self._observation(), float(paid), paid and self._ends_at_goal, False, {}

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        return {"goal": self.goal}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        self.goal = saved["goal"]

    def _observation(self) -> np.ndarray:
        return np.concatenate([self.data.qpos, self.data.qvel])


def _mjcf(maze: Maze) -> str:
    """Write the ant and the maze as a MuJoCo model."""
    legs = "".join(_leg(number, *leg) for number, leg in enumerate(_LEGS, start=1))
    walls = ""
    for cell in sorted(maze.walls):
        x, y = maze.position(cell)
        walls += (
            f'<geom type="box" pos="{x} {y} {WALL_HEIGHT / 2}" size="{CELL / 2} {CELL / 2} {WALL_HEIGHT / 2}" '
            'contype="1" conaffinity="1"/>'
        )
    motors = "".join(
        f'<motor joint="{joint}_{leg}" ctrlrange="-{FORCE} {FORCE}" ctrllimited="true"/>'
        for leg in _DRIVEN
        for joint in ("hip", "ankle")
    )
    return f"""
<mujoco>
  <option timestep="0.02" integrator="RK4"/>
  <default>
    <joint limited="true" armature="1" damping="1"/>
    <geom condim="3" conaffinity="0" margin="0.01" friction="1 0.5 0.5" solref="0.02 1" solimp="0.8 0.8 0.01"
          density="5"/>
  </default>
  <worldbody>
    <geom type="plane" size="40 40 40" conaffinity="1"/>
    {walls}
    <body name="torso" pos="0 0 0.75">
      <freejoint name="root"/>
      <geom type="sphere" size="0.25"/>
      {legs}
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>"""


def _leg(number: int, direction: tuple[int, int], axis: tuple[int, int], range_: tuple[int, int]) -> str:
    """Write a leg of three capsules: fixed to the torso, turning at the hip, bending at the ankle."""
    dx, dy = direction
    segment = f"{0.2 * dx} {0.2 * dy} 0"

    def capsule(length: float) -> str:
        return f'<geom type="capsule" size="0.08" fromto="0 0 0 {length * dx} {length * dy} 0"/>'

    return f"""
      <body>
        {capsule(0.2)}
        <body pos="{segment}">
          <joint name="hip_{number}" type="hinge" axis="0 0 1" range="-30 30"/>
          {capsule(0.2)}
          <body pos="{segment}">
            <joint name="ankle_{number}" type="hinge" axis="{axis[0]} {axis[1]} 0" range="{range_[0]} {range_[1]}"/>
            {capsule(0.4)}
          </body>
        </body>
      </body>"""
