"""Meta-World's Sawyer arm, each episode with its own goal in sight, and lifting, which Meta-World does not have.

Observations are Meta-World's 39 numbers: hand, gripper and object now and a step before, and the goal. Actions move the
hand (3) and close the gripper (1). An episode never ends before its horizon. Rewards lie in [0, 10] a step; success, as
Meta-World defines it for each task, is in `info`.
Source: Farama-Foundation/Metaworld 3.1.1 `sawyer_xyz_env.py`, `envs/`; McLean et al. 2025, arXiv 2505.11289.
"""

from typing import Any

import numpy as np
from gymnasium.spaces import Box
from metaworld.envs.sawyer_basketball_v3 import SawyerBasketballEnvV3
from metaworld.envs.sawyer_coffee_pull_v3 import SawyerCoffeePullEnvV3
from metaworld.envs.sawyer_coffee_push_v3 import SawyerCoffeePushEnvV3
from metaworld.envs.sawyer_pick_place_v3 import SawyerPickPlaceEnvV3
from metaworld.envs.sawyer_push_v3 import SawyerPushEnvV3
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from moorl_jax.tasks.placed import Placed

MEASURED = ("_target_pos", "obj_init_pos", "init_tcp", "init_left_pad", "init_right_pad", "_prev_obs")
LIFTED = 0.2  #: metres above its start that the lifted puck is to be; Meta-World counts 0.07 around it as there


class Sawyer(Placed, SawyerXYZEnv):
    """A task of Meta-World, its start and goal drawn anew from each episode's seed; `sparse` pays success alone.

    Meta-World's own benchmarks hide the goal or repeat fifty of them.
    """

    def __init__(self, sparse: bool = False):
        super().__init__()
        self.sparse = sparse
        self._partially_observable = False
        self._freeze_rand_vec, self.seeded_rand_vec, self._set_task_called = False, True, True
        del self.sawyer_observation_space  # computed while the goal was hidden
        self.observation_space = self.sawyer_observation_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; there are no options."""
        if seed is not None:
            self.np_random = np.random.default_rng(seed)  # Meta-World ignores the seed
        return super().reset(options=options)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply the action."""
        observation, reward, terminal, timeout, info = super().step(action)
        return observation, float(info["success"] if self.sparse else reward), terminal, timeout, info

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        measured = {name: np.array(getattr(self, name)) for name in MEASURED if not self._follows(name)}
        return super().extra_state() | measured | {"episode_step": np.array(self.curr_path_length)}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        super().set_extra_state(saved)
        for name in MEASURED:
            if not self._follows(name):
                setattr(self, name, saved[name].copy())
        self.curr_path_length = int(saved["episode_step"])

    def _follows(self, name: str) -> bool:
        """Whether an attribute is a view of the simulator's data, as some of Meta-World's are."""
        value = getattr(self, name)
        return np.shares_memory(value, self.data.xpos) or np.shares_memory(value, self.data.site_xpos)


class Push(Sawyer, SawyerPushEnvV3):
    """Push a puck to a place on the table."""


class CoffeePush(Sawyer, SawyerCoffeePushEnvV3):
    """Push a mug under a coffee machine."""


class CoffeePull(Sawyer, SawyerCoffeePullEnvV3):
    """Pull a mug away from a coffee machine."""


class Basketball(Sawyer, SawyerBasketballEnvV3):
    """Put a ball into a basket."""


class Lift(Sawyer, SawyerPickPlaceEnvV3):
    """Lift a puck: Meta-World's pick-place, rewards and all, with the goal straight above the start; ours."""

    def __init__(self, sparse: bool = False):
        super().__init__(sparse)
        starts, up = self._random_reset_space, np.array([0.0, 0.0, LIFTED])
        self.goal_space = Box(starts.low[:3] + up, starts.high[:3] + up, dtype=np.float64)
        del self.sawyer_observation_space
        self.observation_space = self.sawyer_observation_space

    def reset_model(self) -> np.ndarray:
        """Put the puck on the table and the goal above it."""
        super().reset_model()
        self._target_pos = self.obj_init_pos + np.array([0.0, 0.0, LIFTED])
        self.model.site("goal").pos = self._target_pos
        return self._get_obs()


ROBOTS = {"push": Push, "coffee-push": CoffeePush, "coffee-pull": CoffeePull, "basketball": Basketball, "lift": Lift}
