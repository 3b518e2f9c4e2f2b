"""SPOT: TD3 held to the data's support by a density model (Wu et al. 2022, arXiv 2202.06239)."""

from functools import partial

import jax
import jax.numpy as jnp

from moorl_jax.agents.common import kept_units
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.td3_bc import TD3BC, TD3BCState
from moorl_jax.config import Count, NotNegative, PartShare, Positive, Share, Steps, Widths, static
from moorl_jax.nets import MLP, Activation, Learner, QFunction, init_mlp, mlp
from moorl_jax.phases import Offline, Online, Phase, Switch
from moorl_jax.replay import Union
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions

LOG_STD_BOUNDS = (-4.0, 15.0)
VAE_HIDDEN = (750, 750)


class BehaviourVAE(Agent[Learner]):
    """A conditional VAE of the data's actions: SPOT's first phase, with the settings of thuml/SPOT `train_vae.py`."""

    hidden: Widths = static(VAE_HIDDEN)
    activation: Activation = static("relu")
    learning_rate: NotNegative = 1e-3
    beta: NotNegative = 0.5  #: weight of the divergence
    max_action: Positive = 1.0

    def init(self, key: Array, example: Transitions) -> Learner:
        """Initialize encoder and decoder as PyTorch would; the latent is twice the action's size."""
        encoder_key, decoder_key = jax.random.split(key)
        action_size = example.actions.shape[-1]
        latent = jnp.zeros((*example.actions.shape[:-1], 2 * action_size), example.actions.dtype)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        code = jnp.concatenate([example.observations, latent], axis=-1)
        net = partial(MLP, activation=self.activation)
        return Learner.create(
            {
                "encoder": init_mlp(encoder_key, net((*self.hidden, 4 * action_size)), inputs),
                "decoder": init_mlp(decoder_key, net((*self.hidden, action_size)), code),
            }
        )

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the latent's noise, standard normal."""
        size, action_size = batch.actions.shape
        return {"vae_noise": jax.random.normal(key, (size, 2 * action_size), batch.actions.dtype)}

    def update(self, state: Learner, batch: Transitions, draws: Draws) -> tuple[Learner, Metrics]:
        """Take one gradient step on the negative ELBO."""
        loss = partial(self.loss, batch=batch, draws=draws)
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        return state.descend(gradients, self.learning_rate), metrics

    def loss(self, vae: Params, batch: Transitions, draws: Draws) -> tuple[Array, Metrics]:
        """Return mean (decoded - a)^2 + beta KL, the divergence averaged over batch and latent dimensions."""
        mean, log_std = encode(vae, batch.observations, batch.actions, self.activation)
        latent = mean + jnp.exp(log_std) * draws["vae_noise"]
        decoded = decode(vae, batch.observations, latent, self.max_action, self.activation)
        reconstruction = jnp.mean((decoded - batch.actions) ** 2)
        divergence = _divergence(mean, log_std).mean()
        loss = reconstruction + self.beta * divergence
        return loss, {"vae_loss": loss, "reconstruction_loss": reconstruction, "divergence": divergence}

    def policy(self, state: Learner) -> Params:
        """Return the model itself."""
        return state.params

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the decoded mean (zero) of the latent's prior."""
        action_size = params["decoder"][f"layer{len(self.hidden)}"]["bias"].shape[-1]
        latent = jnp.zeros((*observations.shape[:-1], 2 * action_size), observations.dtype)
        return decode(params, observations, latent, self.max_action, self.activation)


class SPOTState(TD3BCState):
    """TD3's networks, the frozen density model, and the critic updates since the phase began."""

    vae: Params
    updates: Array  #: ()


