"""CQL: conservative Q-learning over SAC (Kumar, Zhou, Tucker and Levine 2020, arXiv 2006.04779)."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from moorl_jax.agents.common import LOG_STD_BOUNDS, SquashedGaussian, blockwise, over_members, squashed_sample
from moorl_jax.config import Count, NotNegative, Positive, Share, Steps, Widths, static
from moorl_jax.nets import MLP, Learner, init_critics, init_mlp, mlp, polyak, q_of_several
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


class Tried(struct.PyTreeNode):
    """Actions at the batch's states: the data's, then n random ones, n by the policy there, n by the policy at s'."""

    actions: Array  #: (batch, 1 + 3 n, A)
    log_densities: Array  #: (batch, 3 n), of those that were sampled
    target: Array  #: (batch,), the value that the data's is to have


class CQL(SquashedGaussian):
    """CQL(H) with the defaults of young-geng/JaxCQL.

    All networks step together from the parameters before the update. On purpose unlike that code, which draws new
    noise for each loss it differentiates, one draw serves all losses: one forward pass instead of four.
    """

    source = "young-geng/JaxCQL conservative_sac.py, conservative_sac_main.py"

    hidden: Widths = static((256, 256))
    critic_hidden: Widths | None = static(None)  #: the critics' own, where they differ
    actions_per_state: Count = static(10)  #: random, current and next actions in the penalty, of each
    orthogonal: bool = static(False)  #: initialize orthogonally instead of as LeCun normal
    importance_sampling: bool = static(True)
    lagrange: bool = static(False)  #: tune the penalty's weight to keep its value near `target_gap`
    max_target_backup: bool = static(False)  #: back up the best of `actions_per_state` next actions
    backup_entropy: bool = static(False)
    cloning_updates: Steps = static(0)  #: first updates, in which the policy clones the data
    blocks: Count | None = static(None)  #: parts the batch is differentiated in; None is 16 on a CPU, 1 elsewhere
    actor_learning_rate: NotNegative = 3e-4  #: also the temperature's
    critic_learning_rate: NotNegative = 3e-4  #: also the Lagrange multiplier's
    discount: Share = 0.99
    tau: Share = 0.005
    penalty_weight: NotNegative = 5.0
    penalty_temperature: Positive = 1.0
    gap_min: float | None = None  #: bounds of each state's out-of-distribution gap
    gap_max: float | None = None
    target_gap: float = 1.0
    alpha_multiplier: NotNegative = 1.0
    target_entropy: float | None = None  #: minus the action size where None
    offline_share: Share = 0.5  #: of each online batch, from the dataset

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
        """Step policy, critics and multipliers, each on its own loss, then move the targets."""
        cloning = state.actor.moments.count < self.cloning_updates
        gradients, metrics = self.gradients(state, batch, draws, cloning)
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

    def gradients(
        self, state: CQLState, batch: Transitions, draws: dict[str, Array], cloning: Array
    ) -> tuple[dict[str, Params], Metrics]:
        """Return the gradients of all losses, each by the parameters that it is for, and the metrics."""
        seen = self.see(state.critic.params, batch.observations, draws.get("shift"))
        next_seen = self.see(state.critic.params, batch.next_observations, draws.get("next_shift"))
        policy = {"actor": state.actor.params, "log_alpha": state.log_alpha.params}
        loss = partial(self.policy_loss, state=state, seen=(seen, next_seen), batch=batch, draws=draws, cloning=cloning)
        (_, (proposals, metrics)), gradients = jax.value_and_grad(loss, has_aux=True)(policy)

        # Everything below treats the policy as given.
        mean, next_mean, log_std, next_log_std = proposals
        several, next_several = (mean[:, None], log_std[:, None]), (next_mean[:, None], next_log_std[:, None])
        target, next_q = self.target(state, next_seen, (next_mean, next_log_std), batch, draws, metrics["alpha"])
        current_actions, current_log_pi = squashed_sample(*several, draws["current"])
        ahead_actions, ahead_log_pi = squashed_sample(*next_several, draws["next"])
        random_log_pi = jnp.full_like(current_log_pi, batch.actions.shape[-1] * jnp.log(0.5))
        tried = Tried(
            actions=jnp.concatenate(
                [batch.actions[:, None], draws["random_actions"], current_actions, ahead_actions], axis=1
            ),
            log_densities=jnp.concatenate([random_log_pi, current_log_pi, ahead_log_pi], axis=1),
            target=target,
        )
        alpha_prime, rate = jnp.zeros(()), jnp.asarray(self.penalty_weight)
        if self.lagrange:
            alpha_prime = _bounded_exp(state.log_alpha_prime.params)
            rate = rate * alpha_prime
        gradients["critic"], twins = self.critic_gradients(state.critic.params, seen, tried, batch, draws, rate)

        def alpha_prime_loss(log_alpha_prime: Array) -> Array:
            return -jnp.mean(_bounded_exp(log_alpha_prime) * self.penalty_weight * (twins["gap{}"] - self.target_gap))

        metrics |= {"target_q": next_q.mean(), "alpha_prime": alpha_prime, "alpha_prime_loss": jnp.zeros(())}
        if self.lagrange:
            metrics["alpha_prime_loss"], gradients["log_alpha_prime"] = jax.value_and_grad(alpha_prime_loss)(
                state.log_alpha_prime.params
            )
        metrics |= {name.format(i + 1): value[i] for name, value in twins.items() for i in range(2)}
        return gradients, metrics

    def policy_loss(
        self,
        params: dict[str, Params],
        state: CQLState,
        seen: tuple[Array, Array],
        batch: Transitions,
        draws: dict[str, Array],
        cloning: Array,
    ) -> tuple[Array, tuple[tuple[Array, ...], Metrics]]:
        """Return the losses of policy and temperature (SAC's), mean and log std at s and s', and the metrics.

        One pass of the policy serves all samples.
        """
        (mean, next_mean), (log_std, next_log_std) = self.gaussian(params["actor"], jnp.stack(seen))
        actions, log_pi = squashed_sample(mean, log_std, draws["policy"])
        target_entropy = -actions.shape[-1] if self.target_entropy is None else self.target_entropy
        alpha_loss = -params["log_alpha"] * jax.lax.stop_gradient(log_pi + target_entropy).mean()
        alpha = self.alpha_multiplier * jnp.exp(jax.lax.stop_gradient(params["log_alpha"]))
        q_pi = self.values(state.critic.params, seen[0], actions).min(axis=0)
        chex.assert_equal_shape([log_pi, q_pi, batch.rewards])
        loss = jnp.mean(alpha * log_pi - q_pi)
        if self.cloning_updates:
            data_log_pi = _log_density(mean, log_std, batch.actions)
            loss = jnp.where(cloning, jnp.mean(alpha * log_pi - data_log_pi), loss)
        metrics = {"policy_loss": loss, "log_pi": log_pi.mean(), "alpha": alpha, "alpha_loss": alpha_loss}
        return loss + alpha_loss, ((mean, next_mean, log_std, next_log_std), metrics)

    def target(
        self,
        state: CQLState,
        next_seen: Array,
        policy: tuple[Array, Array],
        batch: Transitions,
        draws: dict[str, Array],
        alpha: Array,
    ) -> tuple[Array, Array]:
        """Return what the critics are to say of the batch, (batch,), and the next value in it.

        y = r + (1 - d) discount (min_i Qbar_i(s', a') [- alpha log pi(a'|s')]), a' ~ pi, or the best of several.
        """
        if self.max_target_backup:
            actions, log_pi = squashed_sample(policy[0][:, None], policy[1][:, None], draws["target"])
            candidates = self.values(state.target_critic, next_seen, actions).min(axis=0)
            best = candidates.argmax(axis=-1)[:, None]
            next_q = jnp.take_along_axis(candidates, best, axis=-1)[:, 0]
            log_pi = jnp.take_along_axis(log_pi, best, axis=-1)[:, 0]
        else:
            actions, log_pi = squashed_sample(*policy, draws["target"])
            next_q = self.values(state.target_critic, next_seen, actions).min(axis=0)
        if self.backup_entropy:
            next_q = next_q - alpha * log_pi
        return batch.rewards + (1.0 - batch.terminals) * self.discount * next_q, next_q

    def critic_gradients(
        self,
        params: Params,
        seen: Array,
        tried: Tried,
        batch: Transitions,
        draws: dict[str, Array],  # noqa: ARG002
        rate: Array,
    ) -> tuple[Params, Metrics]:
        """Return the gradients of the twins' losses, and the metrics, (2,) each."""

        def of_member(member: Params) -> tuple[Params, Metrics]:
            def of_block(block: tuple[Array, Tried, Transitions]) -> tuple[Params, Metrics]:
                seen, tried, batch = block

                def loss(member: Params) -> tuple[Array, Metrics]:
                    return self.critic_loss(q_of_several(member, seen, tried.actions), tried, batch, rate)

                (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(member)
                return gradients, metrics

            return blockwise(of_block, (seen, tried, batch), self.parts(batch))

        return over_members(of_member, params)

    def parts(self, batch: Transitions) -> int:
        """Return in how many blocks a batch's critics are differentiated."""
        return self.blocks or (math.gcd(16, len(batch)) if jax.default_backend() == "cpu" else 1)

    def critic_loss(self, q: Array, tried: Tried, batch: Transitions, rate: Array) -> tuple[Array, Metrics]:
        """Return the loss of one critic, (), or of several, (members,), by its values of all that was tried.

        It is the mean of (Q(s, a) - y)^2 and `rate` times the penalty, which pushes down where the data is not, up
        where it is (eq. 4 with R(mu) of app. F). The metrics' names have a place for the number of the critic.
        """
        q, sampled = q[..., 0], q[..., 1:]
        chex.assert_equal_shape_suffix([q, tried.target], 1)
        bellman_loss = jnp.mean((q - tried.target) ** 2, axis=-1)
        of_random, of_current, of_ahead = jnp.split(sampled, 3, axis=-1)
        of_current, of_ahead, metrics = self.calibrate(of_current, of_ahead, batch)
        sampled = jnp.concatenate([of_random, of_current, of_ahead], axis=-1)
        all_of_them = jnp.concatenate([sampled, q[..., None]], axis=-1)
        compared = sampled - tried.log_densities if self.importance_sampling else all_of_them
        soft_max = self.penalty_temperature * jax.nn.logsumexp(compared / self.penalty_temperature, axis=-1)
        gap = jnp.clip(soft_max - q, self.gap_min, self.gap_max).mean(axis=-1)
        penalty = rate * (gap - self.target_gap if self.lagrange else gap)
        loss = bellman_loss + penalty
        over_states = (-2, -1)
        return loss, metrics | {
            "bellman{}_loss": bellman_loss,
            "critic{}_loss": loss,
            "q{}": q.mean(axis=-1),
            "q{}_random": of_random.mean(axis=over_states),
            "q{}_current": of_current.mean(axis=over_states),
            "q{}_next": of_ahead.mean(axis=over_states),
            "q{}_spread": jnp.std(all_of_them, axis=-1).mean(axis=-1),
            "gap{}": gap,
            "penalty{}": penalty,
        }

    def calibrate(
        self,
        q_current: Array,
        q_ahead: Array,
        batch: Transitions,  # noqa: ARG002
    ) -> tuple[Array, Array, Metrics]:
        """Return the values of the policy's actions as the penalty compares them, (..., batch, n): unchanged."""
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


def _bounded_exp(logarithm: Array) -> Array:
    return jnp.clip(jnp.exp(logarithm), 0.0, 1e6)
