"""SAC-N: SAC on the smallest of many critics (An, Moon, Kim and Song 2021, arXiv 2110.01548, section 3)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from moorl_jax.agents.common import SquashedGaussian, normalized
from moorl_jax.agents.sac import SACState
from moorl_jax.config import Count, NotNegative, Positive, Share, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import (
    MLP,
    Activation,
    Learner,
    Network,
    critics,
    init_critics,
    init_mlp,
    member_gradients,
    mlp,
    polyak,
    q_value,
    symmetric_uniform,
)
from moorl_jax.phases import Online
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions

LOG_STD_BOUNDS = (-5.0, 2.0)  #: CORL's; SAC's are in common.py


class SACN(SquashedGaussian[SACState]):
    """SAC-N with the defaults of CORL, which trains it only offline.

    An update steps the temperature, then the actor, then the critics. Each step uses the results of the steps before
    and samples its own actions. The authors' code takes all losses from before the update.
    """

    source = "corl-team/CORL algorithms/offline/sac_n.py, configs/offline/sac_n/"

    hidden: Widths = static((256, 256, 256))
    activation: Activation = static("relu")
    actor_layer_norm: bool = static(False)  #: normalize hidden units after their activation
    critic_layer_norm: bool = static(False)
    members: Count = static(10)  #: N, critics in the ensemble
    actor_learning_rate: NotNegative = 3e-4
    critic_learning_rate: NotNegative = 3e-4
    temperature_learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005
    initial_temperature: Positive = 1.0
    target_entropy_per_dimension: float = -1.0  #: of the action; the temperature is tuned towards their sum
    max_action: Positive = 1.0

    def init(self, key: Array, example: Transitions) -> SACState:
        """Initialize kernels as PyTorch would, hidden biases to 0.1, last layers nearly to 0, as EDAC's authors do."""
        actor_key, critic_key = jax.random.split(key)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        net = partial(MLP, hidden_bias=0.1, activation=self.activation)
        policy = net(
            (*self.hidden, 2 * example.actions.shape[-1]),
            final_init=symmetric_uniform(1e-3),
            layer_norm=normalized(self.actor_layer_norm),
        )
        value = net(
            (*self.hidden, 1), final_init=symmetric_uniform(3e-3), layer_norm=normalized(self.critic_layer_norm)
        )
        actor = init_mlp(actor_key, policy, example.observations)
        critic = init_critics(critic_key, value, inputs, self.members)
        log_temperature = jnp.log(jnp.asarray(self.initial_temperature, inputs.dtype))
        return SACState(Learner.create(actor), Learner.create(critic), Learner.create(log_temperature), critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the noise of the actions that temperature, actor and critics see, standard normal."""
        shape, dtype = batch.actions.shape, batch.actions.dtype
        uses = ("temperature", "policy", "next")
        keys = jax.random.split(key, len(uses))
        return {use: jax.random.normal(own, shape, dtype) for use, own in zip(uses, keys, strict=True)}

    def update(self, state: SACState, batch: Transitions, draws: Draws) -> tuple[SACState, Metrics]:
        """Update the temperature, then the actor, then the critics, then their targets."""
        tuning = partial(self.temperature_loss, actor=state.actor.params, batch=batch, noise=draws["temperature"])
        temperature_loss, gradient = jax.value_and_grad(tuning)(state.log_temperature.params)
        log_temperature = state.log_temperature.descend(gradient, self.temperature_learning_rate)
        temperature = jnp.exp(log_temperature.params)

        loss = partial(
            self.actor_loss, critic=state.critic.params, temperature=temperature, batch=batch, noise=draws["policy"]
        )
        (_, actor_metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.actor.params)
        actor = state.actor.descend(gradients, self.actor_learning_rate)

        target = self.target(state.target_critic, actor.params, temperature, batch, draws["next"])
        gradients, critic_metrics = self.critic_gradients(state.critic.params, target, batch)
        critic = state.critic.descend(gradients, self.critic_learning_rate)
        target_critic = polyak(state.target_critic, critic.params, self.tau)
        metrics = {"temperature": temperature, "temperature_loss": temperature_loss}
        return SACState(actor, critic, log_temperature, target_critic), critic_metrics | actor_metrics | metrics

    def temperature_loss(self, log_temperature: Array, actor: Params, batch: Transitions, noise: Array) -> Array:
        """Return -log temperature (mean log pi(a|s) + target entropy), a ~ pi."""
        _, log_pi = self.sample(actor, batch.observations, noise)
        target_entropy = self.target_entropy_per_dimension * batch.actions.shape[-1]
        return -log_temperature * (log_pi.mean() + target_entropy)

    def actor_loss(
        self, actor: Params, critic: Params, temperature: Array, batch: Transitions, noise: Array
    ) -> tuple[Array, Metrics]:
        """Return mean (temperature log pi(a|s) - min_i Q_i(s, a)), a ~ pi."""
        actions, log_pi = self.sample(actor, batch.observations, noise)
        q = critics(critic, batch.observations, actions, self.activation)
        chex.assert_shape(q, (self.members, *log_pi.shape))
        loss = jnp.mean(temperature * log_pi - q.min(axis=0))
        spread = q.std(axis=0, ddof=1).mean() if self.members > 1 else jnp.zeros(())
        return loss, {"actor_loss": loss, "entropy": -log_pi.mean(), "q_spread": spread}

    def target(
        self, target_critic: Params, actor: Params, temperature: Array, batch: Transitions, noise: Array
    ) -> Array:
        """Return the critics' targets, (batch,).

        y = r + (1 - d) discount (min_i Qbar_i(s', a') - temperature log pi(a'|s')), a' ~ pi.
        """
        actions, log_pi = self.sample(actor, batch.next_observations, noise)
        next_q = critics(target_critic, batch.next_observations, actions, self.activation).min(axis=0)
        return batch.rewards + (1.0 - batch.terminals) * self.discount * (next_q - temperature * log_pi)

    def critic_gradients(self, critic: Params, target: Array, batch: Transitions) -> tuple[Params, Metrics]:
        """Return the gradient and the metrics of the critics' loss, sum_i mean (Q_i(s, a) - y)^2."""

        def loss(member: Params, batch: Transitions) -> tuple[Array, Metrics]:
            q = q_value(member, batch.observations, batch.actions, self.activation)
            chex.assert_equal_shape([q, target])
            loss = jnp.mean((q - target) ** 2)
            return loss, {"critic_loss": loss, "q": q.mean()}

        gradients, metrics = member_gradients(loss, critic, batch)
        return gradients, {"critic_loss": metrics["critic_loss"].sum(), "q": metrics["q"].mean()}

    def gaussian(self, actor: Params, observations: Array) -> tuple[Array, Array]:
        """Return mean and log std before squashing, (..., action size) each: the halves of the network's output."""
        mean, log_std = jnp.split(mlp(actor, observations, activation=self.activation), 2, axis=-1)
        return mean, jnp.clip(log_std, *LOG_STD_BOUNDS)

    def sample(self, actor: Params, observations: Array, noise: Array) -> tuple[Array, Array]:
        """Return actions max_action tanh(mean + std noise), (..., A), and the log-density of their tanh, (...,).

        As in CORL's code, 1e-6 is added inside the logarithm to keep it finite, and the log-density ignores
        `max_action`.
        """
        mean, log_std = self.gaussian(actor, observations)
        squashed = jnp.tanh(mean + jnp.exp(log_std) * noise)
        gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
        log_pi = jnp.sum(gaussian - jnp.log(1.0 - squashed**2 + 1e-6), axis=-1)
        return self.max_action * squashed, log_pi

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return max_action tanh(mean(s))."""
        return self.max_action * jnp.tanh(self.gaussian(params, observations)[0])

    def network(self, params: Params) -> Network:
        """Return the mean's."""
        return Network(params, scale=float(self.max_action), activation=self.activation).first_half()

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample pi(.|s)."""
        mean, _ = self.gaussian(params, observations)
        return self.sample(params, observations, jax.random.normal(key, mean.shape, mean.dtype))[0]

    def temperature(self, state: SACState) -> Array:
        """Return the temperature, ()."""
        return jnp.exp(state.log_temperature.params)

    def online(self, env_steps: int) -> Online:
        """Raise MoorlError: its authors train it offline alone."""
        raise MoorlError(f"{type(self).__name__} does not learn online: give it no env steps")
