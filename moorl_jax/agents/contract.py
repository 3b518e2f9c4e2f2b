"""What an agent is: frozen data and pure functions over a pytree state.

This is all that the engine uses of an algorithm. To write one, subclass `Agent` in a file of your own (its annotated
fields become a frozen dataclass by themselves) and give it `init`, `update` and `greedy`.
"""

import sys
import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from flax import struct

from moorl_jax.config import Bounded, Count, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import Network
from moorl_jax.phases import Offline, Online, Phase
from moorl_jax.replay import Union
from moorl_jax.types import Array, Draws, Metrics, NStep, Params, ReturnsToGo, Transitions

State = Any
"""A pytree of plain arrays, no typed random keys, that `init` makes and `update` maps to its successor."""

S = TypeVar("S")
"""An agent's own kind of state."""

Batch = Any
"""What an update learns from: Transitions; a pair of them where the phase samples `Both`."""

Update = Callable[[S, Batch, Draws], tuple[S, Metrics]]


class Agent(Bounded, struct.PyTreeNode, Generic[S]):
    """The contract. The fields are the config.

    Numbers are pytree leaves, so a sweep over them can use `vmap`; all other fields are `static`.

    `class IQL(Agent[IQLState])` names the state for a type checker; `class IQL(Agent)` does as well.

    Each field must hold what its annotation says, or MoorlError is raised; `moorl_jax.config` has bounds for them.
    """

    source = ""  #: where the defaults come from: a paper or files of a repository; not a config field
    #: file and line where the class is defined (for a notebook, Python's name of the cell); not a config field
    written = ("", 0)

    batch_size: Count = static(256)  #: transitions an update is given

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        above = traceback.walk_stack(sys._getframe(1))  # not always the first: a metaclass may be in between
        of_module = (frame for frame, _ in above if frame.f_globals.get("__name__") == cls.__module__)
        if frame := next(of_module, None):
            cls.written = (frame.f_code.co_filename, frame.f_lineno)

    def init(self, key: Array, example: Transitions) -> State:
        """Return the state before the first update: networks, targets, optimisers, scalars.

        `example` is a batch of one transition; only its shapes and dtypes are used.
        """
        raise NotImplementedError

    def draw(self, key: Array, batch: Batch) -> Draws:
        """Return all random numbers of one update (none by default). Only the shapes and dtypes of `batch` are used.

        Losses take their noise from here, never from a key, so that a test can pass in the noise of a reference
        implementation.
        """
        return {}

    def update(self, state: S, batch: Batch, draws: Draws) -> tuple[S, Metrics]:
        """Perform one update (usually one gradient step of the critics) and return the new state and the metrics."""
        raise NotImplementedError

    def cycle(self) -> tuple[Update[S], ...]:
        """Return the updates that repeat in turn; each is given its own batch and draws.

        One by default. An agent that skips its actor on some updates (TD3; RLPD, with many critic updates per env step)
        returns different updates here. A condition inside one update would compute both branches under `vmap`. All
        updates of a cycle must keep the structure of the state. For each metric, the value of the last update that
        computes it is reported.
        """
        return (self.update,)

    def policy(self, state: State) -> Params:
        """Return the part of the state that `greedy`, `act` and `act_in_evaluation` need."""
        return state.actor.params

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the deterministic actions, (..., action size), for observations (..., observation size)."""
        raise NotImplementedError

    def network(self, params: Params) -> Network:
        """Return the greedy policy as one network, for export; by default tanh of the MLP with parameters `params`.

        Raises MoorlError if the policy is not such a network.
        """
        if "layer0" not in params:
            raise MoorlError(f"the policy of {type(self).__name__} is not one MLP: it cannot be exported")
        return Network(params)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return exploratory actions; the greedy ones by default."""
        return self.greedy(params, observations)

    def act_in_evaluation(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the actions that evaluation takes; the greedy ones by default."""
        return self.greedy(params, observations)

    def returns_to_go(self) -> ReturnsToGo | None:
        """Return the rule for computing the batches' `mc_returns`, or None if the agent does not need them."""
        return None

    def needs_next_actions(self) -> bool:
        """Return whether batches must contain `next_actions`, the dataset's actions at s'. False by default.

        Only the dataset has them, so phases in which such an agent learns must sample with `FromDataset`.
        """
        return False

    def best_episodes(self) -> float:
        """Return the fraction of episodes to learn from, those with the highest returns; 1 by default.

        The normalization statistics come from these episodes only.
        """
        return 1.0

    def n_step_returns(self) -> NStep:
        """Return the number of steps that a transition spans (n-step returns), for images; one by default."""
        return NStep()

    def chunks(self) -> NStep | None:
        """Return the chunk length if batches consist of action chunks (states only); None, the default, if not.

        A batch of chunks is what `replay.Chunks` makes: it has the actions of all steps, (batch, steps, action size).
        """
        return None

    def open_loop(self) -> int:
        """Return the number of env steps whose actions are chosen at once; 1 by default.

        If more, `greedy`, `act` and `act_in_evaluation` return (..., env steps, action size). All of them are taken
        before it is asked again, unless the episode or the phase ends.
        """
        return 1

    def online(self, env_steps: int) -> Online:
        """Return the phase of online learning, with the agent's config changed for it if necessary.

        By default one update per env step on dataset and buffer together. Raises MoorlError if the agent cannot learn
        online.
        """
        return Online(self, env_steps, Union())

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return the recipe the agent goes through within a budget of offline updates and online env steps.

        By default offline training, then learning online. Either number may be 0; the phase is then left out. Raises
        MoorlError for a budget the agent cannot use.
        """
        return (Offline(self, updates), *([self.online(env_steps)] if env_steps else []))
