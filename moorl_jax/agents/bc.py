"""Behaviour cloning (BC) of the dataset's actions, and 10%-BC, of the actions of its best episodes."""

import chex
import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.agents.common import normalized
from moorl_jax.agents.contract import Agent
from moorl_jax.config import NotNegative, PositiveShare, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import MLP, Activation, Learner, Network, init_mlp, mlp
from moorl_jax.phases import Online
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class BCState(struct.PyTreeNode):
    """Only an actor."""

    actor: Learner


class BC(Agent[BCState]):
    """A deterministic tanh policy fitted by mean squared error, the BC baseline of TD3+BC's paper."""

    source = "corl-team/CORL algorithms/offline/any_percent_bc.py, with all of the data"

    hidden: Widths = static((256, 256))
    activation: Activation = static("relu")
    layer_norm: bool = static(False)  #: normalize hidden units after their activation
    learning_rate: NotNegative = 3e-4

    def init(self, key: Array, example: Transitions) -> BCState:
        """Initialize the actor as PyTorch would."""
        net = self.net(example.actions.shape[-1])
        return BCState(Learner.create(init_mlp(key, net, example.observations)))

    def net(self, action_size: int) -> MLP:
        """Return the policy's network."""
        return MLP((*self.hidden, action_size), layer_norm=normalized(self.layer_norm), activation=self.activation)

    def update(self, state: BCState, batch: Transitions, draws: Draws) -> tuple[BCState, Metrics]:
        """Take one step on the cloning loss."""
        loss, gradients = jax.value_and_grad(self.loss)(state.actor.params, batch)
        return BCState(state.actor.descend(gradients, self.learning_rate)), {"bc_loss": loss}

    def loss(self, actor: Params, batch: Transitions) -> Array:
        """Return mean (pi(s) - a)^2 over the batch and the action's dimensions."""
        actions = self.greedy(actor, batch.observations)
        chex.assert_equal_shape([actions, batch.actions])
        return jnp.mean((actions - batch.actions) ** 2)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return pi(s)."""
        return jnp.tanh(mlp(params, observations, activation=self.activation))

    def network(self, params: Params) -> Network:
        """Return pi."""
        return super().network(params)._replace(activation=self.activation)

    def online(self, env_steps: int) -> Online:
        """Raise MoorlError: cloning its own actions would teach it nothing."""
        raise MoorlError("BC does not learn online: give it no env steps")


class BestBC(BC):
    """10%-BC: cloning of the tenth of the dataset's episodes with the highest returns (arXiv 2106.01345, section 5.1).

    Returns are undiscounted and episodes end as marked in the data; CORL discounts by 0.99 and cuts episodes after
    1,000 steps.
    """

    source = "corl-team/CORL algorithms/offline/any_percent_bc.py, with a tenth of the episodes"

    share: PositiveShare = static(0.1)  #: of the episodes

    def best_episodes(self) -> float:
        """Ask for the best episodes alone."""
        return self.share
