"""The simulators that online phases act in, one a seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moorl_jax.data import Prepared
from moorl_jax.data.returns import returns_to_go
from moorl_jax.divergence import finite
from moorl_jax.engine.keys import episode_start
from moorl_jax.replay.buffer import CUT, ENDED
from moorl_jax.tasks import Task, make_environment, restore_environment, save_environment
from moorl_jax.types import ReturnsToGo, Transitions

STREAM = 0x73696D75  #: sets the starts of training's episodes apart from every other use of a seed


@dataclass(frozen=True)
class Outcome:
    """What one env step of some seeds brought, all fields with a leading seed axis."""

    taken: np.ndarray  #: (seeds,) bool, whether it was taken: not by a seed that has diverged
    transitions: Transitions  #: NumPy, observations and rewards prepared as the dataset's are
    observations: np.ndarray  #: (seeds, ...), to act on next: the new episode's first where one ended
    returns: np.ndarray  #: (seeds, horizon), returns to go of the episodes that ended here, where they are asked for
    lengths: np.ndarray  #: (seeds,), of those episodes; 0 where none ended or returns are not asked for
    begins: np.ndarray  #: (seeds,) bool, whether this was an episode's first env step


class Simulators:
    """The simulators of some seeds, stepped one after another.

    One after another because gymnasium's Python code holds the interpreter: threads make it slower (`python -m
    benchmarks.speed --parts simulators` measures it). The engine's lanes, which wait for their devices most of the
    time, run side by side instead. An episode's start depends on its seed and its number alone.
    """

    def __init__(
        self, task: Task, prepared: Prepared, seeds: tuple[int, ...], returns: ReturnsToGo | None, env_steps: int
    ):
        self._prepared, self._seeds, self._returns, self._horizon = prepared, seeds, returns, task.horizon
        beside_data = prepared.transitions is not None
        self._environments = [make_environment(task, as_data=beside_data) for _ in seeds]
        self._episodes = [0 for _ in seeds]  # begun so far
        self._taken = np.zeros(len(seeds), int)  # env steps so far
        self.diverged = np.zeros(len(seeds), bool)  #: whether the latest env step was not taken
        self._ends = np.zeros((len(seeds), env_steps), np.int8)  # how episodes ended at each of them, 0 where none did
        self._rewards: list[list[np.float32]] = [[] for _ in seeds]  # of the episodes that go on
        self.observations = np.stack([self._begin(position) for position in range(len(seeds))])

    def step(self, actions: np.ndarray) -> Outcome:
        """Take one env step of every seed; `actions` is (seeds, action size).

        A seed that has diverged takes none: its simulator stands still, and its transition, of reward NaN, is nothing
        to learn from.
        """
        count, acts = len(self._seeds), finite(actions)
        before, after = self.observations, np.empty_like(self.observations)
        rewards, terminals = np.empty((2, count), np.float32)
        returns, lengths = np.zeros((count, self._horizon), np.float32), np.zeros(count, np.int32)
        begins = acts & np.array([not rewards for rewards in self._rewards])
        self.observations = np.empty_like(after)
        self._taken += acts
        self.diverged = ~acts
        for position, environment in enumerate(self._environments):
            if not acts[position]:
                after[position] = self.observations[position] = before[position]
                rewards[position], terminals[position] = np.nan, False
                continue
            observation, reward, terminal, timeout, _ = environment.step(actions[position])
            after[position] = self.observations[position] = self._prepared.normalizer(observation)
            rewards[position] = float(reward) * self._prepared.reward_scale + self._prepared.reward_shift
            terminals[position] = terminal
            self._rewards[position].append(rewards[position])
            if terminal or timeout:
                lengths[position] = self._end(position, ENDED, terminal, returns[position])
        columns: dict[str, Any] = {
            "observations": before,
            "actions": actions,
            "rewards": rewards,
            "next_observations": after,
            "terminals": terminals,
        }
        return Outcome(acts, Transitions(**columns), self.observations, returns, lengths, begins)

    def pause(self) -> tuple[np.ndarray, np.ndarray]:
        """End the episodes under way as a time-out would; return `returns` and `lengths` as an Outcome has them."""
        count = len(self._seeds)
        returns, lengths = np.zeros((count, self._horizon), np.float32), np.zeros(count, np.int32)
        for position in range(count):
            if self._rewards[position]:
                lengths[position] = self._end(position, CUT, False, returns[position])
        return returns, lengths

    def ends(self, position: int) -> np.ndarray:
        """Return how episodes ended at each env step that a seed has taken, (env steps,): ENDED, CUT, or 0."""
        return self._ends[position, : self._taken[position]]

    def save(self) -> dict[str, Any]:
        """Return all that decides how the episodes go on, a pytree of arrays with a leading seed axis."""
        environments = [save_environment(environment) for environment in self._environments]
        rewards = np.zeros((len(self._seeds), self._horizon), np.float32)
        for row, episode in zip(rewards, self._rewards, strict=True):
            row[: len(episode)] = episode
        return {
            "environments": {name: np.stack([each[name] for each in environments]) for name in environments[0]},
            "observations": self.observations.copy(),
            "episodes": np.array(self._episodes),
            "rewards": rewards,
            "lengths": np.array([len(episode) for episode in self._rewards]),
            "taken": self._taken.copy(),
            "diverged": self.diverged.copy(),
            "ends": self._ends.copy(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from where `save` was called."""
        self.observations = saved["observations"]
        self._episodes = [int(number) for number in saved["episodes"]]
        self._taken, self.diverged, self._ends = saved["taken"], saved["diverged"], saved["ends"]
        self._rewards = [list(row[:length]) for row, length in zip(saved["rewards"], saved["lengths"], strict=True)]
        for position, environment in enumerate(self._environments):
            restore_environment(environment, {name: leaf[position] for name, leaf in saved["environments"].items()})

    def close(self) -> None:
        """Close all simulators."""
        for environment in self._environments:
            environment.close()

    def _end(self, position: int, how: int, terminal: bool, returns: np.ndarray) -> int:
        """End an episode and begin the next; write its returns to go, where they are asked for, and return how many."""
        self._ends[position, self._taken[position] - 1] = how
        episode = np.array(self._rewards[position])
        self.observations[position] = self._begin(position)
        if not self._returns:
            return 0
        ends = np.append(np.zeros(len(episode) - 1), terminal)
        returns[: len(episode)] = returns_to_go(episode, ends, self._returns)
        return len(episode)

    def _begin(self, position: int) -> np.ndarray:
        start = episode_start(STREAM, self._seeds[position], self._episodes[position])
        self._episodes[position] += 1
        self._rewards[position] = []
        observation, _ = self._environments[position].reset(seed=start)
        return self._prepared.normalizer(observation)
