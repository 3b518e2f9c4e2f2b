"""Locomotion's robots and AntMaze's ant, many at once: MuJoCo's steps in threads, all else vectorised in NumPy.

Each simulator is the environment that is stepped alone elsewhere: it resets itself, and it is saved and restored as
ever. Only its `step` is taken over, with the same operations on the same numbers, so that not a bit differs.

`mujoco.mj_step` releases the interpreter, and nothing else runs in the threads. `mujoco.rollout` would spare them the
interpreter's lock, but it returns positions and velocities without the warm start of the solver, which the next step
begins from: a loop closed through it departs from gymnasium's within a few steps, in the last bits first. Nor does it
return what Ant and Humanoid are paid for, and what Humanoid observes.
"""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import gymnasium
import mujoco
import numpy as np

from moorl_jax.cores import usable_cores
from moorl_jax.tasks import antmaze
from moorl_jax.tasks.environments import time_limit
from moorl_jax.tasks.stepping import InTurn, Steps
from moorl_jax.tasks.task import Task


class InThreads(InTurn):
    """Simulators whose MuJoCo steps run in a thread a core: the calling one, and helpers."""

    after_step: Callable[[Any, Any], None] | None = None  #: what MuJoCo has still to compute for the observation

    def __init__(self, simulators: list[gymnasium.Env], frame_skip: int):
        super().__init__(simulators)
        self._frame_skip = frame_skip
        self._inner: list[Any] = [simulator.unwrapped for simulator in simulators]
        self._limits = [time_limit(simulator) for simulator in simulators]
        # Views of MuJoCo's own memory; to ask for one takes as long as to copy it.
        self._qpos, self._qvel, self._control = (self._views(name) for name in ("qpos", "qvel", "ctrl"))
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        helpers = range(min(usable_cores(), len(simulators)) - 1)
        self._helpers = [threading.Thread(target=_help, args=(self._jobs,), daemon=True) for _ in helpers]
        for helper in self._helpers:
            helper.start()

    def close(self) -> None:
        """Close all simulators and end the threads."""
        for _ in self._helpers:
            self._jobs.put(None)
        for helper in self._helpers:
            helper.join()
        super().close()

    def _views(self, name: str) -> list[np.ndarray]:
        """Return an array of MuJoCo's, flat, of every simulator."""
        return [getattr(inner.data, name).reshape(-1) for inner in self._inner]

    def _simulate(self, places: list[int], control: np.ndarray) -> np.ndarray:
        """Apply `control`, (places, actuators), for an env step; return which places it took to the horizon."""
        for place, row in zip(places, control, strict=True):
            self._control[place][:] = row
        # All threads take from one iterator: whoever is late, for another program has its core, leaves more to others.
        left, taken = iter(places), SimpleQueue[int | Exception]()

        def help_out() -> None:
            try:
                taken.put(self._work(left))
            except Exception as error:
                taken.put(error)

        for _ in range(min(len(self._helpers), len(places) - 1)):
            self._jobs.put(help_out)
        missing = len(places) - self._work(left)
        while missing:  # a helper that found nothing left need not be waited for
            count = taken.get()
            if isinstance(count, Exception):
                raise count
            missing -= count
        limits = [self._limits[place] for place in places]
        for limit in limits:
            limit._elapsed_steps += 1
        return np.array([limit._elapsed_steps >= limit._max_episode_steps for limit in limits])

    def _work(self, left: Iterator[int]) -> int:
        """Step simulators until none is left; return how many."""
        count = 0
        for place in left:
            inner = self._inner[place]
            mujoco.mj_step(inner.model, inner.data, self._frame_skip)
            if self.after_step:
                self.after_step(inner.model, inner.data)
            count += 1
        return count


def _help(jobs: "SimpleQueue[Callable[[], None] | None]") -> None:
    while job := jobs.get():
        job()


def _gathered(views: list[np.ndarray], places: list[int]) -> np.ndarray:
    """Copy what MuJoCo holds for some places, (places, size)."""
    return np.concatenate([views[place] for place in places]).reshape(len(places), -1)


