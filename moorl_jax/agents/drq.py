"""DrQ-v2 (Yarats, Fergus, Lazaric and Pinto 2021, arXiv 2107.09645) and DrQ+BC (Lu et al. 2022, arXiv 2206.04779)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from moorl_jax.agents.common import normalized
from moorl_jax.agents.contract import Agent
from moorl_jax.config import Count, NotNegative, Positive, Share, Steps, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import (
    MLP,
    Activation,
    Encoder,
    Learner,
    Trunk,
    critics,
    drawn_shifts,
    encode,
    init_critics,
    init_mlp,
    mlp,
    polyak,
    random_shift,
    trunk,
)
from moorl_jax.phases import Collect, Offline, Online, Phase, Switch
from moorl_jax.replay import FromBuffer, Union
from moorl_jax.types import Array, Draws, Metrics, NStep, Params, Transitions

ACTION_LIMIT = 1.0 - 1e-6


class DrQState(struct.PyTreeNode):
    """Encoder, actor and twin critics on its features, target critics, and the step of the noise schedule."""

    encoder: Learner
    actor: Learner  #: {trunk, net}
    critic: Learner  #: {trunk, twins}
    target_critic: Params
    steps: Array  #: (), what the noise's schedule goes by: updates, and the random env steps before the first


class DrQ(Agent[DrQState]):
    """DrQ-v2 with the defaults of conglu1997/v-d4rl: DDPG from augmented images, the encoder trained by the critics.

    Observations are images (height, width, channels), the frames of a stack side by side in the channels. Batches hold
    n-step transitions: rewards are discounted sums over `n_step` steps, and next observations are n steps ahead.
    """

    source = "conglu1997/v-d4rl drqbc/; one update an env step, not half: ours"

    strides: Widths = static((2, 1, 1, 1))  #: of the convolutions, 32 channels each
    feature_size: Count = static(50)
    hidden: Widths = static((1024, 1024))
    activation: Activation = static("relu")
    #: normalize hidden units after their activation, in the layers after the trunk (the narrow first layer)
    actor_layer_norm: bool = static(False)
    critic_layer_norm: bool = static(False)
    pad: Steps = static(4)  #: the largest random shift, in pixels
    n_step: Count = static(3)
    random_steps: Steps = static(2000)  #: env steps of uniform random actions before the first update
    cloning: bool = static(False)  #: whether the actor's loss holds the cloning term; with it this is DrQ+BC
    learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.01
    noise_start: NotNegative = 1.0  #: std of the actions' noise at the first env step, offline at the first update
    noise_end: NotNegative = 0.1
    noise_updates: Positive = 250_000.0  #: number of updates (online: env steps) over which the noise falls linearly
    noise_clip: NotNegative = 0.3  #: of the noise in losses
    alpha: NotNegative = 2.5  #: weight of the critic against the cloning term

    def init(self, key: Array, example: Transitions) -> DrQState:
        """Initialize every layer orthogonally, biases at zero."""
        encoder_key, actor_key, critic_key = jax.random.split(key, 3)
        encoder = Encoder((32,) * len(self.strides), self.strides).init(encoder_key, example.observations)["params"]
        features = encode(encoder, example.observations, self.strides)
        orthogonal = nn.initializers.orthogonal()

        def narrow(key: Array) -> tuple[Params, Array]:
            params = Trunk(self.feature_size).init(key, features)["params"]
            return params, trunk(params, features)

        trunk_key, net_key = jax.random.split(actor_key)
        actor_trunk, inputs = narrow(trunk_key)
        net = partial(MLP, kernel_init=orthogonal, activation=self.activation)
        policy = net((*self.hidden, example.actions.shape[-1]), layer_norm=normalized(self.actor_layer_norm))
        value = net((*self.hidden, 1), layer_norm=normalized(self.critic_layer_norm))
        actor = {"trunk": actor_trunk, "net": init_mlp(net_key, policy, inputs)}
        trunk_key, twins_key = jax.random.split(critic_key)
        critic_trunk, inputs = narrow(trunk_key)
        inputs = jnp.concatenate([inputs, example.actions], axis=-1)
        critic = {
            "trunk": critic_trunk,
            "twins": init_critics(twins_key, value, inputs),
        }
        return DrQState(
            encoder=Learner.create(encoder),
            actor=Learner.create(actor),
            critic=Learner.create(critic),
            target_critic=critic,
            steps=jnp.zeros((), jnp.int32),
        )

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw each image's shift and the actions' noise, standard normal."""
        keys = jax.random.split(key, 4)
        shape, dtype = batch.actions.shape, batch.actions.dtype
        return {
            "shift": drawn_shifts(keys[0], len(batch), self.pad),
            "next_shift": drawn_shifts(keys[1], len(batch), self.pad),
            "next": jax.random.normal(keys[2], shape, dtype),
            "policy": jax.random.normal(keys[3], shape, dtype),
        }

    def update(self, state: DrQState, batch: Transitions, draws: Draws) -> tuple[DrQState, Metrics]:
        """Update critics and encoder, then the actor against the new critics on the same features, then the targets."""
        std = self.noise(state.steps)
        images = random_shift(batch.observations, draws["shift"], self.pad)
        next_images = random_shift(batch.next_observations, draws["next_shift"], self.pad)
        target = self.target(state, batch, next_images, std, draws)

        learned = {"encoder": state.encoder.params, "critic": state.critic.params}
        critic_gradient = jax.value_and_grad(self.critic_loss, has_aux=True)
        (_, (features, critic_metrics)), gradients = critic_gradient(learned, images, batch.actions, target)
        encoder = state.encoder.descend(gradients["encoder"], self.learning_rate)
        critic = state.critic.descend(gradients["critic"], self.learning_rate)

        actor_gradient = jax.value_and_grad(self.actor_loss, has_aux=True)
        (_, actor_metrics), gradients = actor_gradient(
            state.actor.params, critic.params, features, batch.actions, std, draws["policy"]
        )
        state = DrQState(
            encoder=encoder,
            actor=state.actor.descend(gradients, self.learning_rate),
            critic=critic,
            target_critic=polyak(state.target_critic, critic.params, self.tau),
            steps=state.steps + 1,
        )
        return state, critic_metrics | actor_metrics | {"std": std}

    def target(self, state: DrQState, batch: Transitions, next_images: Array, std: Array, draws: Draws) -> Array:
        """Return y = R + (1 - d) discount^n min over the targets of Qbar(f', a'), R the sum of n discounted rewards.

        f' are the features of s' from the online encoder (there is no target encoder); a' is the actor's action plus
        noise.
        """
        features = encode(state.encoder.params, next_images, self.strides)
        actions = noisy(self.mean(state.actor.params, features), std, draws["next"], self.noise_clip)
        next_q = self.values(state.target_critic, features, actions).min(axis=0)
        return batch.rewards + (1.0 - batch.terminals) * self.discount**self.n_step * next_q

    def critic_loss(
        self, learned: dict[str, Params], images: Array, actions: Array, target: Array
    ) -> tuple[Array, tuple[Array, Metrics]]:
        """Return mean (Q1 - y)^2 + mean (Q2 - y)^2, and the images' features."""
        features = encode(learned["encoder"], images, self.strides)
        q = self.values(learned["critic"], features, actions)
        chex.assert_shape(q, (2, *target.shape))
        loss = ((q - target) ** 2).mean(axis=1).sum()
        metrics = {"critic_loss": loss, "q1": q[0].mean(), "q2": q[1].mean(), "target_q": target.mean()}
        return loss, (features, metrics)

    def actor_loss(
        self, actor: Params, critic: Params, features: Array, actions: Array, std: Array, noise: Array
    ) -> tuple[Array, Metrics]:
        """Return -mean Q(f, a), or with cloning -alpha mean Q / mean |Q| + mean (a - data)^2; Q is the smaller one."""
        chosen = noisy(self.mean(actor, features), std, noise, self.noise_clip)
        q = self.values(critic, features, chosen).min(axis=0)
        loss = actor_loss = -q.mean()
        cloning_loss = jnp.mean((chosen - actions) ** 2)
        if self.cloning:
            loss = self.alpha / jax.lax.stop_gradient(jnp.abs(q).mean()) * actor_loss + cloning_loss
        return loss, {"actor_loss": actor_loss, "cloning_loss": cloning_loss, "actor_total_loss": loss}

    def noise(self, steps: Array) -> Array:
        """Return the std of the action noise after `steps` steps; it reaches `noise_end` after `noise_updates`."""
        return self.noise_start + (self.noise_end - self.noise_start) * jnp.clip(steps / self.noise_updates, 0.0, 1.0)

    def mean(self, actor: Params, features: Array) -> Array:
        """Return the actor's actions before noise, (..., action size)."""
        return jnp.tanh(mlp(actor["net"], trunk(actor["trunk"], features), activation=self.activation))

    def values(self, critic: Params, features: Array, actions: Array) -> Array:
        """Return both critics' values, (2, ...)."""
        return critics(critic["twins"], trunk(critic["trunk"], features), actions, self.activation)

    def policy(self, state: DrQState) -> Params:
        """Return encoder, actor and how noisy its actions are."""
        return {
            "encoder": state.encoder.params,
            "actor": state.actor.params,
            "std": self.noise(state.steps),
        }

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the mean action."""
        return self.mean(params["actor"], encode(params["encoder"], observations, self.strides))

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the mean action plus noise; the noise is not clipped, only the action to its range."""
        actions = self.greedy(params, observations)
        return noisy(actions, params["std"], jax.random.normal(key, actions.shape, actions.dtype), jnp.inf)

    def n_step_returns(self) -> NStep:
        """Ask for rewards summed over `n_step` steps."""
        return NStep(self.n_step, self.discount)

    def online(self, env_steps: int) -> Online:
        """Return learning from online experience alone."""
        return Online(self, env_steps, FromBuffer())

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return random steps, which the noise's schedule counts, then learning online; there is no offline phase."""
        if self.random_steps < self.n_step:
            raise MoorlError(f"{self.random_steps} random env steps hold no transition over {self.n_step} steps")
        if env_steps <= self.random_steps:
            raise MoorlError(
                f"{type(self).__name__} learns online, after {self.random_steps:,} random env steps: it must be given "
                f"more env steps than {env_steps:,}"
            )

        def count_random_steps(state: DrQState, _key: Array, _example: Transitions) -> DrQState:
            return state.replace(steps=jnp.full_like(state.steps, self.random_steps))

        learning = self.online(env_steps - self.random_steps)
        return (Collect(self, self.random_steps, random=True), Switch(count_random_steps), learning)


class DrQBC(DrQ):
    """DrQ+BC: DrQ-v2 offline, with TD3+BC's cloning term in the actor's loss. Online it keeps the same losses."""

    source = "conglu1997/v-d4rl drqbc/, cfgs/task/offline_dmc.yaml, README.md's command"

    cloning: bool = static(True)
    noise_updates: Positive = 125_000.0

    def online(self, env_steps: int) -> Online:
        """Return learning from dataset and buffer together (ours)."""
        return Online(self, env_steps, Union())

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return offline training, then learning online."""
        return (Offline(self, updates), self.online(env_steps))


def noisy(mean: Array, std: Array, noise: Array, clip: float) -> Array:
    """Return the mean plus clipped noise, std times `noise`, clipped to the action range.

    Gradients pass the last clip as if it were not there.
    """
    actions = mean + jnp.clip(std * noise, -clip, clip)
    return actions + jax.lax.stop_gradient(jnp.clip(actions, -ACTION_LIMIT, ACTION_LIMIT) - actions)
