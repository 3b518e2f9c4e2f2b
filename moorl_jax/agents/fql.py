"""FQL: flow Q-learning (Park, Li and Levine 2025, arXiv 2502.02538)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.agents.common import GLOROT, normalized
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.flow import Aggregate, aggregated, distilled, flow_draws, flow_loss, one_step
from moorl_jax.config import Count, NotNegative, Share, Widths, static
from moorl_jax.nets import MLP, Activation, Learner, Network, critics, init_critics, init_mlp, polyak
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class FQLState(struct.PyTreeNode):
    """One-step policy, velocity field, and twin critics with their targets."""

    actor: Learner  #: mu(s, z), of an observation and noise
    flow: Learner  #: v(s, x, t), of an observation, a point between noise and action, and a time
    critic: Learner
    target_critic: Params


class FQL(Agent[FQLState]):
    """FQL with the defaults of its authors' code.

    A flow imitates the data. A policy that takes a single step from noise to action is distilled from the flow, and
    climbs the critics. It acts by sampling, in evaluation too.

    All losses are taken from before the update, and the targets follow the critics from before it. Online it goes on
    with the same update on dataset and buffer as one.
    """

    source = "seohongpark/fql agents/fql.py"

    hidden: Widths = static((512, 512, 512, 512))
    activation: Activation = static("gelu")
    actor_layer_norm: bool = static(False)  #: normalize hidden units of policy and flow after their activation
    critic_layer_norm: bool = static(True)
    flow_steps: Count = static(10)  #: of Euler's method
    target_value: Aggregate = static("mean")  #: how the twin target critics are combined in the targets (q_agg)
    normalize_q: bool = static(False)  #: divide the policy's value by its mean size
    learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005
    alpha: NotNegative = 10.0  #: weight of the distillation

    def init(self, key: Array, example: Transitions) -> FQLState:
        """Initialize kernels by Glorot's uniform rule, biases to 0."""
        actor_key, flow_key, critic_key = jax.random.split(key, 3)
        pair = jnp.concatenate([example.observations, example.actions], axis=-1)
        timed = jnp.concatenate([pair, jnp.zeros_like(pair[:, :1])], axis=-1)
        net = partial(MLP, kernel_init=GLOROT, activation=self.activation)
        policy = net((*self.hidden, example.actions.shape[-1]), layer_norm=normalized(self.actor_layer_norm))
        value = net((*self.hidden, 1), layer_norm=normalized(self.critic_layer_norm))
        critic = init_critics(critic_key, value, pair)
        return FQLState(
            actor=Learner.create(init_mlp(actor_key, policy, pair)),
            flow=Learner.create(init_mlp(flow_key, policy, timed)),
            critic=Learner.create(critic),
            target_critic=critic,
        )

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the flow's start and time, and the noise of the policy's actions at s and at s', standard normal."""
        flow_key, policy_key, next_key = jax.random.split(key, 3)
        shape, dtype = batch.actions.shape, batch.actions.dtype
        return flow_draws(flow_key, batch.actions) | {
            "policy": jax.random.normal(policy_key, shape, dtype),
            "next": jax.random.normal(next_key, shape, dtype),
        }

    def update(self, state: FQLState, batch: Transitions, draws: Draws) -> tuple[FQLState, Metrics]:
        """Update critics, flow and policy, each against the others from before, and the targets."""
        target = self.target(state, batch, draws["next"])
        critic_loss = partial(self.critic_loss, target=target, batch=batch)
        (_, critic_metrics), of_critic = jax.value_and_grad(critic_loss, has_aux=True)(state.critic.params)

        imitation = partial(self.flow_loss, batch=batch, draws=draws)
        imitated, of_flow = jax.value_and_grad(imitation)(state.flow.params)

        actor_loss = partial(self.actor_loss, state=state, batch=batch, noise=draws["policy"])
        (_, actor_metrics), of_actor = jax.value_and_grad(actor_loss, has_aux=True)(state.actor.params)

        after = FQLState(
            actor=state.actor.descend(of_actor, self.learning_rate),
            flow=state.flow.descend(of_flow, self.learning_rate),
            critic=state.critic.descend(of_critic, self.learning_rate),
            target_critic=polyak(state.target_critic, state.critic.params, self.tau),
        )
        return after, critic_metrics | actor_metrics | {"flow_loss": imitated}

    def target(self, state: FQLState, batch: Transitions, noise: Array) -> Array:
        """Return the critics' targets, (batch,): y = r + (1 - d) discount Qbar(s', a'), a' the policy's.

        Qbar is the mean of the twins' targets or the smaller of them.
        """
        next_actions = self.actions(state.actor.params, batch.next_observations, noise)
        next_q = critics(state.target_critic, batch.next_observations, next_actions, self.activation)
        next_q = aggregated(next_q, self.target_value)
        return batch.rewards + (1.0 - batch.terminals) * self.discount * next_q

    def critic_loss(self, critic: Params, target: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return the mean of (Q_i(s, a) - y)^2 over both critics and the batch (eq. 2)."""
        q = critics(critic, batch.observations, batch.actions, self.activation)
        chex.assert_shape(q, (2, *target.shape))
        loss = jnp.mean((q - target) ** 2)
        return loss, {"critic_loss": loss, "q": q.mean()}

    def flow_loss(self, flow: Params, batch: Transitions, draws: Draws) -> Array:
        """Return the loss by which the flow imitates the data's actions (eq. 6)."""
        return flow_loss(flow, batch.observations, batch.actions, draws, self.activation)

    def actor_loss(self, actor: Params, state: FQLState, batch: Transitions, noise: Array) -> tuple[Array, Metrics]:
        """Return alpha mean (mu(s, z) - flow(s, z))^2 - lambda mean Q(s, mu(s, z)), Q the mean of the twins (eq. 8).

        lambda is 1 / mean |Q|, held fixed, with `normalize_q`, and 1 without.
        """
        flow, critic = state.flow.params, state.critic.params
        distillation, q = distilled(actor, flow, critic, batch.observations, noise, self.flow_steps, self.activation)
        scale = jax.lax.stop_gradient(1.0 / jnp.mean(jnp.abs(q))) if self.normalize_q else 1.0
        q_loss = -scale * q.mean()
        loss = self.alpha * distillation + q_loss
        metrics = {"distillation_loss": distillation, "q_loss": q_loss, "q_policy": q.mean()}
        return loss, {"actor_loss": loss, **metrics}

    def actions(self, actor: Params, observations: Array, noise: Array) -> Array:
        """Return mu(s, z), clipped to the action range."""
        return jnp.clip(one_step(actor, observations, noise, self.activation), -1.0, 1.0)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the action of no noise, mu(s, 0)."""
        noise = jnp.zeros(self._noise_shape(params, observations), observations.dtype)
        return self.actions(params, observations, noise)

    def network(self, params: Params) -> Network:
        """Return mu(s, 0): with zero noise, only the observation's rows of the first kernel are needed."""
        first = params["layer0"]
        kernel = first["kernel"][: -self._action_size(params)]
        return Network(params | {"layer0": first | {"kernel": kernel}}, "clip", activation=self.activation)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the action of fresh noise."""
        noise = jax.random.normal(key, self._noise_shape(params, observations), observations.dtype)
        return self.actions(params, observations, noise)

    def act_in_evaluation(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the action of fresh noise, as the authors evaluate."""
        return self.act(params, observations, key)

    def _noise_shape(self, params: Params, observations: Array) -> tuple[int, ...]:
        return *observations.shape[:-1], self._action_size(params)

    def _action_size(self, params: Params) -> int:
        return params[f"layer{len(self.hidden)}"]["bias"].shape[-1]
