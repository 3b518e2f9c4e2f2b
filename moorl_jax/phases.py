"""The small language of training protocols: what an agent goes through, as data.

A phase names the agent that acts and learns in it. One recipe may pass through several: the same class with other
numbers (a schedule switched off, another discount), or other classes altogether, with a `Switch` between them that
turns the one's state into the other's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moorl_jax.replay.sampling import FromDataset, Sampling
from moorl_jax.types import Array, Transitions

if TYPE_CHECKING:
    from moorl_jax.agents.contract import Agent
    from moorl_jax.replay.buffer import Experience


@dataclass(frozen=True)
class Offline:
    """Updates on the dataset alone, no environment step."""

    agent: "Agent"
    updates: int
    judged: bool = True  #: whether its updates count as the agent's and are evaluated; not where it only prepares

    @property
    def sampling(self) -> Sampling:
        """The rule by which batches are drawn."""
        return FromDataset()


@dataclass(frozen=True)
class Pretrain:
    """Updates without env steps, on batches drawn by any rule, from online experience too."""

    agent: "Agent"
    updates: int
    sampling: Sampling
    judged: bool = True


@dataclass(frozen=True)
class Collect:
    """Env steps without updates: the agent acts, or uniform random actions are taken."""

    agent: "Agent"
    env_steps: int
    random: bool = False
    judged: bool = True  #: whether the agent is evaluated on the way


@dataclass(frozen=True)
class Online:
    """Env steps, each followed by `utd` updates (the update-to-data ratio)."""

    agent: "Agent"
    env_steps: int
    sampling: Sampling
    utd: int = 1


@dataclass(frozen=True)
class Judge:
    """An evaluation of the agent, which neither acts nor learns."""

    agent: "Agent"


@dataclass(frozen=True)
class Pause:
    """The episodes under way end, as by a time-out; the next env steps begin new ones."""


@dataclass(frozen=True)
class Review:
    """A step between phases that reads what a seed has seen, on the host.

    `change(state, key, experience)` returns a state of the same structure; `experience` holds NumPy arrays, and where
    episodes ended.
    """

    change: Callable[[Any, Array, "Experience"], Any] = field(compare=False)


@dataclass(frozen=True)
class Switch:
    """A pure step between phases: fresh networks, frozen policies, reset optimisers.

    `change(state, key, example)` maps the state of the phase before to that of the phase after; `key` is new random
    bits, `example` a transition with a leading axis of one.
    """

    change: Callable[[Any, Array, Transitions], Any] = field(compare=False)


Instant = Pause | Review | Switch
"""What lies between phases and takes neither updates nor env steps."""

Phase = Offline | Pretrain | Collect | Online | Judge | Instant
