"""Several simulators of a task: what can be asked of them, and the plainest answer, one after another."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import gymnasium
import numpy as np

from moorl_jax.tasks.environments import restore_environment, save_environment


class Steps(NamedTuple):
    """What an env step of some simulators brought; every array has a leading axis of those that took it."""

    observations: np.ndarray
    rewards: np.ndarray  #: float64
    terminals: np.ndarray  #: bool
    timeouts: np.ndarray  #: bool, whether the horizon was reached
    successes: np.ndarray  #: how far the step counts as a success, in [0, 1]; NaN where the environment is silent


class Environments(ABC):
    """Simulators of one task. `places`, an array of at least one different whole number, says which are meant.

    Whatever the way in which they are stepped, each does bit for bit what it would do alone.
    """

    @abstractmethod
    def reset(self, places: np.ndarray, seeds: list[int]) -> np.ndarray:
        """Begin an episode in each place, from its seed; return the first observations, (places, ...)."""

    @abstractmethod
    def step(self, places: np.ndarray, actions: np.ndarray) -> Steps:
        """Take an env step in each place; `actions` is (places, action size)."""

    @abstractmethod
    def save(self, place: int) -> dict[str, np.ndarray]:
        """Return everything a simulator's future depends on; nothing where it cannot be saved."""

    @abstractmethod
    def restore(self, place: int, saved: dict[str, np.ndarray]) -> None:
        """Go on in a place from where a simulator of the same task was saved."""

    @abstractmethod
    def close(self) -> None:
        """Close all simulators."""


class InTurn(Environments):
    """Simulators of this process, stepped one after another."""

    def __init__(self, simulators: list[gymnasium.Env]):
        self.simulators = simulators

    def reset(self, places: np.ndarray, seeds: list[int]) -> np.ndarray:
        """Begin an episode in each place."""
        return np.stack([self.simulators[p].reset(seed=s)[0] for p, s in zip(places, seeds, strict=True)])

    def step(self, places: np.ndarray, actions: np.ndarray) -> Steps:
        """Take an env step in each place."""
        taken = [self.simulators[place].step(action) for place, action in zip(places, actions, strict=True)]
        observations, rewards, terminals, timeouts, infos = zip(*taken, strict=True)
        return Steps(
            np.stack(observations),
            np.array(rewards, np.float64),
            np.array(terminals, bool),
            np.array(timeouts, bool),
            np.array([info.get("success", np.nan) for info in infos], np.float64),
        )

    def save(self, place: int) -> dict[str, np.ndarray]:
        """Return everything a simulator's future depends on."""
        return save_environment(self.simulators[place])

    def restore(self, place: int, saved: dict[str, np.ndarray]) -> None:
        """Go on in a place from where a simulator was saved."""
        restore_environment(self.simulators[place], saved)

    def close(self) -> None:
        """Close all simulators."""
        for simulator in self.simulators:
            simulator.close()
