"""Problems small enough to solve on paper, as datasets: a value-based agent must find these values."""

import jax
import numpy as np

from moorl_jax.types import Transitions


def bandit(rng, size=2000):
    """One step, one state: reward 1 - (a - 0.5)^2, every episode ends at once. Q(s, a) is the reward."""
    actions = rng.uniform(-1.0, 1.0, (size, 1)).astype(np.float32)
    return _transitions(
        np.ones((size, 1)), actions, 1.0 - (actions[:, 0] - 0.5) ** 2, np.ones((size, 1)), np.ones(size)
    )


def chain(rng, size=2000):
    """Two states: the first pays 0 and leads to the second, which pays 1 and ends. Q is discount, then 1."""
    first = rng.random(size) < 0.5
    observations = np.where(first, -1.0, 1.0)[:, None]
    actions = rng.uniform(-1.0, 1.0, (size, 1))
    return _transitions(observations, actions, np.where(first, 0.0, 1.0), np.ones((size, 1)), np.where(first, 0.0, 1.0))


def timed_out(rng, size=2000):
    """One state that pays 1 for ever; its rows are time-outs, not terminals. Q is 1 / (1 - discount)."""
    actions = rng.uniform(-1.0, 1.0, (size, 1))
    return _transitions(np.ones((size, 1)), actions, np.ones(size), np.ones((size, 1)), np.zeros(size))


def _transitions(*columns):
    return jax.tree.map(lambda column: np.asarray(column, np.float32), Transitions(*columns))