class Locomotion(InThreads):
    """A robot that is paid for its speed along x and for being healthy, and pays for its actions.

    Source: Farama-Foundation/Gymnasium 1.4 `envs/mujoco/*_v4.py`, and `*_v5.py` for the robots of Minari's sets.
    """

    speed_pays = 1.0
    health_pays = 1.0
    control_costs: float
    hidden = 1  #: positions, the first ones, that are not observed
    fastest = np.inf  #: velocities are observed up to it

    def __init__(self, task: Task, simulators: list[gymnasium.Env]):
        first: Any = simulators[0].unwrapped
        super().__init__(simulators, first.frame_skip)
        self._seconds = first.dt
        self._only_healthy = task.environment.endswith("-v5")  # -v4 pays at every step, at the last one too

    def step(self, places: np.ndarray, actions: np.ndarray) -> Steps:
        """Take an env step in each place."""
        chosen, control = places.tolist(), self._scaled(actions)
        before = self._along(chosen)
        timeouts = self._simulate(chosen, control)
        speeds = (self._along(chosen) - before) / self._seconds
        qpos, qvel = _gathered(self._qpos, chosen), _gathered(self._qvel, chosen)
        healthy = self._healthy(qpos, qvel)
        health = self.health_pays * (healthy if self._only_healthy else 1.0)
        rewards = self.speed_pays * speeds + health - self.control_costs * np.sum(np.square(control), axis=1)
        seen = [qpos[:, self.hidden :], np.clip(qvel, -self.fastest, self.fastest), *self._also_seen(chosen)]
        return Steps(np.concatenate(seen, axis=1), rewards, ~healthy, timeouts, np.full(len(chosen), np.nan))

    def _scaled(self, actions: np.ndarray) -> np.ndarray:
        """Return what the actuators are given."""
        return actions

    def _along(self, places: list[int]) -> np.ndarray:
        """Return where on x the robots are, in metres, (places,)."""
        return np.array([self._qpos[place][0] for place in places])

    def _healthy(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """Return which robots may go on, (places,); NaN is not healthy."""
        return np.ones(len(qpos), bool)

    def _also_seen(self, places: list[int]) -> list[np.ndarray]:
        """Return what is observed after positions and velocities, each (places, size)."""
        return []


class HalfCheetah(Locomotion):
    """It may fall as it likes."""

    health_pays = 0.0
    control_costs = 0.1


class Hopper(Locomotion):
    """It must stand upright."""

    control_costs = 1e-3
    fastest = 10.0

    def _healthy(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        height, angle = qpos[:, 1], qpos[:, 2]
        moderate = (np.abs(qpos[:, 2:]) < 100.0).all(axis=1) & (np.abs(qvel) < 100.0).all(axis=1)
        return moderate & (height > 0.7) & (height < np.inf) & (np.abs(angle) < 0.2)


class Walker2d(Locomotion):
    """It must stand nearly upright."""

    control_costs = 1e-3
    fastest = 10.0

    def _healthy(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        height, angle = qpos[:, 1], qpos[:, 2]
        return (height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0)


class Ant(Locomotion):
    """Its torso is measured where MuJoCo's last step saw it; D4RL's observation ends in contact forces, all zero."""

    control_costs = 0.5
    hidden = 2

    def __init__(self, task: Task, simulators: list[gymnasium.Env]):
        super().__init__(task, simulators)
        self._torsos = [inner.data.body("torso").xpos for inner in self._inner]
        self._contacts = task.observation_shape[0] - (len(self._qpos[0]) - self.hidden + len(self._qvel[0]))

    def _along(self, places: list[int]) -> np.ndarray:
        return np.array([self._torsos[place][0] for place in places])

    def _healthy(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        height = qpos[:, 2]
        finite = np.isfinite(qpos).all(axis=1) & np.isfinite(qvel).all(axis=1)
        return finite & (height >= 0.2) & (height <= 1.0)

    def _also_seen(self, places: list[int]) -> list[np.ndarray]:
        return [np.zeros((len(places), self._contacts))]


class Humanoid(Locomotion):
    """Its centre of mass is measured; inertias, velocities and forces of its bodies are observed."""

    speed_pays = 1.25
    health_pays = 5.0
    control_costs = 0.1
    hidden = 2
    after_step = staticmethod(mujoco.mj_rnePostConstraint)  # contact forces

    def __init__(self, task: Task, simulators: list[gymnasium.Env]):
        super().__init__(task, simulators)
        self._bodies = [self._views(name) for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")]

    def _scaled(self, actions: np.ndarray) -> np.ndarray:
        return self.simulators[0].get_wrapper_attr("func")(actions).astype(np.float64)  # of RescaleAction

    def _along(self, places: list[int]) -> np.ndarray:
        masses = self._inner[0].model.body_mass
        # One by one, as gymnasium does: of all at once `einsum` may add up in another order.
        centres = [np.einsum("b,bj->j", masses, self._inner[place].data.xipos) for place in places]
        return np.stack(centres)[:, 0] / masses.sum()

    def _healthy(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        height = qpos[:, 2]
        return (height > 1.0) & (height < 2.0)

    def _also_seen(self, places: list[int]) -> list[np.ndarray]:
        return [_gathered(views, places) for views in self._bodies]


ROBOTS: dict[str, type[Locomotion]] = {
    "halfcheetah": HalfCheetah,
    "hopper": Hopper,
    "walker2d": Walker2d,
    "ant": Ant,
    "humanoid": Humanoid,
}


class Mazes(InThreads):
    """`antmaze.AntMaze`: the goal pays and ends the episode."""

    def __init__(self, simulators: list[gymnasium.Env]):
        super().__init__(simulators, antmaze.FRAME_SKIP)

    def step(self, places: np.ndarray, actions: np.ndarray) -> Steps:
        """Take an env step in each place."""
        chosen = places.tolist()
        timeouts = self._simulate(chosen, antmaze.torques(actions))
        qpos, qvel = _gathered(self._qpos, chosen), _gathered(self._qvel, chosen)
        reached = antmaze.reached(qpos[:, :2], np.stack([self._inner[place].goal for place in chosen]))
        observations = np.concatenate([qpos, qvel], axis=1)
        return Steps(observations, reached.astype(np.float64), reached, timeouts, np.full(len(chosen), np.nan))
