"""IFQL: IQL's values, and the best of a flow's actions (the baseline of Park, Li and Levine 2025, arXiv 2502.02538).

It is IDQL (Hansen-Estruch et al. 2023, arXiv 2304.10573) with a flow in place of the diffusion model.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.agents.common import GLOROT, normalized
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.flow import best_of, flow_draws, flow_loss
from moorl_jax.config import Count, NotNegative, Share, Widths, static
from moorl_jax.nets import MLP, Activation, Learner, critics, init_critics, init_mlp, mlp, polyak
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class IFQLState(struct.PyTreeNode):
    """Velocity field, state value, and twin critics with their targets."""

    actor: Learner  #: v(s, x, t)
    value: Learner
    critic: Learner
    target_critic: Params


class IFQL(Agent[IFQLState]):
    """IFQL with the defaults of its authors' code.

    The flow is only trained to imitate the data. To act, also in evaluation, the agent samples several actions from the
    flow and takes the one with the highest Q-value.

    All losses use the parameters from before the update, and so does the targets' Polyak step. Online it uses the same
    update, on dataset and buffer together.
    """

    source = "seohongpark/fql agents/ifql.py"

    hidden: Widths = static((512, 512, 512, 512))
    activation: Activation = static("gelu")
    actor_layer_norm: bool = static(False)  #: normalize hidden units of the flow after their activation
    value_layer_norm: bool = static(True)  #: normalize hidden units of value and critics
    flow_steps: Count = static(10)  #: number of Euler steps
    samples: Count = static(32)  #: number of proposed actions, of which the best is taken
    learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005
    expectile: Share = 0.9

    def init(self, key: Array, example: Transitions) -> IFQLState:
        """Initialize kernels by Glorot's uniform rule, biases to 0."""
        actor_key, value_key, critic_key = jax.random.split(key, 3)
        pair = jnp.concatenate([example.observations, example.actions], axis=-1)
        timed = jnp.concatenate([pair, jnp.zeros_like(pair[:, :1])], axis=-1)
        net = partial(MLP, kernel_init=GLOROT, activation=self.activation)
        field = net((*self.hidden, example.actions.shape[-1]), layer_norm=normalized(self.actor_layer_norm))
        scalar = net((*self.hidden, 1), layer_norm=normalized(self.value_layer_norm))
        critic = init_critics(critic_key, scalar, pair)
        return IFQLState(
            actor=Learner.create(init_mlp(actor_key, field, timed)),
            value=Learner.create(init_mlp(value_key, scalar, example.observations)),
            critic=Learner.create(critic),
            target_critic=critic,
        )

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the flow's start and time."""
        return flow_draws(key, batch.actions)

    def update(self, state: IFQLState, batch: Transitions, draws: Draws) -> tuple[IFQLState, Metrics]:
        """Update value, critics and flow, each against the others from before, and the targets."""
        q = critics(state.target_critic, batch.observations, batch.actions, self.activation).min(axis=0)
        value_loss = partial(self.value_loss, q=q, batch=batch)
        (_, value_metrics), of_value = jax.value_and_grad(value_loss, has_aux=True)(state.value.params)

        next_v = self.value(state.value.params, batch.next_observations)
        critic_loss = partial(self.critic_loss, next_v=next_v, batch=batch)
        (_, critic_metrics), of_critic = jax.value_and_grad(critic_loss, has_aux=True)(state.critic.params)

        actor_loss = partial(self.actor_loss, batch=batch, draws=draws)
        imitated, of_actor = jax.value_and_grad(actor_loss)(state.actor.params)

        after = IFQLState(
            actor=state.actor.descend(of_actor, self.learning_rate),
            value=state.value.descend(of_value, self.learning_rate),
            critic=state.critic.descend(of_critic, self.learning_rate),
            target_critic=polyak(state.target_critic, state.critic.params, self.tau),
        )
        return after, value_metrics | critic_metrics | {"actor_loss": imitated}

    def value_loss(self, value: Params, q: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return mean |expectile - 1(u < 0)| u^2, u = min_i Qbar_i(s, a) - V(s)."""
        v = self.value(value, batch.observations)
        chex.assert_equal_shape([q, v, batch.rewards])
        error = q - v
        weight = jnp.where(error >= 0, self.expectile, 1.0 - self.expectile)
        loss = jnp.mean(weight * error**2)
        return loss, {"value_loss": loss, "v": v.mean()}

    def critic_loss(self, critic: Params, next_v: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return mean sum_i (Q_i(s, a) - r - (1 - d) discount V(s'))^2."""
        target = batch.rewards + (1.0 - batch.terminals) * self.discount * next_v
        q = critics(critic, batch.observations, batch.actions, self.activation)
        chex.assert_shape(q, (2, *target.shape))
        loss = jnp.mean(jnp.sum((q - target) ** 2, axis=0))
        return loss, {"critic_loss": loss, "q": q.mean(), "target_q": target.mean()}

    def actor_loss(self, actor: Params, batch: Transitions, draws: Draws) -> Array:
        """Return the loss by which the flow imitates the data's actions."""
        return flow_loss(actor, batch.observations, batch.actions, draws, self.activation)

    def value(self, params: Params, observations: Array) -> Array:
        """Evaluate V(s), (...,)."""
        return mlp(params, observations, activation=self.activation)[..., 0]

    def policy(self, state: IFQLState) -> Params:
        """Return the flow, and the critics that choose among its actions."""
        return {"actor": state.actor.params, "critic": state.critic.params}

    def choose(self, params: Params, observations: Array, noise: Array) -> Array:
        """Map the noise, (..., samples, A), to actions with the flow and return those with the largest min_i Q_i."""
        return best_of(params["actor"], params["critic"], observations, noise, self.flow_steps, self.activation, "min")

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the best of the actions made from one fixed set of noise vectors, the same at every observation.

        A flow has no mean to act by, and noise of 0 alone would leave nothing to choose from.
        """
        shape = self._noise_shape(params)
        noise = jax.random.normal(jax.random.key(0), shape, observations.dtype)
        return self.choose(params, observations, jnp.broadcast_to(noise, (*observations.shape[:-1], *shape)))

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the best action of fresh noise."""
        shape = (*observations.shape[:-1], *self._noise_shape(params))
        return self.choose(params, observations, jax.random.normal(key, shape, observations.dtype))

    def act_in_evaluation(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the best action of fresh noise, as the authors evaluate."""
        return self.act(params, observations, key)

    def _noise_shape(self, params: Params) -> tuple[int, int]:
        return self.samples, params["actor"][f"layer{len(self.hidden)}"]["bias"].shape[-1]
