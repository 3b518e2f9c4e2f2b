"""IQL: implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv 2110.06169)."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from typing_extensions import TypeVar

from moorl_jax.agents.common import GLOROT, SMALL_GLOROT, kept_units, normalized
from moorl_jax.agents.contract import Agent
from moorl_jax.config import NotNegative, PartShare, Positive, Share, Widths, static
from moorl_jax.nets import MLP, Activation, Learner, Network, critics, init_critics, init_mlp, mlp, polyak
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
    """IQL with the defaults of the authors' MuJoCo configuration.

    The code of FQL's authors for OGBench differs: one optimizer step for all losses (`joint`), another initialization
    (`glorot`), a Gaussian with unsquashed mean and std 1, and optionally an actor that maximizes Q (`actor_objective`).
    """

    source = "ikostrikov/implicit_q_learning configs/mujoco_config.py, learner.py, actor.py"

    hidden: Widths = static((256, 256))
    activation: Activation = static("relu")
    actor_layer_norm: bool = static(False)  #: normalize hidden units after their activation
    value_layer_norm: bool = static(False)  #: normalize hidden units of value and critics after their activation
    glorot: bool = static(False)  #: initialize kernels by Glorot's uniform rule, as OGBench's code does
    joint: bool = static(False)  #: compute all losses and the targets' step with the parameters from before the update
    squash: bool = static(True)  #: tanh of the actor's mean; otherwise it is clipped where it acts
    learn_std: bool = static(True)  #: learn the policy's std; otherwise it is 1
    actor_objective: Literal["awr", "ddpgbc"] = static("awr")  #: advantage-weighted regression, or DDPG+BC
    dropout: PartShare = static(0.0)  #: dropout rate of the actor's hidden units in its loss
    actor_learning_rate: NotNegative = 3e-4
    value_learning_rate: NotNegative = 3e-4
    critic_learning_rate: NotNegative = 3e-4
    actor_decay_updates: Positive | None = None  #: updates over which the actor's learning rate decays to 0 (cosine)
    discount: Share = 0.99
    tau: Share = 0.005
    expectile: Share = 0.7
    temperature: NotNegative = 3.0  #: inverse temperature of the advantage weights
    weight_clip: Positive = 100.0  #: largest advantage weight
    cloning_weight: NotNegative = 1.0  #: weight of the data's log-density in DDPG+BC (alpha)

    def init(self, key: Array, example: Transitions) -> IQLState:
        """Initialize every layer orthogonally with gain sqrt(2), and the std to 1.

        With `glorot`, the actor's last kernel has a hundredth of the others' variance.
        """
        actor_key, value_key, critic_key = jax.random.split(key, 3)
        kernel_init = GLOROT if self.glorot else nn.initializers.orthogonal(2.0**0.5)
        net = partial(MLP, kernel_init=kernel_init, activation=self.activation)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        action_size = example.actions.shape[-1]
        policy = net(
            (*self.hidden, action_size),
            final_init=SMALL_GLOROT if self.glorot else None,
            layer_norm=normalized(self.actor_layer_norm),
        )
        mean = init_mlp(actor_key, policy, example.observations)
        scalar = net((*self.hidden, 1), layer_norm=normalized(self.value_layer_norm))
        value = init_mlp(value_key, scalar, example.observations)
        critic = init_critics(critic_key, scalar, inputs)
        actor = {"mean": mean, "log_std": jnp.zeros(action_size, example.actions.dtype)}
        return IQLState(Learner.create(actor), Learner.create(value), Learner.create(critic), critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the noise of the dropout masks, if used, and of the actor's sampled actions in DDPG+BC, if sampled."""
        draws: Draws = {}
        actions = batch.actions
        if self.dropout:
            units = (len(self.hidden), len(actions), max(self.hidden))
            draws["dropout"] = jax.random.uniform(key, units, actions.dtype)
        if self.actor_objective == "ddpgbc" and self.learn_std:
            draws["policy"] = jax.random.normal(jax.random.fold_in(key, 1), actions.shape, actions.dtype)
        return draws

    def update(self, state: S, batch: Transitions, draws: Draws) -> tuple[S, Metrics]:
        """Update value, critics and targets, then the actor, using the new value and the old targets.

        With `joint`, the actor's loss (AWR or DDPG+BC) uses value and critics from before the update. Without, DDPG+BC
        uses the new critics.
        """
        before = state
        state, advantage, metrics = self.update_critics(state, batch)
        if self.actor_objective == "awr":
            state, actor_metrics = self.update_actor(state, batch, draws, advantage)
        else:
            critic = (before if self.joint else state).critic.params
            loss = partial(self.climbing_loss, critic=critic, batch=batch, draws=draws)
            state, actor_metrics = self._actor_step(state, loss)
        return state, metrics | actor_metrics

    def update_critics(self, state: S, batch: Transitions) -> tuple[S, Array, Metrics]:
        """Update value, then critics using the new value, then targets; also return the advantages, (batch,).

        With `joint`, everything uses parameters from before the update, and advantages use the critics instead of the
        target critics.
        """
        q = self.q(state.target_critic, batch.observations, batch.actions).min(axis=0)

        value_loss = partial(self.value_loss, q=q, batch=batch)
        (_, value_metrics), gradients = jax.value_and_grad(value_loss, has_aux=True)(state.value.params)
        value = state.value.descend(gradients, self.value_learning_rate)

        # One pass for V(s) and V(s').
        both = jnp.stack([batch.observations, batch.next_observations])
        v, next_v = self.v((state.value if self.joint else value).params, both)

        critic_loss = partial(self.critic_loss, next_v=next_v, batch=batch)
        (_, critic_metrics), gradients = jax.value_and_grad(critic_loss, has_aux=True)(state.critic.params)
        critic = state.critic.descend(gradients, self.critic_learning_rate)

        if self.joint:
            q = self.q(state.critic.params, batch.observations, batch.actions).min(axis=0)
        followed = (state.critic if self.joint else critic).params
        target_critic = polyak(state.target_critic, followed, self.tau)
        state = state.replace(value=value, critic=critic, target_critic=target_critic)
        return state, q - v, value_metrics | critic_metrics

    def update_actor(self, state: S, batch: Transitions, draws: Draws, advantage: Array) -> tuple[S, Metrics]:
        """Update the actor by the batch's advantages."""
        loss = partial(self.actor_loss, advantage=advantage, batch=batch, kept=self._kept(draws))
        return self._actor_step(state, loss)

    def _actor_step(self, state: S, loss: Callable[[Params], tuple[Array, Metrics]]) -> tuple[S, Metrics]:
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.actor.params)
        actor = state.actor.descend(gradients, self._actor_rate(state.actor.moments.count))
        return state.replace(actor=actor), metrics

    def _kept(self, draws: Draws) -> tuple[Array, ...]:
        """Return the factors of the actor's hidden units under dropout."""
        return kept_units(draws["dropout"], self.hidden, self.dropout) if self.dropout else ()

    def value_loss(self, value: Params, q: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return mean |expectile - 1(u <= 0)| u^2, u = min_i Qbar_i(s, a) - V(s) (eq. 5)."""
        v = self.v(value, batch.observations)
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
        mean, log_std = self.gaussian(actor, batch.observations, kept)
        log_density = self._log_density(mean, log_std, batch.actions)
        chex.assert_equal_shape([weight, log_density])
        loss = -jnp.mean(weight * log_density)
        return loss, {"actor_loss": loss, "advantage": advantage.mean()}

    def climbing_loss(self, actor: Params, critic: Params, batch: Transitions, draws: Draws) -> tuple[Array, Metrics]:
        """Return -mean q / mean |q| - cloning_weight mean log pi(a|s), q = min_i Q_i(s, pi), the divisor held fixed.

        pi is the mean, or a sample where the std is learned, clipped to the action range.
        """
        mean, log_std = self.gaussian(actor, batch.observations, self._kept(draws))
        proposed = mean + jnp.exp(log_std) * draws["policy"] if self.learn_std else mean
        q = self.q(critic, batch.observations, jnp.clip(proposed, -1.0, 1.0)).min(axis=0)
        log_density = self._log_density(mean, log_std, batch.actions)
        chex.assert_equal_shape([q, log_density, batch.rewards])
        q_loss = -q.mean() / jax.lax.stop_gradient(jnp.abs(q).mean())
        bc_loss = -self.cloning_weight * log_density.mean()
        loss = q_loss + bc_loss
        return loss, {"actor_loss": loss, "q_loss": q_loss, "bc_loss": bc_loss, "q_policy": q.mean()}

    def critic_loss(self, critic: Params, next_v: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return mean sum_i (Q_i(s, a) - r - (1 - d) discount V(s'))^2 (eq. 6)."""
        target = batch.rewards + self.discount * (1.0 - batch.terminals) * next_v
        q = self.q(critic, batch.observations, batch.actions)
        chex.assert_shape(q, (2, *target.shape))
        loss = jnp.mean(jnp.sum((q - target) ** 2, axis=0))
        return loss, {"critic_loss": loss, "q": q.mean()}

    def v(self, value: Params, observations: Array) -> Array:
        """Evaluate V(s), (...,)."""
        return mlp(value, observations, activation=self.activation)[..., 0]

    def q(self, critic: Params, observations: Array, actions: Array) -> Array:
        """Evaluate both Q(s, a), (2, ...)."""
        return critics(critic, observations, actions, self.activation)

    def gaussian(self, actor: Params, observations: Array, kept: tuple[Array, ...] = ()) -> tuple[Array, Array]:
        """Return mean, (..., action size), and log std, (action size,), of pi(.|s); its density is not squashed."""
        log_std = jnp.clip(actor["log_std"], *LOG_STD_BOUNDS) if self.learn_std else jnp.zeros_like(actor["log_std"])
        return self.mean(actor["mean"], observations, kept), log_std

    def mean(self, net: Params, observations: Array, kept: tuple[Array, ...] = ()) -> Array:
        """Return tanh(net(s)), or net(s) where it is not squashed."""
        mean = mlp(net, observations, kept, self.activation)
        return jnp.tanh(mean) if self.squash else mean

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the mean of pi(.|s), clipped to the action range."""
        return jnp.clip(self.gaussian(params, observations)[0], -1.0, 1.0)

    def network(self, params: Params) -> Network:
        """Return the mean's."""
        return Network(params["mean"], "tanh" if self.squash else "clip", activation=self.activation)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample pi(.|s), clipped to the action range."""
        mean, log_std = self.gaussian(params, observations)
        return jnp.clip(mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype), -1.0, 1.0)

    @staticmethod
    def _log_density(mean: Array, log_std: Array, actions: Array) -> Array:
        """Return a Gaussian's log-density, (...,)."""
        error = (actions - mean) / jnp.exp(log_std)
        return jnp.sum(-0.5 * error**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi), axis=-1)

    def online(self, env_steps: int) -> Online:
        """Return the fine-tuning phase: dataset and buffer together, with a constant learning rate of the actor.

        The cosine decay is for the offline phase only: after it, the rate would stay at 0.
        """
        return Online(self.replace(actor_decay_updates=None), env_steps, Union())

    def _actor_rate(self, count: Array) -> Array | float:
        """Return the actor's learning rate at its `count`-th step, counted from 0."""
        if self.actor_decay_updates is None:
            return self.actor_learning_rate
        progress = jnp.minimum(count / self.actor_decay_updates, 1.0)
        return self.actor_learning_rate * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
