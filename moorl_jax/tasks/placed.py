"""What a reset moves in a model, as part of a simulator's saved state."""

import gymnasium
import numpy as np

MOVED = ("body_pos", "body_quat", "site_pos")  #: parts of the model that a reset moves: targets, doors, boards, balls


class Placed(gymnasium.Env):
    """An environment that can be saved: where a reset put things is part of its state."""

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return what an episode goes by besides the simulator's state."""
        return {name: getattr(self.model, name).copy() for name in MOVED}  # type: ignore[attr-defined]

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Take over what `extra_state` returned."""
        for name in MOVED:
            getattr(self.model, name)[:] = saved[name]  # type: ignore[attr-defined]
