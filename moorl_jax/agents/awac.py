"""AWAC: advantage-weighted actor-critic (Nair, Gupta, Dalal and Levine 2020, arXiv 2006.09359)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.agents.common import normalized
from moorl_jax.agents.contract import Agent
from moorl_jax.config import NotNegative, Positive, Share, Widths, static
from moorl_jax.nets import MLP, Activation, Learner, Network, critics, init_critics, init_mlp, mlp, polyak
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions

LOG_STD_BOUNDS = (-20.0, 2.0)


class AWACState(struct.PyTreeNode):
    """Actor, and twin critics with their targets."""

    actor: Learner  #: {mean: MLP, log_std: (action size,)}
    critic: Learner
    target_critic: Params


class AWAC(Agent[AWACState]):
    """AWAC with the defaults of CORL.

    Online it uses the same update, as in CORL, on dataset and buffer together, and samples its actions.
    """

    source = "corl-team/CORL algorithms/offline/awac.py, configs/offline/awac/, configs/finetune/awac/"

    hidden: Widths = static((256, 256, 256))
    activation: Activation = static("relu")
    actor_layer_norm: bool = static(False)  #: normalize hidden units after their activation
    critic_layer_norm: bool = static(False)
    actor_learning_rate: NotNegative = 3e-4
    critic_learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005
    advantage_scale: Positive = 0.3333  #: lambda, which advantages are divided by
    weight_clip: Positive = 100.0  #: largest advantage weight

    def init(self, key: Array, example: Transitions) -> AWACState:
        """Initialize all networks as PyTorch would, and the std to 1."""
        actor_key, critic_key = jax.random.split(key)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        action_size = example.actions.shape[-1]
        net = partial(MLP, activation=self.activation)
        policy = net((*self.hidden, action_size), layer_norm=normalized(self.actor_layer_norm))
        value = net((*self.hidden, 1), layer_norm=normalized(self.critic_layer_norm))
        mean = init_mlp(actor_key, policy, example.observations)
        actor = {"mean": mean, "log_std": jnp.zeros(action_size, example.actions.dtype)}
        critic = init_critics(critic_key, value, inputs)
        return AWACState(Learner.create(actor), Learner.create(critic), critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw standard normal noise for the actions at s' and for the sampled actions at s in the advantage."""
        next_key, policy_key = jax.random.split(key)
        shape, dtype = batch.actions.shape, batch.actions.dtype
        return {
            "next": jax.random.normal(next_key, shape, dtype),
            "policy": jax.random.normal(policy_key, shape, dtype),
        }

    def update(self, state: AWACState, batch: Transitions, draws: Draws) -> tuple[AWACState, Metrics]:
        """Update the critics, then the actor by the new ones' advantages, then the targets."""
        target = self.target(state, batch, draws["next"])
        critic_loss = partial(self.critic_loss, target=target, batch=batch)
        (_, critic_metrics), gradients = jax.value_and_grad(critic_loss, has_aux=True)(state.critic.params)
        critic = state.critic.descend(gradients, self.critic_learning_rate)

        advantage = self.advantage(state.actor.params, critic.params, batch, draws["policy"])
        actor_loss = partial(self.actor_loss, advantage=advantage, batch=batch)
        (_, actor_metrics), gradients = jax.value_and_grad(actor_loss, has_aux=True)(state.actor.params)
        actor = state.actor.descend(gradients, self.actor_learning_rate)
        return AWACState(actor, critic, polyak(state.target_critic, critic.params, self.tau)), (
            critic_metrics | actor_metrics
        )

    def target(self, state: AWACState, batch: Transitions, noise: Array) -> Array:
        """Return the critics' targets, (batch,): y = r + (1 - d) discount min_i Qbar_i(s', a'), a' ~ pi."""
        actions = self.sample(state.actor.params, batch.next_observations, noise)
        next_q = critics(state.target_critic, batch.next_observations, actions, self.activation).min(axis=0)
        return batch.rewards + (1.0 - batch.terminals) * self.discount * next_q

    def critic_loss(self, critic: Params, target: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return sum_i mean (Q_i(s, a) - y)^2."""
        q = critics(critic, batch.observations, batch.actions, self.activation)
        chex.assert_shape(q, (2, *target.shape))
        loss = jnp.sum(jnp.mean((q - target) ** 2, axis=1))
        return loss, {"critic_loss": loss, "q": q.mean()}

    def advantage(self, actor: Params, critic: Params, batch: Transitions, noise: Array) -> Array:
        """Return A = min_i Q_i(s, a) - min_i Q_i(s, pi), (batch,), pi a single sample of pi(.|s)."""
        sampled = self.sample(actor, batch.observations, noise)
        both = jnp.stack([batch.actions, sampled], axis=1)
        q = critics(critic, batch.observations, both, self.activation).min(axis=0)
        return q[:, 0] - q[:, 1]

    def actor_loss(self, actor: Params, advantage: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return -mean min(exp(A / lambda), clip) log pi(a|s) (section 4), weights not normalized over the batch."""
        weight = jnp.minimum(jnp.exp(advantage / self.advantage_scale), self.weight_clip)
        mean, std = self.gaussian(actor, batch.observations)
        error = (batch.actions - mean) / std
        log_density = jnp.sum(-0.5 * error**2 - jnp.log(std) - 0.5 * jnp.log(2.0 * jnp.pi), axis=-1)
        chex.assert_equal_shape([weight, log_density])
        loss = -jnp.mean(weight * log_density)
        return loss, {"actor_loss": loss, "advantage": advantage.mean(), "weight": weight.mean()}

    def gaussian(self, actor: Params, observations: Array) -> tuple[Array, Array]:
        """Return mean, (..., action size), and std, (action size,); the mean is not squashed."""
        mean = mlp(actor["mean"], observations, activation=self.activation)
        return mean, jnp.exp(jnp.clip(actor["log_std"], *LOG_STD_BOUNDS))

    def sample(self, actor: Params, observations: Array, noise: Array) -> Array:
        """Return mean + std noise, clipped to the action range."""
        mean, std = self.gaussian(actor, observations)
        return jnp.clip(mean + std * noise, -1.0, 1.0)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the mean of pi(.|s), clipped to the action range."""
        return jnp.clip(mlp(params["mean"], observations, activation=self.activation), -1.0, 1.0)

    def network(self, params: Params) -> Network:
        """Return the network of the mean."""
        return Network(params["mean"], squash="clip", activation=self.activation)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample pi(.|s), clipped to the action range."""
        shape = (*observations.shape[:-1], params["log_std"].shape[-1])
        return self.sample(params, observations, jax.random.normal(key, shape, observations.dtype))
