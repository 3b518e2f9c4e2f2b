"""Logged steps as trajectories: what each returns, which are the best, and what is odd about them."""

import dataclasses

import numpy as np

from moorl_jax.data.rows import Rows, breaks, ends, timeouts
from moorl_jax.tasks import Task


def episode_returns(rows: Rows, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (returns, lengths) of the episodes that `ends` tells of; rows after the last end belong to none.

    Where nothing ends, all rows are one.
    """
    last = np.flatnonzero(ends(rows, horizon))
    last = last if len(last) else np.array([len(rows.rewards) - 1])
    first = np.concatenate([[0], last[:-1] + 1])
    totals = np.concatenate([[0.0], np.cumsum(rows.rewards, dtype=np.float64)])
    return totals[last + 1] - totals[first], last + 1 - first


def trajectory_returns(rows: Rows, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return (returns, lengths) of the data's trajectories, the returns as the task's environment would pay them.

    Where an environment pays for a goal or a sub-task once, data pays at every step at which it is reached, and
    AntMaze's goes on after the goal: there a trajectory is all up to a time-out, and it returns its largest reward.
    OGBench's goes on, too, and returns 1 where it reached the goal, else 0.
    """
    if task.family not in ("antmaze", "kitchen", "ogbench"):
        return episode_returns(rows, task.horizon)
    over = ends(rows, task.horizon) if task.family == "kitchen" else timeouts(rows, task.horizon)
    last = np.flatnonzero(over) if over.any() else np.array([len(over) - 1])
    first = np.concatenate([[0], last[:-1] + 1])
    counted = (rows.terminals if task.family == "ogbench" else rows.rewards)[: last[-1] + 1]
    return np.maximum.reduceat(counted, first).astype(np.float64), last + 1 - first


def best_trajectories(rows: Rows, task: Task, share: float) -> Rows:
    """Return the rows of a share of the data's trajectories, those of the highest returns, in the order they came.

    At least one is kept; of equal ones the first. Rows after the last trajectory belong to none. Time-outs are flagged,
    for D4RL's clock would count otherwise where other episodes come before.
    """
    returns, lengths = trajectory_returns(rows, task)
    best = np.argsort(-returns, kind="stable")[: max(1, int(share * len(returns)))]
    kept = np.flatnonzero(np.repeat(np.isin(np.arange(len(returns)), best), lengths))
    flagged = dataclasses.replace(rows, timeouts=timeouts(rows, task.horizon))
    return dataclasses.replace(flagged, **{name: values[kept] for name, values in flagged.arrays().items()})


def suspicions(rows: Rows, task: Task) -> list[str]:
    """Return what is odd about the rows but does not forbid training, a sentence each."""
    horizon, longest = task.horizon, task.recorded_horizon
    found = []
    if rows.timeouts is None:
        found.append("there is no 'timeouts' key: episodes are cut by the clock at the horizon")
    ended = ends(rows, horizon)
    _, lengths = episode_returns(rows, horizon)
    long = int((lengths > longest).sum())
    if long:
        found.append(f"{long} episodes are longer than the {longest} rows of a whole one: time-outs may not be marked")
    if rows.timeouts is not None and (rows.timeouts & rows.terminals).any() and not rows.own_successors:
        both = (rows.timeouts & rows.terminals).sum()
        found.append(f"{both} rows are both terminal and time-out: their terminals are lost, as in D4RL")
    broken = len(breaks(rows, horizon))
    if broken:
        found.append(f"{broken} episodes break off without a flag: the data may have been filtered or shuffled")
    if not ended[-1]:
        tail = len(ended) - 1 - (np.flatnonzero(ended)[-1] if ended.any() else -1)
        found.append(f"the last {tail} rows are an unfinished episode")
    return found
