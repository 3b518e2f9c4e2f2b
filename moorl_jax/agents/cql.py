"""CQL: conservative Q-learning over SAC (Kumar, Zhou, Tucker and Levine 2020, arXiv 2006.04779)."""

import math

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from moorl_jax.agents.common import LOG_STD_BOUNDS, SquashedGaussian, blockwise_gradients, squashed_sample
from moorl_jax.agents.contract import static
from moorl_jax.nets import MLP, Learner, init_critics, init_mlp, mlp, polyak
from moorl_jax.phases import Offline, Online, Phase
from moorl_jax.replay import Mixed
from moorl_jax.types import Array, Metrics, Params, Transitions


class CQLState(struct.PyTreeNode):
    """Policy, twin critics with their targets, and the two multipliers, as logarithms."""

    actor: Learner  #: {net: MLP to mean and raw log std, log_std_multiplier: (), log_std_offset: ()}
    critic: Learner
    log_alpha: Learner
    log_alpha_prime: Learner
    target_critic: Params


class CQL(SquashedGaussian):
    """CQL(H) with the defaults of young-geng/JaxCQL.

    All networks step together from the parameters before the update. On purpose unlike that code, which draws new
    noise for each loss it differentiates, one draw serves all losses: one forward pass instead of four.
    """

    hidden: tuple[int, ...] = static((256, 256))
    critic_hidden: tuple[int, ...] | None = static(None)  #: the critics' own, where they differ
    actions_per_state: int = static(10)  #: random, current and next actions in the penalty, of each
    orthogonal: bool = static(False)  #: initialize orthogonally instead of as LeCun normal
    importance_sampling: bool = static(True)
    lagrange: bool = static(False)  #: tune the penalty's weight to keep its value near `target_gap`
    max_target_backup: bool = static(False)  #: back up the best of `actions_per_state` next actions
    backup_entropy: bool = static(False)
    cloning_updates: int = static(0)  #: first updates, in which the policy clones the data
    blocks: int | None = static(None)  #: parts the batch is differentiated in; None is 8 on a CPU, 1 elsewhere
    actor_learning_rate: float = 3e-4  #: also the temperature's
    critic_learning_rate: float = 3e-4  #: also the Lagrange multiplier's
    discount: float = 0.99
    tau: float = 0.005
    penalty_weight: float = 5.0
    penalty_temperature: float = 1.0
    gap_min: float | None = None  #: bounds of each state's out-of-distribution gap
    gap_max: float | None = None
    target_gap: float = 1.0
    alpha_multiplier: float = 1.0
    target_entropy: float | None = None  #: minus the action size where None
    offline_share: float = 0.5  #: of each online batch, from the dataset

    def init(self, key: Array, example: Transitions) -> CQLState:
        """Initialize last layers nearly zero, the multipliers as JaxCQL does."""
        actor_key, critic_key = jax.random.split(key)
        hidden_init = nn.initializers.lecun_normal()
        final_init = nn.initializers.variance_scaling(1e-2, "fan_in", "uniform")
        if self.orthogonal:
            hidden_init, final_init = nn.initializers.orthogonal(2.0**0.5), nn.initializers.orthogonal(1e-2)
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        dtype = inputs.dtype
        policy = MLP((*self.hidden, 2 * example.actions.shape[-1]), hidden_init, final_init)
        actor = {
            "net": init_mlp(actor_key, policy, example.observations),
            "log_std_multiplier": jnp.ones((), dtype),
            "log_std_offset": -jnp.ones((), dtype),
        }
        critic = init_critics(
            critic_key, MLP((*(self.critic_hidden or self.hidden), 1), hidden_init, final_init), inputs
        )
        return CQLState(
            actor=Learner.create(actor),
            critic=Learner.create(critic),
            log_alpha=Learner.create(jnp.zeros((), dtype)),
            log_alpha_prime=Learner.create(jnp.ones((), dtype)),
            target_critic=critic,
        )

    def draw(self, key: Array, batch: Transitions) -> dict[str, Array]:
        """Draw every action's noise: standard normal, but for the uniform random actions in [-1, 1]."""
        size, action_size = batch.actions.shape
        several = (size, self.actions_per_state, action_size)
        keys = jax.random.split(key, 5)
        dtype = batch.actions.dtype
        target_shape = several if self.max_target_backup else (size, action_size)
        return {
            "policy": jax.random.normal(keys[0], (size, action_size), dtype),
            "target": jax.random.normal(keys[1], target_shape, dtype),
            "random_actions": jax.random.uniform(keys[2], several, dtype, -1.0, 1.0),
            "current": jax.random.normal(keys[3], several, dtype),
            "next": jax.random.normal(keys[4], several, dtype),
        }

    def update(self, state: CQLState, batch: Transitions, draws: dict[str, Array]) -> tuple[CQLState, Metrics]:
        """Step policy, critics and multipliers on the sum of their losses, then move the targets."""
        params = {
            "actor": state.actor.params,
            "critic": state.critic.params,
            "log_alpha": state.log_alpha.params,
            "log_alpha_prime": state.log_alpha_prime.params,
        }
        cloning = state.actor.moments.count < self.cloning_updates
        gradients, metrics = blockwise_gradients(
            lambda params, block: self.loss(params, state.target_critic, block[0], block[1], cloning),
            params,
            (batch, draws),
            self.blocks or (math.gcd(8, len(batch)) if jax.default_backend() == "cpu" else 1),
        )
        critic = state.critic.descend(gradients["critic"], self.critic_learning_rate)
        log_alpha_prime = state.log_alpha_prime
        if self.lagrange:
            log_alpha_prime = log_alpha_prime.descend(gradients["log_alpha_prime"], self.critic_learning_rate)
        state = CQLState(
            actor=state.actor.descend(gradients["actor"], self.actor_learning_rate),
            critic=critic,
            log_alpha=state.log_alpha.descend(gradients["log_alpha"], self.actor_learning_rate),
            log_alpha_prime=log_alpha_prime,
            target_critic=polyak(state.target_critic, critic.params, self.tau),
        )
        return state, metrics

    def loss(
        self,
        params: dict[str, Params],
        target_critic: Params,
        batch: Transitions,
        draws: dict[str, Array],
        cloning: Array,
    ) -> tuple[Array, Metrics]:
        """Return the sum of all losses; each part of `params` receives the gradient of its own loss only.

        Everything is a mean over states, which is what lets a batch be differentiated in blocks. Notation: n is
        `actions_per_state`, Q has a leading axis over the twin critics.
        """
        fixed = jax.lax.stop_gradient(params)
        n = self.actions_per_state

        seen = self.see(params["critic"], batch.observations, draws.get("shift"))
        next_seen = self.see(fixed["critic"], batch.next_observations, draws.get("next_shift"))
        fixed_seen = jax.lax.stop_gradient(seen)

        # The policy at s and s' in one pass serves all samples.
        both = jnp.stack([fixed_seen, next_seen])
        (mean, next_mean), (log_std, next_log_std) = self.gaussian(params["actor"], both)
        actions, log_pi = squashed_sample(mean, log_std, draws["policy"])

        # Temperature and policy (SAC).
        target_entropy = -actions.shape[-1] if self.target_entropy is None else self.target_entropy
        alpha_loss = -params["log_alpha"] * jax.lax.stop_gradient(log_pi + target_entropy).mean()
        alpha = self.alpha_multiplier * jnp.exp(fixed["log_alpha"])
        q_pi = self.values(fixed["critic"], fixed_seen, actions).min(axis=0)
        chex.assert_equal_shape([log_pi, q_pi, batch.rewards])
        policy_loss = jnp.mean(alpha * log_pi - q_pi)
        if self.cloning_updates:
            data_log_pi = _log_density(mean, log_std, batch.actions)
            policy_loss = jnp.where(cloning, jnp.mean(alpha * log_pi - data_log_pi), policy_loss)

        # Everything below treats the policy as given.
        mean, log_std, next_mean, next_log_std = jax.lax.stop_gradient((mean, log_std, next_mean, next_log_std))
        several = (mean[:, None], log_std[:, None])
        next_several = (next_mean[:, None], next_log_std[:, None])

        # Temporal-difference target.
        if self.max_target_backup:
            next_actions, next_log_pi = squashed_sample(*next_several, draws["target"])
            candidates = self.values(target_critic, next_seen, next_actions).min(axis=0)
            best = candidates.argmax(axis=-1)[:, None]
            next_q = jnp.take_along_axis(candidates, best, axis=-1)[:, 0]
            next_log_pi = jnp.take_along_axis(next_log_pi, best, axis=-1)[:, 0]
        else:
            next_actions, next_log_pi = squashed_sample(next_mean, next_log_std, draws["target"])
            next_q = self.values(target_critic, next_seen, next_actions).min(axis=0)
        if self.backup_entropy:
            next_q = next_q - alpha * next_log_pi
        target = batch.rewards + (1.0 - batch.terminals) * self.discount * next_q

        # One pass of the critics over the data's action and the 3 n sampled ones, all at s.
        current_actions, current_log_pi = squashed_sample(*several, draws["current"])
        ahead_actions, ahead_log_pi = squashed_sample(*next_several, draws["next"])
        tried = jnp.concatenate(
            [batch.actions[:, None], draws["random_actions"], current_actions, ahead_actions], axis=1
        )
        q_tried = self.values(params["critic"], seen, tried)
        q = q_tried[..., 0]
        q_random, q_current, q_ahead = jnp.split(q_tried[..., 1:], [n, 2 * n], axis=-1)
        q_current, q_ahead, extra_metrics = self.calibrate(q_current, q_ahead, batch)
        chex.assert_shape(q, (2, *target.shape))
        bellman_loss = jnp.mean((q - target) ** 2, axis=-1)

        # Conservative penalty: push down where the data is not, up where it is (eq. 4 with R(mu) of app. F).
        if self.importance_sampling:
            random_density = actions.shape[-1] * jnp.log(0.5)
            compared = [q_random - random_density, q_ahead - ahead_log_pi, q_current - current_log_pi]
        else:
            compared = [q_random, q[..., None], q_ahead, q_current]
        heat = self.penalty_temperature
        soft_max = heat * jax.nn.logsumexp(jnp.concatenate(compared, axis=-1) / heat, axis=-1)
        gap = jnp.clip(soft_max - q, self.gap_min, self.gap_max).mean(axis=-1)
        if self.lagrange:
            alpha_prime = jnp.clip(jnp.exp(params["log_alpha_prime"]), 0.0, 1e6)
            excess = self.penalty_weight * (gap - self.target_gap)
            penalty = jax.lax.stop_gradient(alpha_prime) * excess
            alpha_prime_loss = -jnp.mean(alpha_prime * jax.lax.stop_gradient(excess))
        else:
            alpha_prime = alpha_prime_loss = jnp.zeros(())
            penalty = self.penalty_weight * gap
        critic_loss = bellman_loss + penalty

        spread = jnp.std(jnp.concatenate([q_random, q[..., None], q_ahead, q_current], axis=-1), axis=-1)
        metrics = {
            "policy_loss": policy_loss,
            "log_pi": log_pi.mean(),
            "alpha": alpha,
            "alpha_loss": alpha_loss,
            "alpha_prime": alpha_prime,
            "alpha_prime_loss": alpha_prime_loss,
            "target_q": next_q.mean(),
            "bellman1_loss": bellman_loss[0],
            "bellman2_loss": bellman_loss[1],
            "critic1_loss": critic_loss[0],
            "critic2_loss": critic_loss[1],
            "q1": q[0].mean(),
            "q2": q[1].mean(),
            "q1_random": q_random[0].mean(),
            "q2_random": q_random[1].mean(),
            "q1_current": q_current[0].mean(),
            "q2_current": q_current[1].mean(),
            "q1_next": q_ahead[0].mean(),
            "q2_next": q_ahead[1].mean(),
            "q1_spread": spread[0].mean(),
            "q2_spread": spread[1].mean(),
            "gap1": gap[0],
            "gap2": gap[1],
            "penalty1": penalty[0],
            "penalty2": penalty[1],
            **extra_metrics,
        }
        return policy_loss + alpha_loss + critic_loss.sum() + alpha_prime_loss, metrics

    def calibrate(
        self,
        q_current: Array,
        q_ahead: Array,
        batch: Transitions,  # noqa: ARG002
    ) -> tuple[Array, Array, Metrics]:
        """Return the values of the policy's actions as the penalty compares them, (2, batch, n): unchanged."""
        return q_current, q_ahead, {}

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return offline training, then the same losses online with a fixed share of each batch from the dataset."""
        return (Offline(self, updates), Online(self, env_steps, Mixed(self.offline_share)))

    def gaussian(self, actor: Params, seen: Array) -> tuple[Array, Array]:
        """Return mean and log std before squashing; the log std is a trained line through the network's output."""
        mean, raw = jnp.split(mlp(actor["net"], seen), 2, axis=-1)
        log_std = actor["log_std_multiplier"] * raw + actor["log_std_offset"]
        return mean, jnp.clip(log_std, *LOG_STD_BOUNDS)


def _log_density(mean: Array, log_std: Array, actions: Array) -> Array:
    """Return the log-density of squashed actions, (...,); those at the bounds, where it has none, are moved inside."""
    inside = jnp.clip(actions, -1.0 + 1e-6, 1.0 - 1e-6)
    noise = (jnp.arctanh(inside) - mean) / jnp.exp(log_std)
    return squashed_sample(mean, log_std, noise)[1]
