"""The simulators that online phases act in, one a seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moorl_jax.data import Prepared
from moorl_jax.data.returns import returns_to_go
from moorl_jax.divergence import finite
from moorl_jax.engine.keys import episode_start
from moorl_jax.replay.buffer import CUT, ENDED
from moorl_jax.tasks import Task, make_environments
from moorl_jax.types import ReturnsToGo, Transitions

STREAM = 0x73696D75  #: sets the starts of training's episodes apart from every other use of a seed


@dataclass(frozen=True)
class Outcome:
    """The result of one env step of several seeds, all fields with a leading seed axis."""

    taken: np.ndarray  #: (seeds,) bool, whether it was taken: not by a seed that has diverged
    transitions: Transitions  #: NumPy, observations and rewards prepared as the dataset's are
    observations: np.ndarray  #: (seeds, ...), to act on next: the new episode's first where one ended
    returns: np.ndarray  #: (seeds, horizon), returns to go of the episodes that ended here, where they are asked for
    lengths: np.ndarray  #: (seeds,), of those episodes; 0 where none ended or returns are not asked for
    begins: np.ndarray  #: (seeds,) bool, whether this was an episode's first env step
    ended: np.ndarray  #: (seeds,) bool, whether it was its last


class Simulators:
    """The simulators of some seeds, stepped together. An episode's start depends on its seed and its number alone."""

    def __init__(
        self, task: Task, prepared: Prepared, seeds: tuple[int, ...], returns: ReturnsToGo | None, env_steps: int
    ):
        self._prepared, self._seeds, self._returns, self._horizon = prepared, seeds, returns, task.horizon
        beside_data = prepared.transitions is not None
        self._environments = make_environments(task, len(seeds), as_data=beside_data)
        self._episodes = np.zeros(len(seeds), int)  # begun so far
        self._taken = np.zeros(len(seeds), int)  # env steps so far
        self.diverged = np.zeros(len(seeds), bool)  #: whether the latest env step was not taken
        self._ends = np.zeros((len(seeds), env_steps), np.int8)  # how episodes ended at each of them, 0 where none did
        self._rewards: list[list[np.float32]] = [[] for _ in seeds]  # of the episodes that go on
        self.observations = self._begin(np.arange(len(seeds)))

    def step(self, actions: np.ndarray) -> Outcome:
        """Take one env step of every seed; `actions` is (seeds, action size).

        A seed that has diverged takes none: its simulator is not stepped, and its transition, of reward NaN, must not
        be learned from.
        """
        count, acts = len(self._seeds), finite(actions)
        before, after = self.observations, self.observations.copy()
        rewards, terminals = np.full(count, np.nan, np.float32), np.zeros(count, np.float32)
        begins = acts & np.array([not rewards for rewards in self._rewards])
        self._taken += acts
        self.diverged = ~acts
        ended = np.zeros(count, bool)
        if acts.any():
            places = np.flatnonzero(acts)
            taken = self._environments.step(places, actions[places])
            after[places] = self._prepared.normalizer(taken.observations)
            rewards[places] = taken.rewards * self._prepared.reward_scale + self._prepared.reward_shift
            terminals[places] = taken.terminals
            ended[places] = taken.terminals | taken.timeouts
            for place in places:
                self._rewards[place].append(rewards[place])
        self.observations = after.copy()
        returns, lengths = self._end(np.flatnonzero(ended), ENDED, terminals)
        columns: dict[str, Any] = {
            "observations": before,
            "actions": actions,
            "rewards": rewards,
            "next_observations": after,
            "terminals": terminals,
        }
        return Outcome(acts, Transitions(**columns), self.observations, returns, lengths, begins, ended)

    @property
    def steps(self) -> np.ndarray:
        """How many env steps of each seed's episode under way have been taken, (seeds,)."""
        return np.array([len(rewards) for rewards in self._rewards])

    def pause(self) -> tuple[np.ndarray, np.ndarray]:
        """End the episodes under way as a time-out would; return `returns` and `lengths` as an Outcome has them."""
        under_way = np.flatnonzero([len(rewards) > 0 for rewards in self._rewards])
        return self._end(under_way, CUT, np.zeros(len(self._seeds)))

    def ends(self, position: int) -> np.ndarray:
        """Return how episodes ended at each env step that a seed has taken, (env steps,): ENDED, CUT, or 0."""
        return self._ends[position, : self._taken[position]]

    def save(self) -> dict[str, Any]:
        """Return all that decides how the episodes go on, a pytree of arrays with a leading seed axis."""
        environments = [self._environments.save(place) for place in range(len(self._seeds))]
        rewards = np.zeros((len(self._seeds), self._horizon), np.float32)
        for row, episode in zip(rewards, self._rewards, strict=True):
            row[: len(episode)] = episode
        return {
            "environments": {name: np.stack([each[name] for each in environments]) for name in environments[0]},
            "observations": self.observations.copy(),
            "episodes": self._episodes.copy(),
            "rewards": rewards,
            "lengths": np.array([len(episode) for episode in self._rewards]),
            "taken": self._taken.copy(),
            "diverged": self.diverged.copy(),
            "ends": self._ends.copy(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go on from where `save` was called; where simulators cannot be saved, `restart` them then."""
        self.observations = saved["observations"]
        self._episodes, self._taken = saved["episodes"], saved["taken"]
        self.diverged, self._ends = saved["diverged"], saved["ends"]
        self._rewards = [list(row[:length]) for row, length in zip(saved["rewards"], saved["lengths"], strict=True)]
        if self.saves:
            for place in range(len(self._seeds)):
                self._environments.restore(place, {name: leaf[place] for name, leaf in saved["environments"].items()})

    @property
    def saves(self) -> bool:
        """Whether simulators can be saved; those of some users' environments cannot."""
        return bool(self._environments.save(0))

    def restart(self) -> tuple[np.ndarray, np.ndarray]:
        """Begin an episode in each place; those under way end, and are returned, as by `pause`."""
        fresh = np.flatnonzero([len(rewards) == 0 for rewards in self._rewards])
        self._episodes[fresh] -= 1  # the same one begins again
        if len(fresh):
            self.observations[fresh] = self._begin(fresh)
        return self.pause()

    def close(self) -> None:
        """Close all simulators."""
        self._environments.close()

    def _end(self, places: np.ndarray, how: int, terminals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """End the episodes of some places and begin the next; return `returns` and `lengths` as an Outcome has them."""
        count = len(self._seeds)
        returns, lengths = np.zeros((count, self._horizon), np.float32), np.zeros(count, np.int32)
        if self._returns:
            for place in places:
                episode = np.array(self._rewards[place])
                ends = np.append(np.zeros(len(episode) - 1), terminals[place])
                returns[place, : len(episode)] = returns_to_go(episode, ends, self._returns)
                lengths[place] = len(episode)
        if len(places):
            self._ends[places, self._taken[places] - 1] = how
            self.observations[places] = self._begin(places)
        return returns, lengths

    def _begin(self, places: np.ndarray) -> np.ndarray:
        starts = [episode_start(STREAM, self._seeds[place], int(self._episodes[place])) for place in places]
        self._episodes[places] += 1
        for place in places:
            self._rewards[place] = []
        return self._prepared.normalizer(self._environments.reset(places, starts))
