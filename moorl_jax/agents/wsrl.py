"""WSRL: warm-start RL, online without the offline data (Zhou, Peng, Li, Levine and Kumar 2024, arXiv 2412.07762)."""

from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.agents.backbone import WarmStart
from moorl_jax.agents.cal_ql import CalQL
from moorl_jax.agents.common import SquashedGaussian, squashed_sample
from moorl_jax.agents.contract import State
from moorl_jax.config import Count, NotNegative, Steps, Turns, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import Learner, Network, member_gradients, polyak, q_value
from moorl_jax.phases import Collect, Online, Phase, Switch
from moorl_jax.replay import FromBuffer
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class WSRLState(struct.PyTreeNode):
    """Policy, critics and target critics of the backbone, and the parameter whose softplus is the temperature."""

    actor: Learner
    critic: Learner
    raw_temperature: Learner
    target_critic: Params


class WSRL(SquashedGaussian[WSRLState]):
    """WSRL over Cal-QL, or another agent whose policy is a squashed Gaussian and whose critics are an ensemble.

    The backbone trains offline. Its policy then acts for `warmup_steps` without learning, so that the buffer starts
    with that policy's experience. SAC continues from the backbone's networks, target networks, Adam moments and
    temperature. The dataset is never drawn from again.

    An update splits the batch into `utd` equal parts. The critics take one step on each part; then policy and
    temperature take one step on the whole batch. As in the authors' code, every optimizer steps every time: a network
    without a loss in this step gets a zero gradient, so its momentum still moves it. Unlike in the authors' code, each
    critic has its own last layer, and the policy's std has the backbone's bounds.
    """

    source = "zhouzypaul/wsrl wsrl/agents/sac.py, experiments/"

    batch_size: Count = static(1024)
    backbone: Annotated[Any, WarmStart] = CalQL(
        members=10, target_members=2, actor_layer_norm=True, critic_layer_norm=True
    )  #: trained offline
    warmup_steps: Steps = static(5000)  #: env steps of the frozen policy before the first update
    utd: Turns = static(4)  #: the critics' steps per env step
    target_members: Count = static(2)  #: drawn of the critics for each target, with replacement
    #: number of actions sampled at each next state; the best one is used in the target
    target_actions: Count = static(1)
    backup_entropy: bool = static(False)  #: whether the target holds the next action's entropy
    actor_learning_rate: NotNegative = 1e-4  #: also the temperature's
    critic_learning_rate: NotNegative = 3e-4
    target_entropy_per_dimension: float = -1.0  #: of the action; the temperature is tuned towards their sum

    def init(self, key: Array, example: Transitions) -> WSRLState:
        """Initialize a backbone, and begin with its networks."""
        return self.take_over(self.backbone.init(key, example), key, example)

    def take_over(self, state: State, key: Array, example: Transitions) -> WSRLState:
        """Begin with a trained backbone's networks and temperature."""
        raw = jnp.log(jnp.expm1(self.backbone.temperature(state)))
        return WSRLState(state.actor, state.critic, Learner.create(raw), state.target_critic)

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the noise of next and new actions, and which of the target critics count in each part of the batch."""
        next_key, policy_key, entropy_key, subset_key = jax.random.split(key, 4)
        (size, action_size), dtype = batch.actions.shape, batch.actions.dtype
        return {
            "next": jax.random.normal(next_key, (size, self.target_actions, action_size), dtype),
            "subset": jax.random.randint(subset_key, (self.utd, self.target_members), 0, self.backbone.members),
            "policy": jax.random.normal(policy_key, (size, action_size), dtype),
            "entropy": jax.random.normal(entropy_key, (size, action_size), dtype),
        }

    def update(self, state: WSRLState, batch: Transitions, draws: Draws) -> tuple[WSRLState, Metrics]:
        """Step the critics on one part of the batch after the other, then policy and temperature on all of it.

        The temperature's loss uses the entropy of actions sampled at s', not of the actions in the policy's loss.
        """
        parts = jax.tree.map(lambda leaf: leaf.reshape(self.utd, -1, *leaf.shape[1:]), (batch, draws["next"]))
        state, metrics = jax.lax.scan(self.update_critic, state, (*parts, draws["subset"]))
        loss = partial(self.actor_loss, state=state, batch=batch, draws=draws)
        (_, actor_metrics), actor = jax.value_and_grad(loss, has_aux=True)(state.actor.params)
        _, log_pi = squashed_sample(*self.gaussian(state.actor.params, batch.next_observations), draws["entropy"])
        loss = partial(self.temperature_loss, entropy=-log_pi.mean(), action_size=batch.actions.shape[-1])
        (_, temperature_metrics), temperature = jax.value_and_grad(loss, has_aux=True)(state.raw_temperature.params)
        state = self.stepped(state, actor=actor, raw_temperature=temperature)
        return state, jax.tree.map(jnp.mean, metrics) | actor_metrics | temperature_metrics

    def update_critic(self, state: WSRLState, part: tuple[Transitions, Array, Array]) -> tuple[WSRLState, Metrics]:
        """Step the critics on a part: its transitions, its next actions' noise, and its members; move their targets."""
        batch, noise, members = part
        target = self.target(state, batch, noise, members)

        def loss(member: Params, batch: Transitions) -> tuple[Array, Metrics]:
            q = q_value(member, batch.observations, batch.actions, self.activation)
            loss = jnp.mean((q - target) ** 2)
            return loss, {"critic_loss": loss, "q": q.mean()}

        gradients, metrics = member_gradients(loss, state.critic.params, batch)
        mean = jax.tree.map(lambda leaf: leaf / self.backbone.members, gradients)
        state = self.stepped(state, critic=mean)
        target_critic = polyak(state.target_critic, state.critic.params, self.backbone.tau)
        return state.replace(target_critic=target_critic), jax.tree.map(jnp.mean, metrics)

    def stepped(self, state: WSRLState, **gradients: Params) -> WSRLState:
        """Take a step of all three optimizers, by a gradient of zero where there is none."""
        rates = {
            "actor": self.actor_learning_rate,
            "critic": self.critic_learning_rate,
            "raw_temperature": self.actor_learning_rate,
        }
        learners = {}
        for name, rate in rates.items():
            learner = getattr(state, name)
            gradient = gradients.get(name, jax.tree.map(jnp.zeros_like, learner.params))
            learners[name] = learner.descend(gradient, rate)
        return state.replace(**learners)

    def target(self, state: WSRLState, batch: Transitions, noise: Array, members: Array) -> Array:
        """Return the critics' targets, (part,).

        y = r + (1 - d) discount max over several a' ~ pi of (min over the drawn targets Qbar(s', a') [- temperature
        log pi(a'|s')]).
        """
        mean, log_std = self.gaussian(state.actor.params, batch.next_observations)
        actions, log_pi = squashed_sample(mean[:, None], log_std[:, None], noise)
        drawn = self.subset(state.target_critic, members)
        next_q = self.values(drawn, batch.next_observations, actions).min(axis=0)
        if self.backup_entropy:
            next_q = next_q - jax.nn.softplus(state.raw_temperature.params) * log_pi
        return batch.rewards + (1.0 - batch.terminals) * self.backbone.discount * next_q.max(axis=-1)

    def actor_loss(self, actor: Params, state: WSRLState, batch: Transitions, draws: Draws) -> tuple[Array, Metrics]:
        """Return mean (temperature log pi(a|s) - min over all critics Q(s, a)), a ~ pi."""
        actions, log_pi = squashed_sample(*self.gaussian(actor, batch.observations), draws["policy"])
        q = self.values(state.critic.params, batch.observations, actions).min(axis=0)
        loss = jnp.mean(jax.nn.softplus(state.raw_temperature.params) * log_pi - q)
        return loss, {"actor_loss": loss}

    def temperature_loss(self, raw_temperature: Array, entropy: Array, action_size: int) -> tuple[Array, Metrics]:
        """Return temperature (entropy - target entropy)."""
        temperature = jax.nn.softplus(raw_temperature)
        loss = temperature * (entropy - self.target_entropy_per_dimension * action_size)
        return loss, {"temperature": temperature, "temperature_loss": loss, "entropy": entropy}

    def gaussian(self, actor: Params, observations: Array) -> tuple[Array, Array]:
        """Return the backbone's mean and log std before squashing."""
        return self.backbone.gaussian(actor, observations)

    def network(self, params: Params) -> Network:
        """Return the backbone's."""
        return self.backbone.network(params)

    def online(self, env_steps: int) -> Online:
        """Return learning from online experience alone; an update holds all of an env step's `utd` steps."""
        return Online(self, env_steps, FromBuffer())

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return the backbone's offline phases, the warm-up, learning online; the warm-up is part of `env_steps`."""
        offline = self.backbone.phases(updates, 0)
        if not env_steps:
            return offline
        if self.batch_size % self.utd:
            raise MoorlError(f"WSRL cuts its batch in utd={self.utd} parts: batch_size={self.batch_size} must be such")
        if self.activation != self.backbone.activation:
            raise MoorlError(
                f"WSRL goes on with its backbone's networks: set activation={self.backbone.activation}, too"
            )
        if env_steps <= self.warmup_steps:
            raise MoorlError(
                f"WSRL takes {self.warmup_steps:,} env steps before it learns online: {env_steps:,} are too few"
            )
        return (
            *offline,
            Switch(self.take_over),
            Collect(self, self.warmup_steps),
            self.online(env_steps - self.warmup_steps),
        )
