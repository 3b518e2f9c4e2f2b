"""dm_control's suite, by its state or seen through a camera as V-D4RL recorded it, each action taken twice.

Episodes last 500 env steps, which dm_control counts as 1000. On Linux without a display it renders by EGL, unless
MUJOCO_GL says otherwise.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.spaces import Box

from moorl_jax.errors import NotAvailableError
from moorl_jax.footage import STACK

EGL_PACKAGES = "libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0 libgbm1"

# dm_control reads it when it is imported. Linux servers have no display. It is unset again, for a process started from
# here would import MuJoCo with it, which fails where EGL is missing.
without_display = sys.platform == "linux" and not os.environ.get("DISPLAY") and "MUJOCO_GL" not in os.environ
if without_display:
    os.environ["MUJOCO_GL"] = "egl"
try:
    from dm_control import suite
    from dm_control.mujoco import Camera
except (AttributeError, ImportError, RuntimeError) as error:
    if isinstance(error, ModuleNotFoundError):
        raise
    raise NotAvailableError(
        f"dm_control cannot render here, MUJOCO_GL is '{os.environ.get('MUJOCO_GL', '')}' ({error}); EGL needs no "
        f"display, and on Debian and Ubuntu the packages {EGL_PACKAGES}; tasks by their state run with "
        "MUJOCO_GL=disable"
    ) from error
finally:
    if without_display:
        del os.environ["MUJOCO_GL"]

# A context of OpenGL belongs to the thread that made it, and simulators are reset, stepped and closed by several.
_DRAWING = ThreadPoolExecutor(1, "drawing")
ACTION_REPEAT = 2
CAMERA = 0


class Control(gymnasium.Env):
    """A task of the suite by its state, by names like `cheetah_run`."""

    def __init__(self, name: str):
        domain, _, task = name.partition("_")
        self._environment = suite.load(domain, task, task_kwargs={"random": 0})
        self._physics = self._environment.physics
        bounds = self._environment.action_spec()
        assert (bounds.maximum == 1).all(), name
        self.action_space = Box(-1.0, 1.0, bounds.shape, np.float32)
        self.observation_space = Box(-np.inf, np.inf, self.sight().shape, np.float64)

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self._physics.model.ptr

    @property
    def data(self) -> Any:
        """MuJoCo's state."""
        return self._physics.data.ptr

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; there are no options."""
        super().reset(seed=seed)
        if seed is not None:
            self._environment.task.random.seed(seed)
        self._environment.reset()
        return self._observe(begins=True), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply the action twice and add the rewards. These tasks end only by time-out."""
        reward = 0.0
        for _ in range(ACTION_REPEAT):
            moment = self._environment.step(np.asarray(action, np.float64))
            reward += moment.reward
            if moment.last():
                break
        return self._observe(), reward, moment.last() and moment.discount == 0.0, False, {}

    def sight(self) -> np.ndarray:
        """Return the suite's own observation of the state, flattened."""
        parts = self._environment.task.get_observation(self._physics).values()
        return np.concatenate([np.ravel(part) for part in parts])

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        return {"suite_clock": np.array(self._environment._step_count)}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        self._environment._step_count = int(saved["suite_clock"])

    def recompute(self) -> None:
        """Recompute from the simulator's state what the suite keeps between steps."""
        mujoco.mj_step1(self.model, self.data)

    def _observe(self, begins: bool = False) -> np.ndarray:
        return self.sight()


class Pixels(Control):
    """The same through camera 0: stacks of three frames, (size, size, 9) uint8, the oldest first."""

    def __init__(self, name: str, size: int = 84):
        super().__init__(name)
        # The buffer it renders into need not be larger than what is read of it; the pixels are the same.
        self._physics.model.vis.global_.offwidth = self._physics.model.vis.global_.offheight = size
        self.observation_space = Box(0, 255, (size, size, 3 * STACK), np.uint8)
        self._camera = _DRAWING.submit(Camera, self._physics, size, size, CAMERA).result()
        self._frames = np.zeros((STACK, size, size, 3), np.uint8)

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's, with the stack of frames."""
        return super().extra_state() | {"frames": self._frames}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        super().set_extra_state(saved)
        self._frames = saved["frames"].copy()

    def close(self) -> None:
        """Release the renderer."""
        _DRAWING.submit(self._physics.free).result()

    def _observe(self, begins: bool = False) -> np.ndarray:
        """Return the stack with a new frame; at a reset, that frame three times."""
        frame = self._rendered()[None]
        self._frames = np.repeat(frame, STACK, axis=0) if begins else np.concatenate([self._frames[1:], frame])
        return np.concatenate(list(self._frames), axis=-1)

    def _rendered(self) -> np.ndarray:
        image: np.ndarray = _DRAWING.submit(self._camera.render).result()
        return image
