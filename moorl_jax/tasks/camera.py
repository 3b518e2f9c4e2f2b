"""A camera on a MuJoCo simulator, on machines without a display too; of any other, what it draws itself."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import TracebackType
from typing import Any
from unittest.mock import patch

import gymnasium
import numpy as np
from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

from moorl_jax.errors import NotAvailableError, one_line
from moorl_jax.tasks import own
from moorl_jax.tasks.catalogue import Task
from moorl_jax.tasks.environments import make_environment

WIDTH = HEIGHT = 480
FREE = -1  #: the number of the camera that stands nowhere in the model

VIEWS: dict[str, dict[str, float | tuple[float, ...]]] = {
    "antmaze": {"elevation": -70.0},
    "kitchen": {"lookat": (-0.2, 0.5, 2.0), "distance": 2.2, "azimuth": 70.0, "elevation": -35.0},
}
"""Where to look from in families whose models have no camera that shows all."""


class Camera:
    """Draws what a simulator shows: through its model's first camera, or one that suits the task's family better."""

    def __init__(self, task: Task, environment: gymnasium.Env):
        """Raise NotAvailableError where this machine cannot render."""
        simulator: Any = environment.unwrapped
        visual, view = simulator.model.vis, VIEWS.get(task.family)
        # The buffer of a task that is seen as images is as small as these.
        visual.global_.offwidth = visual.global_.offheight = WIDTH
        if not simulator.model.nlight:
            visual.headlight.diffuse[:] = 0.8
        self._viewer = _viewer(simulator)
        self._camera = FREE if view or not simulator.model.ncam else 0
        for name, value in (view or {}).items():
            if isinstance(value, tuple):
                getattr(self._viewer.cam, name)[:] = value
            else:
                setattr(self._viewer.cam, name, value)

    def frame(self) -> np.ndarray:
        """Return the picture, (HEIGHT, WIDTH, 3) bytes."""
        picture: np.ndarray = self._viewer.render("rgb_array", camera_id=self._camera)
        return picture

    def __enter__(self) -> "Camera":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Before its context of OpenGL, else the next viewer's pictures are empty.
        self._viewer.make_context_current()
        self._viewer.con.free()
        self._viewer.free()


@contextmanager
def filmed(task: Task) -> Iterator[tuple[gymnasium.Env, Callable[[], np.ndarray]]]:
    """Make a simulator; yield it with what draws it: a camera, or its own `render` where it has no MuJoCo model.

    Raises NotAvailableError where neither can.
    """
    with closing(make_environment(task)) as environment:
        simulator: Any = environment.unwrapped
        if hasattr(simulator, "model") and hasattr(simulator, "data"):
            with Camera(task, environment) as camera:
                yield environment, camera.frame
            return
    with closing(own.make(task, render_mode="rgb_array")) as environment:
        render: Any = environment.render
        try:
            environment.reset(seed=0)
            fault = "" if np.shape(render())[2:] == (3,) else "without a MuJoCo model it needs render_mode='rgb_array'"
        except Exception as error:  # a package that draws may be missing
            fault = one_line(error)
        if fault:
            raise NotAvailableError(f"{task.name} cannot be filmed: {fault}")
        yield environment, render


def _viewer(simulator: Any) -> OffScreenViewer:
    """Return a viewer by MUJOCO_GL, or by the first of the ways to render that works here."""
    headless = sys.platform == "linux" and not os.environ.get("DISPLAY")
    ways = [os.environ["MUJOCO_GL"]] if "MUJOCO_GL" in os.environ else ["egl", "osmesa"]
    if "MUJOCO_GL" not in os.environ and not headless:
        ways.insert(0, "glfw")
    faults = []
    for way in ways:
        try:
            with patch.dict(os.environ, MUJOCO_GL=way):  # which the viewer reads
                return OffScreenViewer(simulator.model, simulator.data, WIDTH, HEIGHT)
        except Exception as error:  # each way has kinds of its own
            faults.append(f"{way}: {one_line(error, 80)}")
    raise NotAvailableError(
        f"this machine cannot render ({'; '.join(faults)}); on Debian and Ubuntu libegl1 and libegl-mesa0 can, "
        "with MUJOCO_GL=egl"
    )
