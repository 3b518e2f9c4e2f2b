"""TD3+BC: TD3 with a cloning term (Fujimoto and Gu 2021, arXiv 2106.06860)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import struct
from typing_extensions import TypeVar

from moorl_jax.agents.common import smoothed
from moorl_jax.agents.contract import Agent, Update
from moorl_jax.config import NotNegative, Positive, Share, Turns, Widths, static
from moorl_jax.nets import (
    MLP,
    Activation,
    Learner,
    Network,
    QFunction,
    critics,
    init_critics,
    init_mlp,
    mlp,
    polyak,
    symmetric_uniform,
)
from moorl_jax.phases import Online
from moorl_jax.replay import Union
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class TD3BCState(struct.PyTreeNode):
    """Actor and twin critics, each with its target."""

    actor: Learner
    critic: Learner
    target_actor: Params
    target_critic: Params


S = TypeVar("S", bound=TD3BCState, default=TD3BCState)  #: the state's type; SPOT's state has more fields


class TD3BC(Agent[S]):
    """TD3+BC with the defaults of its authors' code.

    `policy_noise` and `noise_clip` are absolute values: they are already multiplied by `max_action`.
    """

    source = "sfujim/TD3_BC main.py, TD3_BC.py; online TD3, as in OPT's paper"

    hidden: Widths = static((256, 256))
    activation: Activation = static("relu")
    layer_norm: bool = static(False)  #: normalize hidden units after their activation, in actor and critics
    #: Bounds of the uniform initialization of the last layers (kernel and bias) of actor and critics; None: like the
    #: other layers.
    final_ranges: tuple[float | None, float | None] = static((None, None))
    policy_freq: Turns = static(2)  #: critic updates per actor (and target) update
    cloning: bool = static(True)  #: whether the actor's loss holds the cloning term; without it this is TD3
    online_cloning: bool = static(False)  #: `cloning` online
    utd: Turns = static(1)  #: updates per env step online
    actor_learning_rate: NotNegative = 3e-4
    critic_learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005
    policy_noise: NotNegative = 0.2
    noise_clip: NotNegative = 0.5
    alpha: NotNegative = 2.5  #: weight of the Q-term relative to the cloning term
    exploration_noise: NotNegative = 0.1  #: std of the noise on online actions, in units of max_action
    max_action: Positive = 1.0

    def init(self, key: Array, example: Transitions) -> TD3BCState:
        """Initialize all networks as PyTorch would; targets start equal to their networks."""
        actor_key, critic_key = jax.random.split(key)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        layer_norm = "after" if self.layer_norm else None
        last_actor, last_critic = (symmetric_uniform(bound) if bound else None for bound in self.final_ranges)
        net = partial(MLP, layer_norm=layer_norm, activation=self.activation)
        policy = net((*self.hidden, example.actions.shape[-1]), final_init=last_actor)
        value = net((*self.hidden, 1), final_init=last_critic)
        actor = init_mlp(actor_key, policy, example.observations)
        critic = init_critics(critic_key, value, inputs)
        return TD3BCState(Learner.create(actor), Learner.create(critic), actor, critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the target policy's smoothing noise, standard normal."""
        return {"policy_noise": jax.random.normal(key, batch.actions.shape, batch.actions.dtype)}

    def cycle(self) -> tuple[Update[S], ...]:
        """Return `policy_freq` updates, of which only the last moves the actor and the targets."""
        return (self.update_critic,) * (self.policy_freq - 1) + (self.update,)

    def update(self, state: S, batch: Transitions, draws: Draws) -> tuple[S, Metrics]:
        """Update the critics, then the actor against the first of the new ones, then all targets."""
        state, critic_metrics = self.update_critic(state, batch, draws)
        q = partial(first_critic, state.critic.params, activation=self.activation)
        state, actor_metrics = self.update_actor(state, q, batch, draws)
        return state, critic_metrics | actor_metrics

    def update_critic(self, state: S, batch: Transitions, draws: Draws) -> tuple[S, Metrics]:
        """Update the critics alone."""
        loss = partial(self.critic_loss, state=state, batch=batch, draws=draws)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.critic.params)
        return state.replace(critic=state.critic.descend(gradients, self.critic_learning_rate)), metrics

    def update_actor(self, state: S, q: QFunction, batch: Transitions, draws: Draws) -> tuple[S, Metrics]:
        """Update the actor, then move all targets."""
        loss = partial(self.actor_loss, q=q, state=state, batch=batch, draws=draws)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.actor.params)
        actor = state.actor.descend(gradients, self.actor_learning_rate)
        state = state.replace(
            actor=actor,
            target_actor=polyak(state.target_actor, actor.params, self.tau),
            target_critic=polyak(state.target_critic, state.critic.params, self.tau),
        )
        return state, metrics

    def critic_loss(self, critic: Params, state: S, batch: Transitions, draws: Draws) -> tuple[Array, Metrics]:
        """Return the TD loss for the target actor's smoothed actions at s'."""
        next_actions = self.smoothed(self.greedy(state.target_actor, batch.next_observations), draws["policy_noise"])
        return self.td_loss(critic, state.target_critic, next_actions, batch)

    def smoothed(self, actions: Array, noise: Array) -> Array:
        """Return actions with clipped noise, clipped to the action range."""
        return smoothed(actions, noise * self.policy_noise, self.noise_clip, self.max_action)

    def td_loss(
        self, critic: Params, target_critic: Params, next_actions: Array, batch: Transitions
    ) -> tuple[Array, Metrics]:
        """Return sum_i mean (Q_i(s, a) - y)^2, y = r + (1 - d) discount min_i Qbar_i(s', a').

        This is clipped double Q-learning (Fujimoto et al. 2018, arXiv 1802.09477, sec. 4.2).
        """
        next_q = critics(target_critic, batch.next_observations, next_actions, self.activation).min(axis=0)
        target = batch.rewards + (1.0 - batch.terminals) * self.discount * next_q
        q = critics(critic, batch.observations, batch.actions, self.activation)
        chex.assert_shape(q, (2, *target.shape))
        loss = jnp.sum(jnp.mean((q - target) ** 2, axis=1))
        return loss, {"critic_loss": loss, "target_q": target.mean()}

    def actor_loss(
        self, actor: Params, q: QFunction, state: S, batch: Transitions, draws: Draws
    ) -> tuple[Array, Metrics]:
        """Return -lambda mean Q(s, pi(s)) + mean (pi(s) - a)^2, lambda = alpha / mean |Q| held fixed (eq. 5).

        Without `cloning` it is TD3's loss, -mean Q(s, pi(s)).
        """
        actions = self.greedy(actor, batch.observations)
        values = q(batch.observations, actions)
        if not self.cloning:
            return -values.mean(), {"actor_loss": -values.mean(), "q": values.mean()}
        weight = jax.lax.stop_gradient(self.alpha / jnp.mean(jnp.abs(values)))
        bc_loss = jnp.mean((actions - batch.actions) ** 2)
        loss = -weight * values.mean() + bc_loss
        return loss, {"actor_loss": loss, "bc_loss": bc_loss, "q": values.mean(), "lambda": weight}

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return pi(s) = max_action tanh(net(s))."""
        return self.max_action * jnp.tanh(mlp(params, observations, activation=self.activation))

    def network(self, params: Params) -> Network:
        """Return pi."""
        return Network(params, scale=float(self.max_action), activation=self.activation)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return pi(s) with Gaussian noise, clipped to the action range."""
        actions = self.greedy(params, observations)
        noise = self.exploration_noise * self.max_action * jax.random.normal(key, actions.shape, actions.dtype)
        return jnp.clip(actions + noise, -self.max_action, self.max_action)

    def online(self, env_steps: int) -> Online:
        """Return the fine-tuning phase: dataset and buffer together, TD3's loss unless `online_cloning`."""
        return Online(self.replace(cloning=self.online_cloning), env_steps, Union(), self.utd)


def first_critic(critic: Params, observations: Array, actions: Array, activation: Activation) -> Array:
    """Return only the first critic's values, (batch,), which TD3's actor maximizes."""
    return critics(jax.tree.map(lambda leaf: leaf[:1], critic), observations, actions, activation)[0]
