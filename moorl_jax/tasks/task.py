"""What a task is: an environment, the scale of its scores, and where data of it comes from."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from moorl_jax.config import Count, require_bounds

OWN = "own"  #: the family of users' own environments
PLAIN = (0.0, 100.0)  #: the returns of scores 0 and 100 where the score is the return itself
Range = tuple[tuple[float, ...], tuple[float, ...]]
"""The lowest and the highest action, number by number."""
Side = float | Sequence[float] | np.ndarray
ActionRange = tuple[Side, Side]
"""The same as a user gives it: each a number for all of an action's, or a vector."""


@dataclass(frozen=True)
class Task:
    """An environment with a dataset and a score scale: one of the catalogue, or by `Task.of` one of your own."""

    UNWRITTEN: ClassVar = ("datasets", "make")  #: fields that a result does not keep

    name: str
    family: (
        str  #: locomotion, antmaze, adroit, kitchen, sawyer, control (dm_control by its state), vd4rl, ogbench or own
    )
    subject: str  #: the robot, the maze, the hand's task; dm_control's domain-task for control and vd4rl
    level: str  #: which of the subject's datasets; empty where there is none
    environment: str  #: the gymnasium id, or what this package's own environment of the family is called; or none
    horizon: Count  #: env steps after which an episode times out
    observation_shape: tuple[Count, ...]
    action_size: Count
    low: float  #: reference return of score 0
    high: float  #: reference return of score 100
    rewards: str  #: what the stored reward means
    evaluation_episodes: Count
    datasets: dict[str, str] = field(default_factory=dict)  #: source -> its name there
    no_recipe: str = ""  #: why its data cannot be made here
    recorded: int = 0  #: rows after which an episode of its data times out, where that is not at the horizon
    package: str = ""  #: imported before the environment is made, for it registers it
    action_range: Range | None = None  #: of the environment, where it is not [-1, 1]; agents act in [-1, 1]
    make: Callable[[], Any] | None = field(default=None, compare=False, repr=False)  #: makes it, where no id does

    @classmethod
    def of(
        cls,
        environment: str | Callable[[], Any] | None = None,
        *,
        package: str = "",
        name: str = "",
        horizon: int | None = None,
        score: tuple[float, float] | None = None,
        episodes: int = 10,
        observation_size: int | None = None,
        action_size: int | None = None,
        action_range: ActionRange | None = None,
    ) -> "Task":
        """Return a task of your own; its environment is made once, and closed, for its sizes.

        Args:
            environment: a gymnasium id, or a function that makes a `gymnasium.Env`. Without one nothing is evaluated,
                losses are the learning curve, and the two sizes must be given.
            package: imported first, where it registers the id.
            name: in tables and directories; the id by default.
            horizon: env steps after which an episode times out; by default the environment's own limit, or 1,000.
            score: the returns of scores 0 and 100; without them the score is the return.
            episodes: per seed and evaluation.
            observation_size: of a task without an environment.
            action_size: of a task without an environment.
            action_range: lowest and highest action, numbers or vectors; the environment's own by default, else
                [-1, 1]. Agents act in [-1, 1], which is mapped to it.

        Raises:
            NotAvailableError: there is no such environment or package.
            MoorlError: it acts or shows what no agent here can learn from, or a number is out of its bounds.
        """
        from moorl_jax.tasks import own  # which makes Tasks

        sizes = observation_size, action_size
        return own.describe(environment, package, name, horizon, score, episodes, sizes, action_range)

    @classmethod
    def read(cls, written: dict[str, Any]) -> "Task":
        """Return a task of one's own as it was `written`; raises MoorlError or TypeError where it was not."""
        task = cls(**{name: _tuples(value) for name, value in written.items()})
        require_bounds(task)
        return task

    @property
    def written(self) -> dict[str, Any]:
        """What a result keeps of a task of one's own: all but its data's place and code, as JSON can hold it."""
        return {name: value for name, value in vars(self).items() if name not in self.UNWRITTEN}

    @property
    def own(self) -> bool:
        """Whether it is a user's own, which the catalogue does not know."""
        return self.family == OWN

    @property
    def evaluated(self) -> bool:
        """Whether there is an environment to evaluate in."""
        return bool(self.environment)

    @property
    def scaled(self) -> bool:
        """Whether scores are on the scale of reference returns; else they are returns."""
        return (self.low, self.high) != PLAIN

    @property
    def comparable(self) -> bool:
        """Whether a mean of its score with other tasks' means something: it is on a scale of reference returns."""
        return self.evaluated and self.scaled if self.own else bool(self.datasets)

    @property
    def pixels(self) -> bool:
        """Whether observations are images."""
        return len(self.observation_shape) == 3

    @property
    def recorded_horizon(self) -> int:
        """Rows after which an episode of its data times out."""
        return self.recorded or self.horizon

    def score(self, episode_return: float) -> float:
        """Normalize a raw return to D4RL's scale, 0 the reference minimum and 100 the maximum."""
        return 100.0 * (episode_return - self.low) / (self.high - self.low)

    def in_range(self, actions: np.ndarray) -> np.ndarray:
        """Return actions in [-1, 1], (..., action size), as the environment takes them."""
        if not self.action_range:
            return actions
        low, high = (np.array(side, np.float32) for side in self.action_range)
        return np.clip(low + (actions + 1) * ((high - low) / 2), low, high)

    def with_data(self, source: str, place: str) -> "Task":
        """Return a task of one's own with its data in a place; one of the catalogue knows its data."""
        return dataclasses.replace(self, datasets={source: place}) if self.own else self


def _tuples(value: Any) -> Any:
    """Return what JSON has made lists of as tuples again."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
