"""OGBench's scripted datasets, made here by the procedure of its authors' scripts with the policies of its package.

A dataset is two npz files, for training and for validation, of the keys that OGBench's have, so that its package reads
them too. Every episode is seeded by its number: neither the number of processes nor an interruption changes one. What
is made so far lies in a folder beside the dataset until all is.
Source: seohongpark/ogbench `data_gen_scripts/generate_manipspace.py`, `generate_locomaze.py`, `commands.sh`.
"""

import itertools
import shutil
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moorl_jax.cores import usable_cores
from moorl_jax.data import publishing
from moorl_jax.errors import DatasetError, one_line
from moorl_jax.processes import WORKERS
from moorl_jax.tasks.environments import optional
from moorl_jax.tasks.ogbench_sets import OGBenchSet
from moorl_jax.types import Progress

VERSION = 1  #: raised whenever a change here changes the datasets that are made
A_PART = 5  #: episodes that a process makes and stores at a time
NOISE = 0.1  #: of the planned path, and at most of a noisy set's actions; `--noise`, its default
SMOOTHING = 0.5  #: of the planned path's noise; `--noise_smoothing`, its default
LEAST = 0.4  #: how far a noisy set's actor reaches at least; `--min_norm`, its default
MAZE_NOISE = 0.5  #: of a point's actions; `--noise` of commands.sh
STITCHED = 4  #: cells between the start and the goal of a stitch set's episode
#: how likely a cube is put on another: between which bounds each episode draws it
STACKING = {"single": (0.0, 0.0), "double": (0.0, 0.25), "triple": (0.05, 0.35)}

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Making:
    """Which episodes of a dataset one process makes, and where it puts them."""

    of: OGBenchSet
    seed: int
    episodes: range
    place: Path

    def __call__(self) -> int:
        """Make and store them; return how many rows they have."""
        kind = _Points if self.of.subject.startswith("pointmaze") else _Arm
        actor = kind(self.of)
        made = [_seeded(actor, self.seed, number) for number in self.episodes]
        columns: dict[str, Any] = {name: np.concatenate([episode[name] for episode in made]) for name in made[0]}
        with publishing.published(self.place) as partial, partial.open("wb") as file:
            np.savez(file, **columns)
        return len(columns["terminals"])


def generate(of: OGBenchSet, path: Path, seed: int, episodes: int, progress: Progress | None = None) -> None:
    """Make `episodes` of training and a tenth as many of validation, at `path` and beside it as `validation` names it.

    Raises StorageError where they cannot be written.
    """
    total = episodes + episodes // 10
    folder = path.with_name(f"{path.stem}.{VERSION}.{seed}.parts")
    bounds = sorted({*range(0, total, A_PART), episodes, total})
    parts = [range(first, last) for first, last in itertools.pairwise(bounds)]
    makings = [Making(of, seed, part, folder / f"{part.start}-{part.stop}.npz") for part in parts]
    with publishing.storing(path):
        folder.mkdir(parents=True, exist_ok=True)
    done = sum(len(making.episodes) * of.steps for making in makings if making.place.is_file())
    if progress:
        progress(done, total * of.steps)  # now, for the first part takes a while
    with ProcessPoolExecutor(usable_cores(), WORKERS) as pool:
        futures = [pool.submit(making) for making in makings if not making.place.is_file()]
        try:
            for future in as_completed(futures):
                done += future.result()
                if progress:
                    progress(done, total * of.steps)
        finally:
            pool.shutdown(cancel_futures=True)  # where one has failed, what is queued need not run
    note = np.array([VERSION, seed, episodes])
    for place, among in ((validation(path), range(episodes, total)), (path, range(episodes))):
        of_these = [making.place for making in makings if making.episodes.start in among]
        _join(of_these, place, note)
    shutil.rmtree(folder, ignore_errors=True)


def validation(path: Path) -> Path:
    """Return where the validation set of a dataset lies."""
    return path.with_name(f"{path.stem}-val.npz")


