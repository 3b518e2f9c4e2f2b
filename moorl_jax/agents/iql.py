"""IQL: implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv 2110.06169)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from typing_extensions import TypeVar

from moorl_jax.agents.common import kept_units
from moorl_jax.agents.contract import Agent
from moorl_jax.config import NotNegative, PartShare, Positive, Share, Widths, static
from moorl_jax.nets import MLP, Learner, Network, critics, init_critics, init_mlp, mlp, polyak
from moorl_jax.phases import Online
from moorl_jax.replay import Union
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions

LOG_STD_BOUNDS = (-5.0, 2.0)


class IQLState(struct.PyTreeNode):
    """Actor, state value, and twin critics with their targets."""

    actor: Learner  #: {mean: MLP, log_std: (action size,)}
    value: Learner
    critic: Learner
    target_critic: Params


S = TypeVar("S", bound=IQLState, default=IQLState)  #: PEX's state holds more


class IQL(Agent[S]):
    """IQL with the defaults of the authors' MuJoCo configuration."""

    source = "ikostrikov/implicit_q_learning configs/mujoco_config.py, learner.py, actor.py"

    hidden: Widths = static((256, 256))
    dropout: PartShare = static(0.0)  #: of the actor's hidden units, in its loss
    actor_learning_rate: NotNegative = 3e-4
    value_learning_rate: NotNegative = 3e-4
    critic_learning_rate: NotNegative = 3e-4
    actor_decay_updates: Positive | None = None  #: updates over which the actor's learning rate decays to 0 (cosine)
    discount: Share = 0.99
    tau: Share = 0.005
    expectile: Share = 0.7
    temperature: NotNegative = 3.0  #: inverse temperature of the advantage weights
    weight_clip: Positive = 100.0  #: largest advantage weight

    def init(self, key: Array, example: Transitions) -> IQLState:
        """Initialize every layer orthogonally with gain sqrt(2), and the std to 1."""
        actor_key, value_key, critic_key = jax.random.split(key, 3)
        kernel_init = nn.initializers.orthogonal(2.0**0.5)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        action_size = example.actions.shape[-1]
        mean = init_mlp(actor_key, MLP((*self.hidden, action_size), kernel_init), example.observations)
        scalar = MLP((*self.hidden, 1), kernel_init)
        value = init_mlp(value_key, scalar, example.observations)
        critic = init_critics(critic_key, scalar, inputs)
        actor = {"mean": mean, "log_std": jnp.zeros(action_size, example.actions.dtype)}
        return IQLState(Learner.create(actor), Learner.create(value), Learner.create(critic), critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the noise of the dropout masks, if dropout is used."""
        units = (len(self.hidden), len(batch.actions), max(self.hidden))
        return {"dropout": jax.random.uniform(key, units, batch.actions.dtype)} if self.dropout else {}

    def update(self, state: S, batch: Transitions, draws: Draws) -> tuple[S, Metrics]:
        """Update value, critics and targets, then the actor, using the new value and the old targets."""
        state, advantage, metrics = self.update_critics(state, batch)
        state, actor_metrics = self.update_actor(state, batch, draws, advantage)
        return state, metrics | actor_metrics

    def update_critics(self, state: S, batch: Transitions) -> tuple[S, Array, Metrics]:
        """Update value, then critics using the new value, then targets; also return the advantages, (batch,)."""
        q = critics(state.target_critic, batch.observations, batch.actions).min(axis=0)

        value_loss = partial(self.value_loss, q=q, batch=batch)
        (_, value_metrics), gradients = jax.value_and_grad(value_loss, has_aux=True)(state.value.params)
        value = state.value.descend(gradients, self.value_learning_rate)

        # One pass for V(s) and V(s').
        both = jnp.stack([batch.observations, batch.next_observations])
        v, next_v = mlp(value.params, both)[..., 0]

        critic_loss = partial(self.critic_loss, next_v=next_v, batch=batch)
        (_, critic_metrics), gradients = jax.value_and_grad(critic_loss, has_aux=True)(state.critic.params)
        critic = state.critic.descend(gradients, self.critic_learning_rate)

        target_critic = polyak(state.target_critic, critic.params, self.tau)
        state = state.replace(value=value, critic=critic, target_critic=target_critic)
        return state, q - v, value_metrics | critic_metrics

    def update_actor(self, state: S, batch: Transitions, draws: Draws, advantage: Array) -> tuple[S, Metrics]:
        """Update the actor by the batch's advantages."""
        kept = kept_units(draws["dropout"], self.hidden, self.dropout) if self.dropout else ()
        loss = partial(self.actor_loss, advantage=advantage, batch=batch, kept=kept)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.actor.params)
        actor = state.actor.descend(gradients, self._actor_rate(state.actor.moments.count))
        return state.replace(actor=actor), metrics

    def value_loss(self, value: Params, q: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return mean |expectile - 1(u <= 0)| u^2, u = min_i Qbar_i(s, a) - V(s) (eq. 5)."""
        v = mlp(value, batch.observations)[..., 0]
        chex.assert_equal_shape([q, v, batch.rewards])
        error = q - v
        weight = jnp.where(error > 0, self.expectile, 1.0 - self.expectile)
        loss = jnp.mean(weight * error**2)
        return loss, {"value_loss": loss, "v": v.mean()}

    def actor_loss(
        self, actor: Params, advantage: Array, batch: Transitions, kept: tuple[Array, ...] = ()
    ) -> tuple[Array, Metrics]:
        """Return -mean min(exp(temperature A), clip) log pi(a|s), A = min_i Qbar_i(s, a) - V(s) (eq. 7).

        `kept` are the factors of the actor's hidden units under dropout.
        """
        weight = jnp.minimum(jnp.exp(self.temperature * advantage), self.weight_clip)
        log_std = jnp.clip(actor["log_std"], *LOG_STD_BOUNDS)
        mean = jnp.tanh(mlp(actor["mean"], batch.observations, kept))
        error = (batch.actions - mean) / jnp.exp(log_std)
        log_density = jnp.sum(-0.5 * error**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi), axis=-1)
        chex.assert_equal_shape([weight, log_density])
        loss = -jnp.mean(weight * log_density)
        return loss, {"actor_loss": loss, "advantage": advantage.mean()}

    def critic_loss(self, critic: Params, next_v: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return mean sum_i (Q_i(s, a) - r - (1 - d) discount V(s'))^2 (eq. 6)."""
        target = batch.rewards + self.discount * (1.0 - batch.terminals) * next_v
        q = critics(critic, batch.observations, batch.actions)
        chex.assert_shape(q, (2, *target.shape))
        loss = jnp.mean(jnp.sum((q - target) ** 2, axis=0))
        return loss, {"critic_loss": loss, "q": q.mean()}

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the mean of pi(.|s), tanh(net(s)); the density around it is not squashed."""
        return jnp.tanh(mlp(params["mean"], observations))

    def network(self, params: Params) -> Network:
        """Return the mean's."""
        return Network(params["mean"])

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample pi(.|s), clipped to the action range."""
        mean = self.greedy(params, observations)
        std = jnp.exp(jnp.clip(params["log_std"], *LOG_STD_BOUNDS))
        return jnp.clip(mean + std * jax.random.normal(key, mean.shape, mean.dtype), -1.0, 1.0)

    def online(self, env_steps: int) -> Online:
        """Return fine-tuning on all data at the actor's full rate.

        The cosine decay is for the offline phase only: after it, the rate would stay at 0.
        """
        return Online(self.replace(actor_decay_updates=None), env_steps, Union())

    def _actor_rate(self, count: Array) -> Array | float:
        """Return the actor's learning rate at its `count`-th step, counted from 0."""
        if self.actor_decay_updates is None:
            return self.actor_learning_rate
        progress = jnp.minimum(count / self.actor_decay_updates, 1.0)
        return self.actor_learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
