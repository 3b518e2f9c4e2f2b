"""PEX: policy expansion (Zhang, Xu and Yu 2023, arXiv 2302.00935)."""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from moorl_jax.agents.iql import IQL, LOG_STD_BOUNDS, IQLState
from moorl_jax.config import NotNegative, Share, Steps, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import Learner, Network, polyak
from moorl_jax.phases import Collect, Offline, Online, Phase, Switch
from moorl_jax.replay import Mixed
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions


class PEXState(IQLState):
    """IQL's networks, with a new actor, and the mean network of the frozen offline policy."""

    actor_offline: Params


class PEX(IQL[PEXState]):
    """PEX over IQL with the defaults of Haichao-Zhang/PEX.

    Online there are two policies, the frozen offline one and a new one. Each proposes an action; one of them is sampled
    with a softmax over their Q-values. The offline phase is IQL as in IQL's own code; PEX's code differs from it (see
    `update`).
    """

    source = "Haichao-Zhang/PEX, the defaults of its code"

    # IQL's options for OGBench, which PEX does not support.
    joint: Literal[False] = static(False)
    squash: Literal[True] = static(True)
    learn_std: Literal[True] = static(True)
    actor_objective: Literal["awr"] = static("awr")
    collect_steps: Steps = static(5000)  #: env steps before the first online update
    temperature: NotNegative = 10.0  #: inverse temperature of the advantage weights (beta)
    choice_temperature: NotNegative = 10.0  #: inverse temperature of the choice between the two proposals
    #: probability, in evaluation, of sampling the new policy's action and, separately, of sampling the choice
    epsilon: Share = 0.1
    offline_share: Share = 0.5  #: of each online batch, from the dataset

    def init(self, key: Array, example: Transitions) -> PEXState:
        """Initialize all networks, the offline policy's among them."""
        state = super().init(key, example)
        return PEXState(**vars(state), actor_offline=state.actor.params["mean"])

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw the new policy's noise and a uniform number in [0, 1) for the choice."""
        return self._proposal_draws(key, batch.actions.shape[:-1], batch.actions.shape[-1])

    def update(self, state: PEXState, batch: Transitions, draws: Draws) -> tuple[PEXState, Metrics]:
        """Update value, critics and targets, then the actor on the actions chosen between the two policies.

        Unlike in IQL, the critics' target uses the value from before the value update, and the critics' loss is halved.
        """
        q = self.q(state.target_critic, batch.observations, batch.actions).min(axis=0)
        next_v = self.v(state.value.params, batch.next_observations)

        value_loss = partial(self.value_loss, q=q, batch=batch)
        (_, value_metrics), gradients = jax.value_and_grad(value_loss, has_aux=True)(state.value.params)
        value = state.value.descend(gradients, self.value_learning_rate)

        critic_loss = partial(self.critic_loss, next_v=next_v, batch=batch)
        (_, critic_metrics), gradients = jax.value_and_grad(critic_loss, has_aux=True)(state.critic.params)
        critic = state.critic.descend(gradients, self.critic_learning_rate)
        target_critic = polyak(state.target_critic, critic.params, self.tau)

        new = state.replace(value=value, critic=critic, target_critic=target_critic)
        actions, _ = self.propose(self.policy(new), batch.observations, draws)
        advantage = self.q(target_critic, batch.observations, actions).min(axis=0)
        advantage = advantage - self.v(value.params, batch.observations)
        actor_loss = partial(self.actor_loss, advantage=advantage, batch=batch.replace(actions=actions))
        (_, actor_metrics), gradients = jax.value_and_grad(actor_loss, has_aux=True)(state.actor.params)
        actor = state.actor.descend(gradients, self.actor_learning_rate)
        return new.replace(actor=actor), value_metrics | critic_metrics | actor_metrics

    def critic_loss(self, critic: Params, next_v: Array, batch: Transitions) -> tuple[Array, Metrics]:
        """Return half of IQL's loss: the mean over the twins, not their sum."""
        loss, metrics = super().critic_loss(critic, next_v, batch)
        return loss / 2.0, metrics | {"critic_loss": loss / 2.0}

    def propose(self, params: Params, observations: Array, draws: Draws) -> tuple[Array, Array]:
        """Return the chosen actions, (..., A), and the choice's probabilities, (..., 2): offline policy, new policy.

        P = softmax(choice_temperature [min_i Q_i(s, a_offline), min_i Q_i(s, a_new)]) (eq. 5). `draws` holds `noise`
        of the new policy, and `choice` in [0, 1).
        """
        offline = self.mean(params["actor_offline"], observations)
        new = self._new_mean(params, observations) + self._std(params) * draws["noise"]
        probabilities = self._preference(params, observations, offline, new)
        takes_new = draws["choice"] >= probabilities[..., 0]
        return jnp.where(takes_new[..., None], new, offline), probabilities

    def policy(self, state: PEXState) -> Params:
        """Return both policies and the critics, which choose between them."""
        return {
            "actor": state.actor.params,
            "actor_offline": state.actor_offline,
            "critic": state.critic.params,
        }

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the better of the two policies' means."""
        offline = self.mean(params["actor_offline"], observations)
        new = self._new_mean(params, observations)
        takes_new = self._preference(params, observations, offline, new).argmax(axis=-1) == 1
        return jnp.where(takes_new[..., None], new, offline)

    def network(self, params: Params) -> Network:
        """Raise MoorlError: the critics choose between two policies."""
        raise MoorlError("PEX's policy is two networks, between which its critics choose: it cannot be exported")

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the set's action, clipped to the action range."""
        size = params["actor"]["log_std"].shape[-1]
        draws = self._proposal_draws(key, observations.shape[:-1], size)
        return jnp.clip(self.propose(params, observations, draws)[0], -1.0, 1.0)

    def act_in_evaluation(self, params: Params, observations: Array, key: Array) -> Array:
        """Return actions for evaluation: epsilon-greedy in the new policy's noise and, independently, in the choice."""
        size = params["actor"]["log_std"].shape[-1]
        keys = jax.random.split(key, 3)
        draws = self._proposal_draws(keys[0], observations.shape[:-1], size)
        draws["explore_action"] = jax.random.uniform(keys[1], observations.shape[:-1])
        draws["explore_choice"] = jax.random.uniform(keys[2], observations.shape[:-1])
        return jnp.clip(self.propose_in_evaluation(params, observations, draws), -1.0, 1.0)

    def propose_in_evaluation(self, params: Params, observations: Array, draws: Draws) -> Array:
        """Return actions for evaluation, given the draws of `propose` and two uniform numbers for epsilon."""
        explores = draws["explore_action"] <= self.epsilon
        noise = jnp.where(explores[..., None], draws["noise"], 0.0)
        _, probabilities = self.propose(params, observations, {**draws, "noise": noise})
        greedily = jnp.where(probabilities[..., 0] >= probabilities[..., 1], 0.0, 1.0)
        choice = jnp.where(draws["explore_choice"] <= self.epsilon, draws["choice"], greedily)
        return self.propose(params, observations, {"noise": noise, "choice": choice})[0]

    def online(self, env_steps: int) -> Online:
        """Return the set's learning on half offline data."""
        return Online(self.replace(actor_decay_updates=None), env_steps, Mixed(self.offline_share))

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return IQL offline, then the expanded set online: collecting first, then learning."""
        offline = IQL(**{name: getattr(self, name) for name in IQL.__dataclass_fields__})

        def expand(state: IQLState, key: Array, example: Transitions) -> PEXState:
            fresh = IQL.init(offline, key, example)
            return PEXState(
                actor=fresh.actor,
                value=Learner.create(state.value.params),
                critic=Learner.create(state.critic.params),
                target_critic=state.target_critic,
                actor_offline=state.actor.params["mean"],
            )

        collected = min(self.collect_steps, env_steps)
        online = self.online(env_steps - collected)
        return (Offline(offline, updates), Switch(expand), Collect(online.agent, collected), online)

    def _new_mean(self, params: Params, observations: Array) -> Array:
        return self.mean(params["actor"]["mean"], observations)

    def _std(self, params: Params) -> Array:
        return jnp.exp(jnp.clip(params["actor"]["log_std"], *LOG_STD_BOUNDS))

    def _preference(self, params: Params, observations: Array, offline: Array, new: Array) -> Array:
        values = jnp.stack([self.q(params["critic"], observations, a).min(axis=0) for a in (offline, new)], axis=-1)
        return jax.nn.softmax(self.choice_temperature * values, axis=-1)

    def _proposal_draws(self, key: Array, shape: tuple[int, ...], action_size: int) -> Draws:
        noise_key, choice_key = jax.random.split(key)
        return {
            "noise": jax.random.normal(noise_key, (*shape, action_size)),
            "choice": jax.random.uniform(choice_key, shape),
        }