class SPOT(TD3BC[SPOTState]):
    """SPOT with the defaults of thuml/SPOT. It is TD3+BC with another actor loss."""

    source = "thuml/SPOT train_vae.py, SPOT.py; online as on AntMaze: ours"

    vae_hidden: Widths = static(VAE_HIDDEN)
    vae_updates: Steps = static(100_000)  #: number of updates of the density model before the first critic update
    samples: Count = static(1)  #: latents per action in the density estimate
    importance_weighted: bool = static(False)  #: the tighter bound of importance-weighted autoencoders
    normalize_q: bool = static(True)  #: divide the actor's value by its mean size
    #: dropout rate of the hidden units of actor and target actor, in the actor's and the critics' loss
    dropout: PartShare = static(0.0)
    vae_learning_rate: NotNegative = 1e-3
    beta: NotNegative = 0.5  #: the density model's weight of the divergence
    q_epsilon: NotNegative = 0.0  #: added to mean |Q|, by which the actor's Q-term is divided; OPT uses 1e-10
    support_weight: NotNegative = 0.1  #: lambda, of the support term
    cooling_updates: Positive | None = None  #: updates over which lambda would fall to 0; None: it stays
    support_end: Share = 0.2  #: the share of lambda at which it stops falling
    online_cooling_updates: Positive | None = 1e6  #: `cooling_updates` online
    online_discount: Share = 0.99  #: `discount` online

    def init(self, key: Array, example: Transitions) -> SPOTState:
        """Initialize all networks as PyTorch would, the density model among them."""
        key, vae_key = jax.random.split(key)
        vae = self.density_model().init(vae_key, example).params
        return SPOTState(**vars(super().init(key, example)), vae=vae, updates=jnp.zeros((), jnp.int32))

    def density_model(self) -> BehaviourVAE:
        """Return the agent of the first phase."""
        return BehaviourVAE(
            batch_size=self.batch_size,
            hidden=self.vae_hidden,
            activation=self.activation,
            learning_rate=self.vae_learning_rate,
            beta=self.beta,
            max_action=self.max_action,
        )

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw noise for target policy and latents, and uniform numbers for the dropout of actor and target actor."""
        noise_key, vae_key, dropout_key, target_key = jax.random.split(key, 4)
        size, action_size = batch.actions.shape
        dtype = batch.actions.dtype
        draws = super().draw(noise_key, batch)
        draws["vae_noise"] = jax.random.normal(vae_key, (size, self.samples, 2 * action_size), dtype)
        if self.dropout:
            units = (len(self.hidden), size, max(self.hidden))
            draws["dropout"] = jax.random.uniform(dropout_key, units, dtype)
            draws["target_dropout"] = jax.random.uniform(target_key, units, dtype)
        return draws

    def update_critic(self, state: SPOTState, batch: Transitions, draws: Draws) -> tuple[SPOTState, Metrics]:
        """Update the critics as TD3 does, and count."""
        state, metrics = super().update_critic(state, batch, draws)
        return state.replace(updates=state.updates + 1), metrics

    def critic_loss(self, critic: Params, state: SPOTState, batch: Transitions, draws: Draws) -> tuple[Array, Metrics]:
        """Return TD3's loss, with dropout in the target actor, as in the authors' code."""
        next_actions = self._dropped(state.target_actor, batch.next_observations, draws.get("target_dropout"))
        return self.td_loss(critic, state.target_critic, self.smoothed(next_actions, draws["policy_noise"]), batch)

    def actor_loss(
        self, actor: Params, q: QFunction, state: SPOTState, batch: Transitions, draws: Draws
    ) -> tuple[Array, Metrics]:
        """Return -mean Q(s, pi(s)) / mean |Q| - lambda mean log beta(pi(s)|s) (eq. 11), the divisor held fixed."""
        actions = self._dropped(actor, batch.observations, draws.get("dropout"))
        values = q(batch.observations, actions)
        scale = jax.lax.stop_gradient(1.0 / (jnp.mean(jnp.abs(values)) + self.q_epsilon)) if self.normalize_q else 1.0
        unlikeliness = self.negative_log_density(state.vae, batch.observations, actions, draws["vae_noise"])
        weight = self._support_weight(state.updates)
        loss = -scale * values.mean() + weight * unlikeliness.mean()
        return loss, {
            "actor_loss": loss,
            "q": values.mean(),
            "negative_log_density": unlikeliness.mean(),
            "negative_log_density_max": unlikeliness.max(),
            "support_weight": jnp.asarray(weight),
        }

    def negative_log_density(self, vae: Params, observations: Array, actions: Array, noise: Array) -> Array:
        """Return the bound on -log beta(a|s), (batch,), from `noise` of (batch, samples, latent size).

        By default it is the negative ELBO with the loss weights of training. With `importance_weighted` it is the bound
        of Burda et al. (2015), with decoder variance beta / 4.
        """
        mean, log_std = encode(vae, observations, actions, self.activation)
        latent = mean[:, None] + jnp.exp(log_std)[:, None] * noise
        states = jnp.broadcast_to(observations[:, None], (*noise.shape[:2], observations.shape[-1]))
        decoded = decode(vae, states, latent, self.max_action, self.activation)
        error = (decoded - actions[:, None]) ** 2
        if not self.importance_weighted:
            return error.mean(axis=(1, 2)) + self.beta * _divergence(mean, log_std).mean(axis=-1)
        variance = self.beta / 4.0
        likelihood = jnp.sum(-0.5 * error / variance - 0.5 * jnp.log(2.0 * jnp.pi * variance), axis=-1)
        prior = jnp.sum(-0.5 * latent**2, axis=-1)
        posterior = jnp.sum(-0.5 * noise**2 - log_std[:, None], axis=-1)
        return jnp.log(self.samples) - jax.nn.logsumexp(likelihood + prior - posterior, axis=1)

    def online(self, env_steps: int) -> Online:
        """Return fine-tuning on all data, with a cooling lambda."""
        tuned = self.replace(discount=self.online_discount, cooling_updates=self.online_cooling_updates)
        return Online(tuned, env_steps, Union(), self.utd)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return the density model's training, offline training, and fine-tuning."""

        def adopt(vae: Learner, key: Array, example: Transitions) -> SPOTState:
            return self.init(key, example).replace(vae=vae.params)

        def count_anew(state: SPOTState, _key: Array, _example: Transitions) -> SPOTState:
            return state.replace(updates=jnp.zeros_like(state.updates))

        return (
            Offline(self.density_model(), self.vae_updates, evaluated=False),
            Switch(adopt),
            Offline(self, updates),
            Switch(count_anew),
            self.online(env_steps),
        )

    def _dropped(self, actor: Params, observations: Array, uniform: Array | None) -> Array:
        """Return an actor's actions without the hidden units where `uniform`, (layers, batch, width), is small."""
        kept = () if uniform is None else kept_units(uniform, self.hidden, self.dropout)
        return self.max_action * jnp.tanh(mlp(actor, observations, kept, self.activation))

    def _support_weight(self, updates: Array) -> Array | float:
        if self.cooling_updates is None:
            return self.support_weight
        return self.support_weight * jnp.maximum(self.support_end, 1.0 - updates / self.cooling_updates)


def encode(vae: Params, observations: Array, actions: Array, activation: Activation) -> tuple[Array, Array]:
    """Return mean and log std of the latent's posterior."""
    heads = mlp(vae["encoder"], jnp.concatenate([observations, actions], axis=-1), activation=activation)
    mean, log_std = jnp.split(heads, 2, axis=-1)
    return mean, jnp.clip(log_std, *LOG_STD_BOUNDS)


def decode(vae: Params, observations: Array, latent: Array, max_action: float, activation: Activation) -> Array:
    """Return the action that a latent stands for."""
    code = jnp.concatenate([observations, latent], axis=-1)
    return max_action * jnp.tanh(mlp(vae["decoder"], code, activation=activation))


def _divergence(mean: Array, log_std: Array) -> Array:
    """Return KL(posterior | standard normal), per latent dimension."""
    return -0.5 * (1.0 + 2.0 * log_std - mean**2 - jnp.exp(2.0 * log_std))
