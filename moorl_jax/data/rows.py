"""Logged steps, row after row, as D4RL's files hold them; their checks, and the transitions made from them."""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import psutil

from moorl_jax.errors import DatasetError
from moorl_jax.tasks import Task
from moorl_jax.types import Transitions

ACTION_TOLERANCE = 1e-5  #: how far outside [-1, 1] float32 rounding may carry an action
MATCH_TOLERANCE = 1e-6  #: how far a next observation may lie from the row that follows it


def require_memory(size: int, what: str, remedy: str) -> None:
    """Raise DatasetError unless so many bytes of memory are free: more would drive the machine into its swap."""
    free = psutil.virtual_memory().available
    if size > free:
        raise DatasetError(f"{what} {size / 1e9:.1f} GB, {free / 1e9:.1f} GB of memory are free; {remedy}")


def as_float32(values: np.ndarray, where: str) -> np.ndarray:
    """Return the numbers as float32; raise DatasetError, which names `where`, if some are beyond its range."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32, copy=False)
    if values.dtype.itemsize > single.dtype.itemsize:
        beyond = np.isinf(single) & np.isfinite(values)
        if beyond.any():
            raise DatasetError(
                f"{where} holds {values[beyond].flat[0]:.4g}, beyond float32's range; scale it before saving"
            )
    return single


def as_flags(values: np.ndarray, where: str) -> np.ndarray:
    """Return numbers as bool; raise DatasetError, which names `where`, for others than 0 and 1."""
    if not np.isin(values, (0, 1)).all():
        raise DatasetError(f"{where} holds other values than 0 and 1; store 1 where an episode ends, else 0")
    return values.astype(bool)


class Logged:
    """Arrays with a row for each logged step."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays there are, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    def fingerprint(self) -> str:
        """Return the sha256 over names, shapes, types and bytes of all arrays."""
        digest = hashlib.sha256()
        for name, value in sorted(self.arrays().items()):
            digest.update(f"{name} {value.shape} {value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Rows(Logged):
    """Environment steps in the order they were taken, episodes one after another.

    All arrays are float32 but the flags; `timeouts` is None where the file has no such key (kitchen, some
    medium-replay files), and `next_observations` where it has none.
    """

    own_successors: ClassVar[bool] = False  #: whether `next_observations` are used as they are; else D4RL's pairing is

    observations: np.ndarray  #: (N, observation size)
    actions: np.ndarray  #: (N, action size)
    rewards: np.ndarray  #: (N,)
    terminals: np.ndarray  #: (N,) bool, the episode really ended here
    timeouts: np.ndarray | None  #: (N,) bool, the clock or the recorder cut the episode here
    next_observations: np.ndarray | None = None  #: (N, observation size)

    @staticmethod
    def of_arrays(where: str, **arrays: Any) -> "Rows":
        """Return rows of what becomes arrays; next observations, where given, are the rows' own successors.

        Raises DatasetError, which names `where`.
        """
        given = {name: np.asarray(values) for name, values in arrays.items() if values is not None}
        for name, values in given.items():
            if values.dtype.kind not in "fiub" or values.ndim == 0:
                raise DatasetError(f"{where}: '{name}' is not an array of numbers; join dictionaries into one")
            fitting = as_flags if name in ("terminals", "timeouts") else as_float32
            given[name] = fitting(values, f"{where}: '{name}'")
        never = np.zeros(len(given["rewards"]), bool)
        columns: dict[str, Any] = {"terminals": never, "timeouts": None} | given
        return (OwnSuccessors if "next_observations" in given else Rows)(**columns)

    def rescaled(self, action_range: tuple[Any, Any]) -> "Rows":
        """Return the rows with actions mapped from a range, (low, high), vectors of the action's size, to [-1, 1]."""
        low, high = (np.array(side) for side in action_range)
        if self.actions.shape[1:] != low.shape:
            return self  # `check` says what is wrong
        unit = 2.0 * (self.actions - low) / (high - low) - 1.0
        return dataclasses.replace(self, actions=unit.astype(np.float32))

    def check(self, task: Task, where: str) -> None:
        """Raise DatasetError unless the rows can be trained on for the task.

        The message names the file (`where`), the key, what is wrong and what to do.
        """

        def refuse(key: str, wrong: str, advice: str) -> None:
            raise DatasetError(f"{where}: '{key}' {wrong}; {advice}")

        seen = task.observation_shape
        sizes = {"observations": seen, "next_observations": seen, "actions": (task.action_size,)}
        count = len(self.rewards)
        if self.actions.ndim == 1:
            refuse(
                "actions", "is a number a row, as discrete actions are", "agents act with vectors: store (rows, size)"
            )
        for key, value in self.arrays().items():
            if len(value) != count:
                refuse(key, f"has {len(value)} rows where 'rewards' has {count}", "store as many rows of each")
            if value.shape[1:] != sizes.get(key, ()):
                wanted = f"{task.name} needs {(count, *sizes.get(key, ()))}"
                refuse(key, f"has shape {value.shape} where {wanted}", "is this the file of another task?")
            bad = np.flatnonzero(~np.isfinite(value).all(axis=tuple(range(1, value.ndim))))
            if len(bad):
                refuse(key, f"is NaN or infinite in {len(bad)} rows, the first is row {bad[0]}", "leave such steps out")
        beyond = float(np.abs(self.actions).max(initial=0.0))
        if beyond > 1.0 + ACTION_TOLERANCE:
            remedy = "scale or clip it before saving, or give its range, action_range= or --action-range"
            refuse("actions", f"reaches {beyond:.4g}, outside [-1, 1]", remedy)
        if self.own_successors and count:
            return
        if not _flagged(self, task.horizon).any():
            refuse("terminals", f"and time-outs end no episode in {count} rows", "flag the last row of each")
        if timeouts(self, task.horizon)[:-1].all():
            refuse("timeouts", f"leaves no transition of {count} rows", "flag the last row of each episode alone")


class OwnSuccessors(Rows):
    """Rows each of which holds what followed it, whatever row comes next, so they may be in any order."""

    own_successors = True


def ends(rows: Rows, horizon: int) -> np.ndarray:
    """Return (N,) bool, true on the last row of every episode that is flagged as ended, or that breaks off.

    Without time-out flags an episode ends when its clock reaches the horizon, as in D4RL's `qlearning_dataset`.
    """
    ended = _flagged(rows, horizon)
    ended[breaks(rows, horizon)] = True
    return ended


def breaks(rows: Rows, horizon: int) -> np.ndarray:
    """Return the numbers of the rows that no flag ends, but whose own next observation is not what the next row shows.

    Data that was filtered or shuffled has such rows.
    """
    return np.flatnonzero(_apart(rows) & ~_flagged(rows, horizon))


def _apart(rows: Rows) -> np.ndarray:
    """Return (N,) bool, true where a row's own next observation is not what the next row shows."""
    apart = np.zeros(len(rows.rewards), bool)
    if rows.next_observations is not None:
        distances = np.subtract(rows.next_observations[:-1], rows.observations[1:], dtype=np.float64)
        apart[:-1] = np.abs(distances).max(axis=1) > MATCH_TOLERANCE
    return apart


def _flagged(rows: Rows, horizon: int) -> np.ndarray:
    return rows.terminals | timeouts(rows, horizon)


def timeouts(rows: Rows, horizon: int) -> np.ndarray:
    """Return (N,) bool, true where the file flags a time-out, or without such flags where the clock runs out.

    D4RL's clock starts at 1 after a terminal and at 0 after a time-out; ours starts at 0, too, after a row at which the
    episode breaks off. Where a file has no next observations to show that, it is D4RL's to the row.
    """
    if rows.timeouts is not None:
        return rows.timeouts
    ran_out = np.zeros(len(rows.rewards), bool)
    clock = 0
    for row, (terminal, apart) in enumerate(zip(rows.terminals, _apart(rows), strict=True)):
        ran_out[row] = clock == horizon - 1
        if ran_out[row]:
            clock = 0
        elif terminal:
            clock = 1
        else:
            clock = 0 if apart else clock + 1
    return ran_out


def kept_rows(rows: Rows, horizon: int) -> np.ndarray:
    """Return the numbers of the rows that become transitions: all where they have their own successors."""
    if rows.own_successors:
        return np.arange(len(rows.rewards))
    return np.flatnonzero(~timeouts(rows, horizon)[:-1])


def to_transitions(rows: Rows, horizon: int, next_actions: bool = False) -> Transitions:
    """Pair each row with its own successor where it has one, else with the next as D4RL's `qlearning_dataset` does.

    There the last row is always lost, for nothing follows it; a time-out's row is dropped even if it is also terminal,
    for what follows it belongs to the next episode; terminals are real terminals only. Unlike there, a row at which the
    episode breaks off without a flag is paired with the file's own next observation. Arrays are float32 NumPy.

    With `next_actions` each has the action of the following row, too: where the episode really ended, one of the next
    episode, which no target counts; a row after which the episode goes on elsewhere, or nowhere, is dropped, for what
    was done then is not known.
    Source: D4RL `d4rl/__init__.py`, 69-140; corl-team/CORL `algorithms/finetune/rebrac.py`, qlearning_dataset.
    """
    kept = kept_rows(rows, horizon)
    broken = kept[:0] if rows.next_observations is None else breaks(rows, horizon)
    if next_actions:
        cut = timeouts(rows, horizon) & ~rows.terminals
        cut[broken] = True
        cut[-1] |= not rows.terminals[-1]
        kept = kept[~cut[kept]]
    after = np.minimum(kept + 1, len(rows.rewards) - 1)
    following = rows.observations[after]
    if rows.next_observations is not None:
        own = np.isin(kept, broken) | rows.own_successors
        following[own] = rows.next_observations[kept[own]]
    columns: dict[str, Any] = {
        "observations": rows.observations[kept],
        "actions": rows.actions[kept],
        "rewards": rows.rewards[kept],
        "next_observations": following,
        "terminals": rows.terminals[kept].astype(np.float32),
        "next_actions": rows.actions[after] if next_actions else None,
    }
    return Transitions(**columns)


def transition_ends(rows: Rows, task: Task) -> np.ndarray:
    """Return (N,) float32 for the transitions of `to_transitions`, 1.0 where the next one is of another episode.

    AntMaze's and OGBench's episodes go on after the goal, which is terminal: there only a time-out ends one.
    """
    goes_on = task.family in ("antmaze", "ogbench")
    over = timeouts(rows, task.horizon) | _apart(rows) if goes_on else ends(rows, task.horizon)
    kept = kept_rows(rows, task.horizon)
    return np.append(over[kept[:-1]] | (np.diff(kept) > 1), True).astype(np.float32)