def noted(path: Path) -> tuple[int, int, int]:
    """Return a dataset's version, seed and number of episodes; raise DatasetError if it does not say."""
    try:
        with np.load(path, allow_pickle=False) as file:
            version, seed, episodes = map(int, file["recipe"])
    except Exception as error:  # NumPy and zipfile raise errors of many kinds over bad bytes
        raise DatasetError(
            f"{path}: it does not say which recipe made it ({one_line(error)}); move it away to make the dataset anew"
        ) from error
    return version, seed, episodes


def _join(parts: list[Path], path: Path, note: np.ndarray) -> None:
    """Write parts, one after the other, as one file."""
    files = [np.load(part, allow_pickle=False) for part in parts]
    names = files[0].files if files else []  # fewer than ten episodes have no validation
    columns: dict[str, Any] = {name: np.concatenate([file[name] for file in files]) for name in names}
    with publishing.published(path) as partial, publishing.storing(path), partial.open("wb") as file:
        np.savez_compressed(file, **columns, recipe=note)


def _seeded(actor: Any, seed: int, number: int) -> Columns:
    """Make one episode, all of whose randomness follows from the dataset's seed and its number."""
    of_numpy, of_reset, of_actions = np.random.SeedSequence((seed, number)).generate_state(3).tolist()
    np.random.seed(of_numpy)  # the package's policies and mazes draw from NumPy's global generator
    actor.environment.action_space.seed(of_actions)
    return actor.episode(of_reset)


class _Log:
    """An episode's rows, as OGBench's files hold them."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {}

    def add(self, observation: np.ndarray, action: np.ndarray, last: bool, info: dict[str, Any]) -> None:
        row = {"observations": observation, "actions": action, "terminals": last}
        row |= {name: info[f"prev_{name}"] for name in ("qpos", "qvel", "button_states") if f"prev_{name}" in info}
        for name, value in row.items():
            self._rows.setdefault(name, []).append(value)

    def columns(self) -> Columns:
        kinds = {"terminals": bool, "button_states": np.int64}
        return {name: np.array(rows, kinds.get(name, np.float32)) for name, rows in self._rows.items()}


class _Arm:
    """The arm moves cubes, presses buttons, opens and shuts, one random target after another."""

    def __init__(self, of: OGBenchSet):
        self._of = of
        self.environment = optional("ogbench").make(f"{of.subject}-v0", terminate_at_goal=False, mode="data_collection")
        self._actors = _actors(self.environment, of)

    def episode(self, seed: int) -> Columns:
        """Return the rows of one episode; of a scene, of the first in which the cube stays in sight."""
        columns = self._once(seed)
        while self._of.subject == "scene" and not _in_sight(columns["qpos"][:, 14:17]):
            columns = self._once(None)
        return columns

    def _once(self, seed: int | None) -> Columns:
        log, markov = _Log(), self._of.level == "noisy"
        observation, info = self.environment.reset(seed=seed)
        kind, _, number = self._of.subject.partition("-")
        stacking = np.random.uniform(*STACKING[number]) if kind == "cube" else 0.5
        spread = np.random.uniform(0, NOISE) if markov else 0.0
        actor = self._actors[info["privileged/target_task"]]
        actor.reset(observation, info)
        for step in range(self._of.steps):
            if np.random.rand() < self._of.random:
                action = self.environment.action_space.sample()
            else:
                action = np.array(actor.select_action(observation, info))
                if markov:
                    action = action + np.random.normal(0, spread * np.array([1, 1, 1, 3, 10]))
            action = np.clip(action, -1, 1)
            following, _, _, _, info = self.environment.step(action)
            if actor.done:
                seen, known = self.environment.set_new_target(p_stack=stacking)
                actor = self._actors[known["privileged/target_task"]]
                actor.reset(seen, known)
            log.add(observation, action, step == self._of.steps - 1, info)
            observation = following
        return log.columns()


def _actors(environment: Any, of: OGBenchSet) -> dict[str, Any]:
    """Return the package's policies by what they are for: closed loops for a noisy set, else planned paths."""
    from ogbench.manipspace.oracles.markov import button_markov, cube_markov, drawer_markov, window_markov
    from ogbench.manipspace.oracles.plan import button_plan, cube_plan, drawer_plan, window_plan

    shut = {"gripper_always_closed": True} if of.subject.startswith("puzzle") else {}
    if of.level == "noisy":
        common = {"env": environment, "min_norm": LEAST}
        longest = {"max_step": 100} if of.subject == "scene" else {}
        return {
            "cube": cube_markov.CubeMarkovOracle(**common, **longest),
            "button": button_markov.ButtonMarkovOracle(**common, **shut),
            "drawer": drawer_markov.DrawerMarkovOracle(**common),
            "window": window_markov.WindowMarkovOracle(**common),
        }
    common = {"env": environment, "noise": NOISE, "noise_smoothing": SMOOTHING}
    return {
        "cube": cube_plan.CubePlanOracle(**common),
        "button": button_plan.ButtonPlanOracle(**common, **shut),
        "drawer": drawer_plan.DrawerPlanOracle(**common),
        "window": window_plan.WindowPlanOracle(**common),
    }


