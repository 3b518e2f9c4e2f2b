"""The small language of training protocols: what an agent goes through, as data.

A recipe is a tuple of phases. A phase names the agent that acts and learns in it, and one recipe may pass through
several: the same class with other numbers (a schedule switched off, another discount), or other classes altogether,
with a `Switch` between them that turns the one's state into the other's.

Each kind of phase says for itself how long it is and what is done in it. The engine asks the few questions that stand
in `Phase`, and never of which kind a phase is, so that a new kind is a class in this file and nothing else.
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
    random: bool = False  #: whether these are uniform random actions instead of the agent's
    utd: int = 0  #: updates after each env step; of updates alone, 1
    evaluated: bool = True  #: whether the agent is evaluated on the way, and the updates count as its own
    unit: str = "updates"  #: what `length` counts

    @property
    @abstractmethod
    def length(self) -> int:
        """How many updates, env steps or evaluations it takes."""

    @property
    def name(self) -> str:
        """What curves call it."""
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
    evaluated: bool = True  #: False where the phase only prepares: its updates are not counted as the agent's then

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
        """What results have called it from the first."""
        return "judge"

    @property
    def length(self) -> int:
        """One evaluation."""
        return 1


class Seeds(Protocol):
    """The seeds of a training, as an instant finds them."""

    def end_episodes(self) -> None:
        """End the episodes under way as a time-out would."""

    def switch(self, change: Callable[[Any, Array, Transitions], Any]) -> None:
        """Replace each seed's state by `change(state, key, example)`."""

    def review(self, change: Callable[[Any, Array, "Experience"], Any]) -> None:
        """Replace each seed's state by `change(state, key, experience)`; before the first env step there is none."""


class Instant(Phase):
    """What happens between phases and takes neither updates nor env steps."""

    sampling = None
    evaluated = False

    @property
    def length(self) -> int:
        """Nothing."""
        return 0

    @abstractmethod
    def happen(self, seeds: Seeds) -> None:
        """Do to the seeds what this instant is for."""


@dataclass(frozen=True)
class Pause(Instant):
    """The episodes under way end, as by a time-out; the next env steps begin new ones."""

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

    `change(state, key, example)` maps the state of the phase before to that of the phase after; `key` is new random
    bits, `example` a transition with a leading axis of one.
    """

    change: Callable[[Any, Array, Transitions], Any] = field(compare=False)

    def happen(self, seeds: Seeds) -> None:
        """Change each seed's state."""
        seeds.switch(self.change)
