"""The four Adroit hand tasks with D4RL's rewards and endings, on the robots of gymnasium-robotics.

Observations, actions, resets and physics are D4RL's there already (but for MuJoCo's version). Its rewards and endings
are not: door, hammer and relocate pay 0.1 a metre for the palm's distance where D4RL takes 0.1, and pen goes on after
the pen has been dropped. Horizons are in the catalogue.
Source: Farama-Foundation/D4RL `d4rl/hand_manipulation_suite/{pen,door,hammer,relocate}_v0.py`.
"""

from typing import Any

import numpy as np
from gymnasium_robotics.envs.adroit_hand.adroit_door import AdroitHandDoorEnv
from gymnasium_robotics.envs.adroit_hand.adroit_hammer import AdroitHandHammerEnv
from gymnasium_robotics.envs.adroit_hand.adroit_pen import AdroitHandPenEnv
from gymnasium_robotics.envs.adroit_hand.adroit_relocate import AdroitHandRelocateEnv

from moorl_jax.tasks.placed import Placed

Step = tuple[np.ndarray, float, bool, bool, dict[str, Any]]

DROPPED = 0.075  #: metres above the table below which the pen counts as dropped
DISTANCE_COST = 0.1  #: a metre, of the palm from what it should hold


class Measured(Placed):
    """The pen's task, which divides by lengths measured at the reset; they must be restored exactly."""

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        lengths = [self.pen_length, self.tar_length]
        return super().extra_state() | {"lengths": np.array(lengths)}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        super().set_extra_state(saved)
        self.pen_length, self.tar_length = saved["lengths"]


class _Reaching(Placed):
    """A task whose distance cost gymnasium-robotics adds where D4RL subtracts it."""

    data: Any  #: MuJoCo's

    def step(self, a: np.ndarray) -> Step:
        observation, reward, terminal, timeout, info = super().step(a)
        cost = DISTANCE_COST * float(np.linalg.norm(self._palm() - self._held()))
        return observation, float(reward) - 2.0 * cost, terminal, timeout, info

    def _palm(self) -> np.ndarray:
        return self.data.site("S_grasp").xpos

    def _held(self) -> np.ndarray:
        return self.data.body("Object").xpos


class Pen(Measured, AdroitHandPenEnv):
    """Turn a pen in the hand; dropping it costs 5 and ends the episode."""

    def step(self, a: np.ndarray) -> Step:
        """Apply the action."""
        observation, reward, _, timeout, info = super().step(a)
        dropped = bool(self.data.body("Object").xpos[2] < DROPPED)
        return observation, float(reward), dropped, timeout, info


class Door(_Reaching, AdroitHandDoorEnv):
    """Undo a latch and open a door."""

    def _held(self) -> np.ndarray:
        return self.data.site("S_handle").xpos


class Hammer(_Reaching, AdroitHandHammerEnv):
    """Pick up a hammer and drive a nail in."""


class Relocate(_Reaching, AdroitHandRelocateEnv):
    """Bring a ball to a place in the air."""


HANDS = {"pen": Pen, "door": Door, "hammer": Hammer, "relocate": Relocate}
