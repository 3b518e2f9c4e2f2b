"""Training protocols as data: the phases that an agent goes through.

A recipe is a tuple of phases. A phase names the agent that acts and learns in it, and a recipe may use several agents:
the same class with different hyperparameters (no schedule, another discount), or different classes, with a `Switch`
between them that converts the state.

Each kind of phase defines how long it is and what happens in it. The engine relies only on the attributes declared in
`Phase`, not on a phase's class, so that a new kind of updates or env steps is a class in this file and nothing else.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from moorl_jax.replay.sampling import FromDataset, Sampling
from moorl_jax.types import Array, Transitions

if TYPE_CHECKING:
    from moorl_jax.agents.contract import Agent
    from moorl_jax.replay.buffer import Experience


class Phase(ABC):
    """A part of a recipe: updates, env steps, an evaluation, or an instant between those."""

    agent: "Agent"  #: who acts and learns; instants have none
    sampling: Sampling | None  #: the rule by which the batches of its updates are drawn; None: it makes no updates
    acts: bool = False  #: whether the agent takes env steps
    random: bool = False  #: whether actions are uniformly random instead of the agent's
    utd: int = 0  #: updates per env step; 1 in phases without env steps
    evaluated: bool = True  #: whether the agent is evaluated during the phase and its updates are counted
    unit: str = "updates"  #: what `length` counts

    @property
    @abstractmethod
    def length(self) -> int:
        """How many updates, env steps or evaluations it takes."""

    @property
    def name(self) -> str:
        """Its name in learning curves."""
        return type(self).__name__.lower()

    @property
    def learns(self) -> bool:
        """Whether it makes updates."""
        return self.sampling is not None

    @property
    def needs_dataset(self) -> bool:
        """Whether it draws from a dataset."""
        return self.sampling is not None and self.length > 0 and self.sampling.needs_dataset


@dataclass(frozen=True)
class Offline(Phase):
    """Updates on the dataset alone, no env steps."""

    agent: "Agent"
    updates: int
    evaluated: bool = True  #: False for preparatory phases, whose updates are not counted

    sampling = FromDataset()
    utd = 1

    @property
    def length(self) -> int:
        """Its updates."""
        return self.updates


@dataclass(frozen=True)
class Pretrain(Phase):
    """Updates without env steps, on batches drawn by any rule, from online experience too."""

    agent: "Agent"
    updates: int
    sampling: Sampling
    evaluated: bool = True  #: as in `Offline`

    utd = 1

    @property
    def length(self) -> int:
        """Its updates."""
        return self.updates


@dataclass(frozen=True)
class Collect(Phase):
    """Env steps without updates: the agent acts, or uniform random actions are taken."""

    agent: "Agent"
    env_steps: int
    random: bool = False
    evaluated: bool = True

    sampling = None
    acts = True
    unit = "env steps"

    @property
    def length(self) -> int:
        """Its env steps."""
        return self.env_steps


@dataclass(frozen=True)
class Online(Phase):
    """Env steps, each followed by `utd` updates (the update-to-data ratio)."""

    agent: "Agent"
    env_steps: int
    sampling: Sampling
    utd: int = 1

    acts = True
    unit = "env steps"

    @property
    def length(self) -> int:
        """Its env steps."""
        return self.env_steps


@dataclass(frozen=True)
class Evaluate(Phase):
    """An evaluation of the agent, which neither acts nor learns."""

    agent: "Agent"

    sampling = None
    unit = "evaluations"

    @property
    def name(self) -> str:
        """The name that existing results use."""
        return "judge"

    @property
    def length(self) -> int:
        """One evaluation."""
        return 1


class Seeds(Protocol):
    """What an instant can do to the seeds of a run."""

    def end_episodes(self) -> None:
        """End the episodes under way as a time-out would."""

    def switch(self, change: Callable[[Any, Array, Transitions], Any]) -> None:
        """Replace each seed's state by `change(state, key, example)`."""

    def review(self, change: Callable[[Any, Array, "Experience"], Any]) -> None:
        """Replace each seed's state by `change(state, key, experience)`; does nothing before the first env step."""


class Instant(Phase):
    """An operation between phases, with no updates or env steps of its own."""

    sampling = None
    evaluated = False

    @property
    def length(self) -> int:
        """Nothing."""
        return 0

    @abstractmethod
    def happen(self, seeds: Seeds) -> None:
        """Apply this operation to the seeds."""


@dataclass(frozen=True)
class Pause(Instant):
    """Truncate the running episodes, as a time-out would; the next env steps start new ones."""

    def happen(self, seeds: Seeds) -> None:
        """End the episodes."""
        seeds.end_episodes()


@dataclass(frozen=True)
class Review(Instant):
    """A step between phases that reads what a seed has seen, on the host.

    `change(state, key, experience)` returns a state of the same structure; `experience` holds NumPy arrays, and where
    episodes ended.
    """

    change: Callable[[Any, Array, "Experience"], Any] = field(compare=False)

    def happen(self, seeds: Seeds) -> None:
        """Change each seed's state by what the seed has seen."""
        seeds.review(self.change)


@dataclass(frozen=True)
class Switch(Instant):
    """A pure step between phases: fresh networks, frozen policies, reset optimisers.

    `change(state, key, example)` maps the state of the phase before to that of the phase after; `key` is a fresh random
    key, `example` a batch of one transition.
    """

    change: Callable[[Any, Array, Transitions], Any] = field(compare=False)

    def happen(self, seeds: Seeds) -> None:
        """Change each seed's state."""
        seeds.switch(self.change)
