"""The policy behind D4RL's AntMaze data: an ant that walks in a given direction, led from cell to cell.

Source: Farama-Foundation/D4RL `scripts/generation/generate_ant_maze_datasets.py`, `d4rl/locomotion/maze_env.py`.
"""

from collections import deque
from typing import Any

import numpy as np

from moorl_jax.data.behaviour import Behaviour
from moorl_jax.tasks.antmaze import CELL, Maze

ACTION_NOISE = 0.2  #: standard deviation added to the walker's actions
DIRECTION_NORM = 10.0  #: metres to which the walker's goal is scaled, whatever its distance
NEIGHBOURS = ((0, -1), (0, 1), (1, 0), (-1, 0))

Cell = tuple[int, int]


class Navigator:
    """Walks to a goal by way of the next cell on a shortest path, whose waypoint is drawn anew at every step.

    Each episode's goal lies in one of `goals` and its start in one of `starts`; without any, it is the maze's own.
    """

    def __init__(self, walker: Behaviour, maze: Maze, goals: tuple[Cell, ...], starts: tuple[Cell, ...] = ()):
        self.walker, self._maze = walker, maze
        self._goals, self._starts = goals, starts
        self._goal = maze.position(maze.goal)
        self._next: dict[Cell, dict[Cell, Cell]] = {}  # target -> cell -> the next one on the way

    def begin(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a goal and, where there are starts to choose from, a position."""
        self._goal = self._maze.goal_near(self._goals[rng.integers(len(self._goals))], rng)
        if not self._starts:
            return {"goal": self._goal}
        start = self._maze.position(self._starts[rng.integers(len(self._starts))])
        return {"goal": self._goal, "position": np.maximum(start + rng.uniform(0.0, 1.0, 2), 0.0)}

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Return the walker's action towards the waypoint, with noise; its density is not known."""
        place = observation[:2]
        here, target = self._cell(place), self._cell(self._goal)
        following = self._toward(target).get(here, target)
        waypoint = self._goal
        if following != target:
            waypoint = self._maze.position(following) + rng.uniform(0.0, CELL / 4, 2)
        direction = waypoint - place
        direction *= DIRECTION_NORM / max(float(np.linalg.norm(direction)), 1e-9)
        action, _ = self.walker.act(np.concatenate([observation[2:], direction]), rng)
        return np.clip(action + ACTION_NOISE * rng.standard_normal(len(action)), -1.0, 1.0), float("nan")

    def _cell(self, place: np.ndarray) -> Cell:
        """Return the cell D4RL takes a place to be in, which is by its corner, not its centre."""
        column, row = (np.maximum(place, 1e-4) / CELL).astype(int)
        return int(row) + self._maze.start[0], int(column) + self._maze.start[1]

    def _toward(self, target: Cell) -> dict[Cell, Cell]:
        """Return the next cell on a shortest way to the target, from free cells and from walls beside them.

        From a wall, too: an ant near the upper corner of a cell is taken to be in the one before it. Where D4RL finds
        no way at all, from a wall in a corner, it fails; here the ant walks straight to its goal.
        """
        if target not in self._next:
            following, queue = {target: target}, deque([target])
            while queue:
                cell = queue.popleft()
                for down, right in NEIGHBOURS:
                    neighbour = (cell[0] + down, cell[1] + right)
                    if neighbour not in following:
                        following[neighbour] = cell
                        if neighbour in self._maze.free:
                            queue.append(neighbour)
            self._next[target] = following
        return self._next[target]
