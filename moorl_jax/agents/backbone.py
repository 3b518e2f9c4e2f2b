"""What OPT and WSRL ask of the agent that they are built on."""

from typing import Any, Protocol, runtime_checkable

from moorl_jax.agents.contract import State, Update
from moorl_jax.nets import Activation, Network, QFunction
from moorl_jax.phases import Online, Phase
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


@runtime_checkable
class Backbone(Protocol):
    """An agent whose actor can maximize any given Q(s, a): TD3+BC, SPOT, or one of your own.

    Its state has a Learner `critic` (twin critics, of which the actor maximizes the first) and `target_critic`. Its
    draws contain `policy_noise`, (batch, A), for the critics' targets. Everything else is as in `Agent`.
    """

    @property
    def critic_learning_rate(self) -> float:
        """Of the critics."""

    @property
    def tau(self) -> float:
        """Of the targets."""

    def init(self, key: Array, example: Transitions) -> State:
        """As an agent's."""

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """As an agent's."""

    def cycle(self) -> tuple[Update, ...]:
        """As an agent's; only the last update moves the actor and the targets."""

    def update_critic(self, state: Any, batch: Transitions, draws: Draws) -> tuple[Any, Metrics]:
        """Update the critics alone."""

    def update_actor(self, state: Any, q: QFunction, batch: Transitions, draws: Draws) -> tuple[Any, Metrics]:
        """Update the actor to climb `q`, then move all targets."""

    def critic_loss(self, critic: Params, state: Any, batch: Transitions, draws: Draws) -> tuple[Array, Metrics]:
        """Return the critics' loss and metrics."""

    def policy(self, state: Any) -> Params:
        """As an agent's."""

    def greedy(self, params: Params, observations: Array) -> Array:
        """As an agent's."""

    def network(self, params: Params) -> Network:
        """As an agent's."""

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """As an agent's."""

    def online(self, env_steps: int) -> Online:
        """As an agent's."""

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """As an agent's."""


@runtime_checkable
class WarmStart(Protocol):
    """An agent that WSRL can start from: CQL, Cal-QL, SAC-N, EDAC, or one of your own.

    Its policy is a squashed Gaussian; its state holds Learners `actor` and `critic`, an ensemble, and `target_critic`.
    """

    @property
    def activation(self) -> Activation:
        """Of policy and critics."""

    @property
    def members(self) -> int:
        """Critics in the ensemble."""

    @property
    def discount(self) -> float:
        """Of the rewards."""

    @property
    def tau(self) -> float:
        """Of the targets."""

    def init(self, key: Array, example: Transitions) -> State:
        """As an agent's."""

    def gaussian(self, actor: Params, observations: Array) -> tuple[Array, Array]:
        """Return the policy's mean and log std before squashing, (..., action size) each."""

    def temperature(self, state: Any) -> Array:
        """Return the weight of the policy's entropy, (), more than 0."""

    def network(self, params: Params) -> Network:
        """As an agent's."""

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """As an agent's."""
