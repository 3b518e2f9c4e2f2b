"""ReBRAC: TD3 held to the data by two penalties (Tarasov et al. 2023, arXiv 2305.09836)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from moorl_jax.agents.common import GLOROT, SMALL_GLOROT, normalized, smoothed
from moorl_jax.agents.contract import Agent, Update
from moorl_jax.agents.td3_bc import TD3BCState
from moorl_jax.config import Count, NotNegative, Positive, Share, Turns, Widths, static
from moorl_jax.nets import (
    MLP,
    Activation,
    Learner,
    Network,
    critics,
    init_critics,
    init_mlp,
    mlp,
    polyak,
    symmetric_uniform,
)
from moorl_jax.phases import Offline, Online, Phase, Switch
from moorl_jax.replay import Mixed
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class ReBRACState(TD3BCState):
    """TD3's networks, and the number of updates since the phase began."""

    updates: Array  #: ()


class ReBRAC(Agent[ReBRACState]):
    """ReBRAC with the defaults of its authors' code for locomotion.

    It is TD3+BC with separate penalties for actor and critics, deeper networks, and layer normalization in the critics.
    The authors' latest code also bounds targets from below by the data's returns; the paper does not, nor does this.

    Online fine-tuning follows CORL: half of each batch comes from the dataset, the critics have no penalty, and the
    actor's penalty decays to half. It acts without noise.

    In the code of FQL's authors for OGBench, all losses share one optimizer step (`joint`), kernels are initialized
    differently (`glorot`), and squashing the actor is an option (`squash`).
    """

    source = "DT6A/ReBRAC configs/rebrac/; online corl-team/CORL algorithms/finetune/rebrac.py"

    batch_size: Count = static(1024)
    hidden: Widths = static((256, 256, 256))
    activation: Activation = static("relu")
    actor_layer_norm: bool = static(False)  #: normalize hidden units after their activation
    critic_layer_norm: bool = static(True)
    glorot: bool = static(False)  #: initialize kernels by Glorot's uniform rule, biases to 0, as OGBench's code does
    squash: bool = static(True)  #: apply tanh to the actor's output; otherwise actions are clipped when acting
    #: compute all losses with the parameters from before the update, average the critics' losses, and step the actor's
    #: optimizer on every update
    joint: bool = static(False)
    policy_freq: Turns = static(2)  #: critic updates per actor (and target) update
    normalize_q: bool = static(True)  #: divide the actor's Q-term by the mean of |Q|
    penalizes_critic: bool = static(True)  #: whether the critics' targets contain their penalty (False online)
    utd: Turns = static(1)  #: updates per env step online
    actor_learning_rate: NotNegative = 1e-3
    critic_learning_rate: NotNegative = 1e-3
    discount: Share = 0.99
    tau: Share = 0.005
    policy_noise: NotNegative = 0.2
    noise_clip: NotNegative = 0.5
    actor_penalty: NotNegative = 0.01  #: beta_1, of the actor's distance to the data's actions (actor_bc_coef)
    #: beta_2, weight of the penalty on the target actor's actions, in the critics' targets (critic_bc_coef)
    critic_penalty: NotNegative = 0.01
    #: beta_1 decays linearly and would reach 0 after so many updates (see `penalty_end`); None: constant
    cooling_updates: Positive | None = None
    penalty_end: Share = 0.5  #: the share of beta_1 at which it stops falling
    online_cooling_updates: Positive | None = 1e6  #: `cooling_updates` online
    exploration_noise: NotNegative = 0.0  #: std of the noise on online actions
    offline_share: Share = 0.5  #: fraction of each online batch that comes from the dataset

    def init(self, key: Array, example: Transitions) -> ReBRACState:
        """Initialize kernels as PyTorch would, hidden biases to 0.1, last layers nearly to 0, as EDAC's authors do.

        With `glorot`, the actor's last kernel has a hundredth of the others' variance.
        """
        actor_key, critic_key = jax.random.split(key)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        net = partial(
            MLP,
            activation=self.activation,
            kernel_init=GLOROT if self.glorot else None,
            hidden_bias=None if self.glorot else 0.1,
        )
        policy = net(
            (*self.hidden, example.actions.shape[-1]),
            final_init=SMALL_GLOROT if self.glorot else symmetric_uniform(1e-3),
            layer_norm=normalized(self.actor_layer_norm),
        )
        value = net(
            (*self.hidden, 1),
            final_init=None if self.glorot else symmetric_uniform(3e-3),
            layer_norm=normalized(self.critic_layer_norm),
        )
        actor = init_mlp(actor_key, policy, example.observations)
        critic = init_critics(critic_key, value, inputs)
        return ReBRACState(Learner.create(actor), Learner.create(critic), actor, critic, jnp.zeros((), jnp.int32))

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the target policy's smoothing noise, standard normal."""
        return {"policy_noise": jax.random.normal(key, batch.actions.shape, batch.actions.dtype)}

    def needs_next_actions(self) -> bool:
        """Ask for the data's actions at s', from which the critics' penalty is measured."""
        return self.penalizes_critic

    def cycle(self) -> tuple[Update[ReBRACState], ...]:
        """Return `policy_freq` updates, of which one has the actor's loss and moves the targets: `joint` the last."""
        others = (self.update_critic,) * (self.policy_freq - 1)
        return (*others, self.update) if self.joint else (self.update, *others)

    def update(self, state: ReBRACState, batch: Transitions, draws: Draws) -> tuple[ReBRACState, Metrics]:
        """Update the critics, then the actor against the new ones, then all targets.

        The target actor follows the actor from before its step, as in the authors' code. With `joint`, the actor's loss
        and the targets' step use the critics from before the update, too.
        """
        before = state
        weight = self.actor_penalty * self._cooled(state.updates)
        state, critic_metrics = self._critic_step(state, batch, draws)
        critic = (before if self.joint else state).critic.params
        loss = partial(self.actor_loss, critic=critic, weight=weight, batch=batch)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(before.actor.params)
        state = state.replace(
            actor=state.actor.descend(gradients, self.actor_learning_rate),
            target_actor=polyak(state.target_actor, before.actor.params, self.tau),
            target_critic=polyak(state.target_critic, critic, self.tau),
        )
        return state, critic_metrics | metrics

    def update_critic(self, state: ReBRACState, batch: Transitions, draws: Draws) -> tuple[ReBRACState, Metrics]:
        """Update the critics alone.

        With `joint`, one Adam optimizer holds all parameters, so the actor gets a zero gradient but still moves by its
        momentum.
        """
        state, metrics = self._critic_step(state, batch, draws)
        if self.joint:
            nothing = jax.tree.map(jnp.zeros_like, state.actor.params)
            state = state.replace(actor=state.actor.descend(nothing, self.actor_learning_rate))
        return state, metrics

    def _critic_step(self, state: ReBRACState, batch: Transitions, draws: Draws) -> tuple[ReBRACState, Metrics]:
        target = self.target(state, batch, draws)
        loss = partial(self.critic_loss, target=target, batch=batch)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.critic.params)
        critic = state.critic.descend(gradients, self.critic_learning_rate)
        return state.replace(critic=critic, updates=state.updates + 1), metrics

    def target(self, state: ReBRACState, batch: Transitions, draws: Draws) -> Array:
        """Return the critics' targets, (batch,).

        y = r + (1 - d) discount (min_i Qbar_i(s', b) - beta_2 |b - a'|^2), b the target actor's smoothed action and a'
        the dataset's action at s' (section 3).
        """
        noise = draws["policy_noise"] * self.policy_noise
        next_actions = smoothed(self.mean(state.target_actor, batch.next_observations), noise, self.noise_clip)
        next_q = critics(state.target_critic, batch.next_observations, next_actions, self.activation).min(axis=0)
        if self.penalizes_critic:
            apart = next_actions - jnp.asarray(batch.next_actions)
            next_q = next_q - self.critic_penalty * jnp.sum(apart**2, axis=-1)
        return batch.rewards + (1.0 - batch.terminals) * self.discount * next_q

    def critic_loss(self, critic: Params, target: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return sum_i mean (Q_i(s, a) - y)^2; with `joint` the mean over i."""
        q = critics(critic, batch.observations, batch.actions, self.activation)
        chex.assert_shape(q, (2, *target.shape))
        losses = jnp.mean((q - target) ** 2, axis=1)
        loss = losses.mean() if self.joint else losses.sum()
        metrics = {"q_data": q.mean(), "q_min": q.min(axis=0).mean(), "target_q": target.mean()}
        return loss, {"critic_loss": loss, **metrics}

    def actor_loss(
        self, actor: Params, critic: Params, weight: Array | float, batch: Transitions
    ) -> tuple[Array, Metrics]:
        """Return mean (beta_1 |pi(s) - a|^2 - lambda min_i Q_i(s, pi(s))), lambda = 1 / mean |Q| held fixed.

        `weight` is beta_1. Without `normalize_q` lambda is 1.
        """
        actions = self.mean(actor, batch.observations)
        values = critics(critic, batch.observations, actions, self.activation).min(axis=0)
        scale = jax.lax.stop_gradient(1.0 / jnp.mean(jnp.abs(values))) if self.normalize_q else jnp.ones(())
        bc_loss = jnp.mean(jnp.sum((actions - batch.actions) ** 2, axis=-1))
        loss = weight * bc_loss - scale * values.mean()
        return loss, {"actor_loss": loss, "bc_loss": bc_loss, "q": values.mean(), "lambda": scale}

    def mean(self, params: Params, observations: Array) -> Array:
        """Return pi(s) = tanh(net(s)), or net(s) where it is not squashed."""
        actions = mlp(params, observations, activation=self.activation)
        return jnp.tanh(actions) if self.squash else actions

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return pi(s), clipped to the action range."""
        return jnp.clip(self.mean(params, observations), -1.0, 1.0)

    def network(self, params: Params) -> Network:
        """Return pi."""
        return Network(params, activation=self.activation)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return pi(s) plus Gaussian noise, clipped as in target policy smoothing, within the action range."""
        actions = self.mean(params, observations)
        noise = self.exploration_noise * jax.random.normal(key, actions.shape, actions.dtype)
        return smoothed(actions, noise, self.noise_clip)

    def online(self, env_steps: int) -> Online:
        """Return fine-tuning on half offline data: no penalty on the critics, a cooling one on the actor."""
        tuned = self.replace(penalizes_critic=False, cooling_updates=self.online_cooling_updates)
        return Online(tuned, env_steps, Mixed(self.offline_share), self.utd)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return offline training, then fine-tuning."""

        def count_anew(state: ReBRACState, _key: Array, _example: Transitions) -> ReBRACState:
            return state.replace(updates=jnp.zeros_like(state.updates))

        return (Offline(self, updates), Switch(count_anew), self.online(env_steps))

    def _cooled(self, updates: Array) -> Array | float:
        """Return the share of beta_1 that is left after so many updates."""
        if self.cooling_updates is None:
            return 1.0
        return jnp.maximum(self.penalty_end, 1.0 - updates / self.cooling_updates)
