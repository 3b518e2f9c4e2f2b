"""OGBench's single tasks: its own environments, each episode repeatable from its seed and able to be saved.

Source: seohongpark/ogbench 1.2 `ogbench/manipspace/`, `ogbench/locomaze/`, `ogbench/relabel_utils.py`; Park, Frans,
Eysenbach and Levine 2025, arXiv 2410.20092.
"""

import inspect
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import mujoco
import numpy as np
import ogbench.locomaze
import ogbench.manipspace  # both register their environments
import ogbench.manipspace.envs.env  # noqa: F401  now, for it imports a viewer, which complains where there is no display
from gymnasium import spaces
from gymnasium.envs.registration import load_env_creator
from ogbench.locomaze import maze as mazes
from ogbench.locomaze.humanoid import HumanoidEnv
from ogbench.relabel_utils import relabel_dataset

#: What an environment knows beside the simulator, of those that have it.
KNOWN = (
    "_success",
    "_cur_button_states",
    "_target_button_states",
    "_target_drawer_pos",
    "_target_window_pos",
    "cur_goal_xy",
)
SITES = ("site_xpos", "site_xmat")  #: the next command starts from where the last step saw the gripper
RANDOM_BYTES = 512  #: room for a random generator's state as text
MAKING = threading.Lock()  #: of a maze
GLOBAL = threading.Lock()  #: of NumPy's global generator, which the mazes draw from


class Single(gymnasium.Env):
    """One of an environment's five tasks; success ends the episode.

    As OGBench has it since 1.2, a step is paid, and ends, for the state that it begins in: `as_data` pays as OGBench
    does, -1 (of a scene or a puzzle -1 for each unfinished part, unless it is `sparse`), and 0 at the step from the
    goal. Without, it is 1 for that step and 0 for all others, so that an episode returns its success.
    """

    def __init__(self, name: str, as_data: bool, sparse: bool = False):
        """Make it; `name` is its gymnasium id."""
        self.inner = make(name)
        self.as_data, self.sparse = as_data, sparse
        self.observation_space, self.action_space = self.inner.observation_space, self.inner.action_space
        self._chance = np.random.RandomState()

    @property
    def model(self) -> Any:
        """MuJoCo's model."""
        return self.inner.model

    @property
    def data(self) -> Any:
        """MuJoCo's data."""
        return self.inner.data

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode; there are no options."""
        super().reset(seed=seed)
        seeds = self.np_random.integers(2**31, size=3).tolist()
        self._chance.seed(seeds[0])
        self.inner.action_space.seed(seeds[1])  # it takes random steps at the goal first
        with self._drawing():
            observation, _ = self.inner.reset(seed=seeds[2])
        return observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Apply the action."""
        with self._drawing():
            observation, reward, terminal, _, info = self.inner.step(action)
        success = float(info["success"])
        paid = success - 1.0 if self.sparse else float(reward)
        return observation, paid if self.as_data else success, bool(terminal), False, {"success": success}

    def close(self) -> None:
        """Close the simulator."""
        self.inner.close()

    def extra_state(self) -> dict[str, np.ndarray]:
        """Return the environment's state beyond the simulator's."""
        known = {name: np.array(getattr(self.inner, name)) for name in KNOWN if hasattr(self.inner, name)}
        sites = {name: getattr(self.data, name).copy() for name in SITES}
        _, keys, position, *_ = self._chance.get_state()
        drawn = json.dumps(self.inner.np_random.bit_generator.state).ljust(RANDOM_BYTES)
        random = {"chance": keys, "chance_position": np.array(position)}
        return known | sites | random | {"drawn": np.frombuffer(drawn.encode(), np.uint8)}

    def set_extra_state(self, saved: dict[str, np.ndarray]) -> None:
        """Restore what `extra_state` returned."""
        for name in KNOWN:
            if hasattr(self.inner, name):
                setattr(self.inner, name, saved[name].copy()[()])
        if hasattr(self.inner, "_apply_button_states"):
            self.inner._apply_button_states()  # which lock the drawer and the window
        for name in SITES:
            getattr(self.data, name)[:] = saved[name]
        self._chance.set_state(("MT19937", saved["chance"], int(saved["chance_position"]), 0, 0.0))
        self.inner.np_random.bit_generator.state = json.loads(saved["drawn"].tobytes())

    def recompute(self) -> None:
        """Recompute what a humanoid's step ends with: the first half of MuJoCo's next."""
        if isinstance(self.inner, HumanoidEnv):
            mujoco.mj_step1(self.model, self.data)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """Let NumPy's global generator be this simulator's own."""
        with GLOBAL:
            before = np.random.get_state()
            np.random.set_state(self._chance.get_state())
            try:
                yield
            finally:
                self._chance.set_state(np.random.get_state())
                np.random.set_state(before)


def make(name: str, **changes: Any) -> Any:
    """Make the package's environment of a gymnasium id, without wrappers; its action space can be seeded."""
    spec = gymnasium.spec(name)
    kind: Any = load_env_creator(str(spec.entry_point))
    if not inspect.isclass(kind):  # the mazes' come from a function
        with _writing_nothing():
            return kind(**(spec.kwargs | changes))
    # A manipulation environment's property makes a space anew, with a seed of its own, whenever it is asked for.
    made = type(kind.__name__, (kind,), {"action_space": None})(**(spec.kwargs | changes))
    made.action_space = spaces.Box(-1.0, 1.0, (5,), np.float32)
    return made


@contextmanager
def _writing_nothing() -> Iterator[None]:
    """Let a maze write its model, from which it reads it again, to a folder that goes with it.

    The package would leave the file in the system's, and open.
    """
    with MAKING, tempfile.TemporaryDirectory() as folder:
        theirs, file = mazes.tempfile, Path(folder) / "maze.xml"
        mazes.tempfile = SimpleNamespace(mkstemp=lambda **_: (-1, str(file)))
        try:
            yield
        finally:
            mazes.tempfile = theirs


def relabel(name: str, columns: dict[str, np.ndarray], sparse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the rewards and masks, both (N,) float32, that the package gives the states of a file for a task.

    `sparse` rewards are -1 until all is done, whatever the package's own are.

    `columns` are the file's `qpos`, (N, positions), and, where there are buttons, its `button_states`. A mask is 0
    where the task is solved, which is what no target counts beyond, and 1 elsewhere.
    """
    environment, labelled = Single(name, as_data=True), dict(columns)
    try:
        relabel_dataset(name, environment.inner, labelled)
    finally:
        environment.close()
    masks = labelled["masks"]
    return 0.0 - masks if sparse else labelled["rewards"], masks  # 0.0 where it is solved, not -0.0
