"""SAC (Haarnoja et al. 2018, arXiv 1812.05905) and RLPD (Ball, Smith, Kostrikov and Levine 2023, arXiv 2302.02948)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct
from typing_extensions import TypeVar

from moorl_jax.agents.common import SquashedGaussian, normalized, squashed_sample
from moorl_jax.agents.contract import Update
from moorl_jax.config import Count, NotNegative, Positive, Share, Steps, Turns, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import MLP, Learner, init_critics, init_mlp, member_gradients, polyak, q_value
from moorl_jax.phases import Collect, Online, Phase
from moorl_jax.replay import FromBuffer, Mixed
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class SACState(struct.PyTreeNode):
    """Policy, an ensemble of critics with their targets, and the temperature as a logarithm."""

    actor: Learner
    critic: Learner
    log_temperature: Learner
    target_critic: Params


S = TypeVar("S", bound=SACState, default=SACState)  #: MOORL's state holds more


class SAC(SquashedGaussian[S]):
    """SAC with a tuned temperature and twin critics.

    For each target, `target_members` of the `members` critics are drawn at random.
    """

    source = "arXiv 1812.05905 table 1; Stable-Baselines3, CleanRL"

    hidden: Widths = static((256, 256))
    members: Count = static(2)  #: critics in the ensemble
    target_members: Count = static(2)  #: number of critics drawn for each target, which takes their minimum
    actor_layer_norm: bool = static(False)  #: normalize the actor's hidden units before their activation
    layer_norm: bool = static(False)  #: in the critics' hidden layers
    backup_entropy: bool = static(True)  #: whether the critics' target includes the entropy of the next action
    utd: Turns = static(1)  #: critic updates per env step; actor and temperature are updated only on the last one
    random_steps: Steps = static(5000)  #: env steps of uniform random actions before the first update
    actor_learning_rate: NotNegative = 3e-4
    critic_learning_rate: NotNegative = 3e-4
    temperature_learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005
    initial_temperature: Positive = 1.0
    #: target entropy per action dimension; the total target is this times the action size
    target_entropy_per_dimension: float = -1.0

    def init(self, key: Array, example: Transitions) -> SACState:
        """Initialize every layer as Xavier uniform."""
        actor_key, critic_key = jax.random.split(key)
        kernel_init = nn.initializers.xavier_uniform()
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        net = partial(MLP, kernel_init=kernel_init, activation=self.activation)
        policy = net(
            (*self.hidden, 2 * example.actions.shape[-1]), layer_norm=normalized(self.actor_layer_norm, "before")
        )
        value = net((*self.hidden, 1), layer_norm=normalized(self.layer_norm, "before"))
        actor = init_mlp(actor_key, policy, example.observations)
        critic = init_critics(critic_key, value, inputs, self.members)
        log_temperature = jnp.log(jnp.asarray(self.initial_temperature, inputs.dtype))
        return SACState(Learner.create(actor), Learner.create(critic), Learner.create(log_temperature), critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the noise of the next and the new actions, and which of the target critics count."""
        next_key, policy_key, subset_key = jax.random.split(key, 3)
        shape, dtype = batch.actions.shape, batch.actions.dtype
        return {
            "next": jax.random.normal(next_key, shape, dtype),
            "subset": jax.random.permutation(subset_key, self.members)[: self.target_members],
            "policy": jax.random.normal(policy_key, shape, dtype),
        }

    def cycle(self) -> tuple[Update[S], ...]:
        """Return `utd` updates, of which only the last moves the actor and the temperature."""
        return (self.update_critic,) * (self.utd - 1) + (self.update,)

    def update(self, state: S, batch: Transitions, draws: Draws) -> tuple[S, Metrics]:
        """Update the critics and their targets, then the actor against the new critics, then the temperature."""
        state, critic_metrics = self.update_critic(state, batch, draws)
        loss = partial(self.actor_loss, state=state, batch=batch, draws=draws)
        (_, actor_metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.actor.params)
        actor = state.actor.descend(gradients, self.actor_learning_rate)

        loss = partial(self.temperature_loss, entropy=actor_metrics["entropy"], action_size=batch.actions.shape[-1])
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.log_temperature.params)
        log_temperature = state.log_temperature.descend(gradients, self.temperature_learning_rate)
        return state.replace(actor=actor, log_temperature=log_temperature), critic_metrics | actor_metrics | metrics

    def update_critic(self, state: S, batch: Transitions, draws: Draws) -> tuple[S, Metrics]:
        """Update the critics and move their targets."""
        target = self.target(state, batch, draws)
        gradients, metrics = self.critic_gradients(state.critic.params, target, batch)
        critic = state.critic.descend(gradients, self.critic_learning_rate)
        return state.replace(critic=critic, target_critic=polyak(state.target_critic, critic.params, self.tau)), metrics

    def target(self, state: S, batch: Transitions, draws: Draws) -> Array:
        """Return the critics' targets, (batch,).

        y = r + (1 - d) discount (min over the drawn targets Qbar(s', a') [- temperature log pi(a'|s')]), a' ~ pi.
        """
        seen = self.see(state.critic.params, batch.next_observations)
        actions, log_pi = squashed_sample(*self.gaussian(state.actor.params, seen), draws["next"])
        drawn = state.target_critic
        if self.target_members < self.members:
            drawn = self.subset(drawn, draws["subset"])
        next_q = self.values(drawn, self.see(drawn, batch.next_observations), actions).min(axis=0)
        if self.backup_entropy:
            next_q = next_q - jnp.exp(state.log_temperature.params) * log_pi
        return batch.rewards + (1.0 - batch.terminals) * self.discount * next_q

    def critic_gradients(self, critic: Params, target: Array, batch: Transitions) -> tuple[Params, Metrics]:
        """Return the gradient and the metrics of the critics' loss, a mean over members."""

        def loss(member: Params, batch: Transitions) -> tuple[Array, Metrics]:
            return self.critic_loss(q_value(member, batch.observations, batch.actions, self.activation), target)

        gradients, metrics = member_gradients(loss, critic, batch)
        mean = jax.tree.map(lambda leaf: leaf / self.members, gradients)
        return mean, {name: each.mean() for name, each in metrics.items()}

    def critic_loss(self, q: Array, target: Array) -> tuple[Array, Metrics]:
        """Return the mean of (Q(s, a) - y)^2, of one critic, (batch,), or of several, (members, batch)."""
        chex.assert_equal_shape_suffix([q, target], 1)
        loss = jnp.mean((q - target) ** 2)
        return loss, {"critic_loss": loss, "q": q.mean()}

    def actor_loss(self, actor: Params, state: S, batch: Transitions, draws: Draws) -> tuple[Array, Metrics]:
        """Return mean (temperature log pi(a|s) - Q(s, a)), a ~ pi, Q as `actor_value` combines the critics'."""
        seen = self.see(state.critic.params, batch.observations)
        actions, log_pi = squashed_sample(*self.gaussian(actor, seen), draws["policy"])
        q = self.actor_value(self.values(state.critic.params, seen, actions))
        chex.assert_equal_shape([q, log_pi])
        loss = jnp.mean(jnp.exp(state.log_temperature.params) * log_pi - q)
        return loss, {"actor_loss": loss, "entropy": -log_pi.mean()}

    def actor_value(self, q: Array) -> Array:
        """Return what the actor maximizes, (batch,), of all critics' values, (members, batch): their minimum."""
        return q.min(axis=0)

    def temperature_loss(self, log_temperature: Array, entropy: Array, action_size: int) -> tuple[Array, Metrics]:
        """Return temperature (entropy - target entropy)."""
        temperature = jnp.exp(log_temperature)
        target_entropy = self.target_entropy_per_dimension * action_size
        loss = temperature * jax.lax.stop_gradient(entropy - target_entropy)
        return loss, {"temperature": temperature, "temperature_loss": loss}

    def temperature(self, state: S) -> Array:
        """Return the temperature, ()."""
        return jnp.exp(state.log_temperature.params)

    def see(self, critic: Params, observations: Array) -> Array:
        """Return the inputs of actor and critics: the observations or, for images, features of the critics' encoder."""
        return observations

    def online(self, env_steps: int) -> Online:
        """Return the online phase, which samples only from the buffer."""
        return Online(self, env_steps, FromBuffer(), self.utd)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return random steps, then learning online; there is no offline phase."""
        if self.target_members > self.members:
            raise MoorlError(f"target_members={self.target_members} cannot be drawn of members={self.members} critics")
        if env_steps <= self.random_steps:
            raise MoorlError(
                f"{type(self).__name__} learns online, after {self.random_steps:,} random env steps: it must be given "
                f"more env steps than {env_steps:,}"
            )
        return (Collect(self, self.random_steps, random=True), self.online(env_steps - self.random_steps))


class RLPD(SAC):
    """RLPD with the defaults of ikostrikov/rlpd: SAC on half offline data, many updates, ten normalized critics."""

    source = "ikostrikov/rlpd configs/rlpd_config.py, README.md's locomotion command"

    members: Count = static(10)
    layer_norm: bool = static(True)
    utd: Turns = static(20)
    target_entropy_per_dimension: float = -0.5
    offline_share: Share = 0.5  #: of each batch, from the dataset

    def actor_value(self, q: Array) -> Array:
        """Return the value the actor climbs: the mean over all critics."""
        return q.mean(axis=0)

    def online(self, env_steps: int) -> Online:
        """Return learning from dataset and online experience in a fixed proportion."""
        return Online(self, env_steps, Mixed(self.offline_share), self.utd)
