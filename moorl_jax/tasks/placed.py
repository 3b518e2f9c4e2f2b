"""Save what a reset moves in a model as part of a simulator's state."""

from typing import Any

import gymnasium
import numpy as np

MOVED = ("body_pos", "body_quat", "site_pos")  #: parts of the model that a reset moves: targets, doors, boards, balls


class Placed(gymnasium.Env):
    """An environment whose saved state includes where its reset placed things."""

    model: Any  #: MuJoCo's; the environment that this is mixed into has it

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        return {name: getattr(self.model, name).copy() for name in MOVED}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        for name in MOVED:
            getattr(self.model, name)[:] = saved[name]
