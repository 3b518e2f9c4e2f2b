"""What an agent is: frozen data and pure functions over a pytree state.

The engine knows nothing else of an algorithm. To write one, subclass `Agent` in a file of your own (its annotated
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
    """The contract. Fields are the config: numbers are leaves, so sweeping them is a `vmap`; the rest is `static`.

    `class IQL(Agent[IQLState])` names the state for a type checker; `class IQL(Agent)` does as well.

    Each field must hold what its annotation says, or MoorlError is raised; `moorl_jax.config` has bounds for them.
    """

    source = ""  #: where the defaults come from, a paper or files of a repository; no field
    written = ("", 0)  #: the file and line of the class; of a notebook's the name that Python gives its cell; no field

    batch_size: Count = static(256)  #: transitions an update is given

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        above = traceback.walk_stack(sys._getframe(1))  # not always the first: a metaclass may be in between
        of_module = (frame for frame, _ in above if frame.f_globals.get("__name__") == cls.__module__)
        if frame := next(of_module, None):
            cls.written = (frame.f_code.co_filename, frame.f_lineno)

    def init(self, key: Array, example: Transitions) -> State:
        """Return the state before the first update: networks, targets, optimisers, scalars.

        `example` is a batch of one, for its shapes and types.
        """
        raise NotImplementedError

    def draw(self, key: Array, batch: Batch) -> Draws:
        """Return all randomness of one update; of `batch` only shapes and types count. Nothing by default.

        Losses take their noise from here, never from a key, so that a test can feed them a reference's own.
        """
        return {}

    def update(self, state: S, batch: Batch, draws: Draws) -> tuple[S, Metrics]:
        """Perform one update (one critic gradient step) and return the new state and its scalars."""
        raise NotImplementedError

    def cycle(self) -> tuple[Update[S], ...]:
        """Return the updates that repeat in turn; each is given its own batch and draws.

        One by default. An agent whose actor rests on some updates (TD3; RLPD, with many critic updates an env step)
        says so here rather than by a condition in its update, which under `vmap` would compute both branches. All of a
        cycle's updates take the state of the same structure; of each metric the last update that has it is reported.
        """
        return (self.update,)

    def policy(self, state: State) -> Params:
        """Return what `greedy`, `act` and `act_in_evaluation` need of the state."""
        return state.actor.params

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the deterministic actions, (..., action size), for observations (..., observation size)."""
        raise NotImplementedError

    def network(self, params: Params) -> Network:
        """Return what `greedy` computes as one network, for export: by default tanh of the MLP that `params` are.

        Raises MoorlError where it is no such network.
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
        """Return how `mc_returns` of the batches are to be computed, for the agents that need them."""
        return None

    def needs_next_actions(self) -> bool:
        """Return whether its batches are to hold `next_actions`, the data's actions at s'; they do not by default.

        Only the dataset has them: a phase in which an agent that asks for them learns draws `FromDataset`.
        """
        return False

    def best_episodes(self) -> float:
        """Return the share of the dataset's episodes, those of the highest returns, that it learns from; 1 by default.

        Observations are normalized by what is kept.
        """
        return 1.0

    def n_step_returns(self) -> NStep:
        """Return how many steps the transitions of its batches span, where observations are images; one by default."""
        return NStep()

    def chunks(self) -> NStep | None:
        """Return over how many steps its batches are chunks, where they are of states; None, the default: they are not.

        A batch of chunks is what `replay.Chunks` makes: it has the actions of all steps, (batch, steps, action size).
        """
        return None

    def open_loop(self) -> int:
        """Return for how many env steps it chooses the actions at once; for one by default.

        If more, `greedy`, `act` and `act_in_evaluation` return (..., env steps, action size). All of them are taken
        before it is asked again, unless the episode or the phase ends.
        """
        return 1

    def online(self, env_steps: int) -> Online:
        """Return the phase in which the agent learns online, with whatever it changes of itself for that.

        By default one update per env step on dataset and buffer together. Raises MoorlError where it never does.
        """
        return Online(self, env_steps, Union())

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return the recipe the agent goes through within a budget of offline updates and online env steps.

        By default offline training, then learning online. Either number may be 0: such phases are left out. Raises
        MoorlError for a budget the agent cannot use.
        """
        return (Offline(self, updates), *([self.online(env_steps)] if env_steps else []))