def _in_sight(cube: np.ndarray) -> bool:
    """Tell whether a scene's cube, (N, 3), never went too far right, nor too far left outside of the drawer."""
    beside, height = cube[:, 1], cube[:, 2]
    lost = (beside >= 0.29) | ((beside <= -0.3) & ((height < 0.06) | (height > 0.08)))
    return not lost.any()


class _Points:
    """A point walks from cell to cell to a goal; of a navigate set, to another when it is there."""

    def __init__(self, of: OGBenchSet):
        self._of = of
        self.environment = optional("ogbench").make(f"{of.subject}-v0", terminate_at_goal=False)
        self._maze = self.environment.maze_map
        self._cells = [(int(i), int(j)) for i, j in np.argwhere(self._maze == 0)]
        self._vertices = [cell for cell in self._cells if not self._in_hallway(*cell)]

    def episode(self, seed: int) -> Columns:
        """Return the rows of one episode."""
        log, navigates = _Log(), self._of.level == "navigate"
        start = _any(self._cells)
        goal = _any(self._vertices) if navigates else _any(self._at_distance(start) or [start])
        where = {"task_info": {"init_ij": start, "goal_ij": goal}}
        observation, _ = self.environment.reset(seed=seed, options=where)
        for step in range(self._of.steps):
            place = self.environment.get_xy()
            towards = self.environment.get_oracle_subgoal(place, self.environment.cur_goal_xy)[0] - place
            action = towards / (np.linalg.norm(towards) + 1e-6)
            action = np.clip(action + np.random.normal(0, MAZE_NOISE, action.shape), -1, 1)
            following, _, _, _, info = self.environment.step(action)
            if info["success"] and navigates:
                self.environment.set_goal(_any(self._vertices))
            log.add(observation, action, step == self._of.steps - 1, info)
            observation = following
        return log.columns()

    def _in_hallway(self, i: int, j: int) -> bool:
        """Tell whether a cell has walls on two opposite sides and none on the others."""
        above, below, left, right = self._maze[[i - 1, i + 1, i, i], [j, j, j - 1, j + 1]]
        return (above, below, left, right) in ((0, 0, 1, 1), (1, 1, 0, 0))

    def _at_distance(self, start: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the cells that are STITCHED steps away, in the order in which a breadth-first search meets them."""
        met, border = {start}, [start]
        for _ in range(STITCHED):
            beyond = []
            for i, j in border:
                for cell in ((i - 1, j), (i, j - 1), (i + 1, j), (i, j + 1)):
                    if cell not in met and self._maze[cell] == 0:
                        met.add(cell)
                        beyond.append(cell)
            border = beyond
        return border


def _any(cells: list[tuple[int, int]]) -> tuple[int, int]:
    return cells[np.random.randint(len(cells))]
