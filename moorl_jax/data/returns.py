"""Monte-Carlo returns to go, which Cal-QL holds its values against."""

from typing import Any

import numpy as np

from moorl_jax.data.rows import Rows, breaks, ends, kept_rows, to_transitions
from moorl_jax.errors import DatasetError
from moorl_jax.types import ReturnsToGo, Transitions


def returns_to_go(rewards: np.ndarray, terminals: np.ndarray, rule: ReturnsToGo) -> np.ndarray:
    """Return (N,) float32: the discounted sum of the rewards from each step of one episode to its end.

    A terminal ends the sum; a time-out does not extend it, unless the rule is `endless`: then the last reward is paid
    for ever. Where every reward is that of failure, all are failure_reward / (1 - discount). Sums are of float64.
    Source: nakamotoo/Cal-QL `replay_buffer.py`, calc_return_to_go.
    """
    if rule.failure_reward is not None and len(rewards) and np.all(rewards == np.float32(rule.failure_reward)):
        return np.full(len(rewards), rule.failure_reward / (1.0 - rule.discount), np.float32)
    rewards, goes_on = rewards.astype(np.float64), rule.discount * (1.0 - terminals.astype(np.float64))
    returns = np.zeros(len(rewards))
    following = rewards[-1] / (1.0 - rule.discount) if rule.endless and len(rewards) else 0.0
    for step in reversed(range(len(rewards))):
        following = returns[step] = rewards[step] + goes_on[step] * following
    return returns.astype(np.float32)


def transitions_with_returns(rows: Rows, horizon: int, rule: ReturnsToGo, next_actions: bool = False) -> Transitions:
    """Pair rows as `to_transitions` does, and give each its return to go within its episode.

    The rows after the last finished episode are dropped, for their returns are not known; rows that are dropped do
    not contribute to a return. `rows.rewards` must be prepared already: scaled and shifted. Without a `timeouts` key
    Cal-QL's own clock counts from 0 after a terminal; here episodes end by D4RL's, which counts from 1. Raises
    DatasetError where episodes break off without a flag, or none is finished.
    Source: nakamotoo/Cal-QL `replay_buffer.py`, qlearning_dataset_and_calc_mc.
    """
    broken = breaks(rows, horizon)
    if len(broken):
        raise DatasetError(
            f"{len(broken)} episodes break off without a flag, the first at row {broken[0]}: the data was filtered or "
            "shuffled, and its returns to go are not known; keep whole episodes, or flag such rows in 'timeouts'"
        )
    last = np.flatnonzero(ends(rows, horizon))
    kept = kept_rows(rows, horizon)
    finished = kept <= last[-1] if len(last) else np.zeros(len(kept), bool)
    if not finished.any():
        raise DatasetError("no episode is finished: returns to go cannot be computed")
    columns: dict[str, Any] = {
        name: value[finished]
        for name, value in vars(to_transitions(rows, horizon, next_actions)).items()
        if value is not None
    }
    episode = np.searchsorted(last, kept[finished])
    edges = np.flatnonzero(np.diff(episode)) + 1
    parts = zip(np.split(columns["rewards"], edges), np.split(columns["terminals"], edges), strict=True)
    returns = [returns_to_go(rewards, terminals, rule) for rewards, terminals in parts]
    return Transitions(**columns | {"mc_returns": np.concatenate(returns)})
