"""CQL: conservative Q-learning over SAC (Kumar, Zhou, Tucker and Levine 2020, arXiv 2006.04779)."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from moorl_jax.agents.common import LOG_STD_BOUNDS, SquashedGaussian, normalized, squashed_sample
from moorl_jax.config import Count, NotNegative, Positive, Share, Steps, Widths, static
from moorl_jax.nets import MLP, Learner, Network, init_critics, init_mlp, member_gradients, mlp, polyak, q_value
from moorl_jax.phases import Online
from moorl_jax.replay import Mixed
from moorl_jax.types import Array, Draws, Metrics, Params, Transitions

Gaussian = tuple[Array, Array]
"""Mean and log std before squashing, (..., action size) each."""


class CQLState(struct.PyTreeNode):
    """Policy, an ensemble of critics with their targets, and the two multipliers, as logarithms."""

    actor: Learner  #: {net: MLP to mean and raw log std, log_std_multiplier: (), log_std_offset: ()}
    critic: Learner
    log_alpha: Learner
    log_alpha_prime: Learner
    target_critic: Params


class CriticInputs(struct.PyTreeNode):
    """What the critics' loss takes; actions are the data's, n uniform ones, n of the policy at s and n at s'."""

    batch: Transitions
    target: Array  #: (batch,)
    actions: Array  #: (batch, 1 + 3 n, A)
    log_densities: Array  #: (batch, 3 n), of all but the data's


class CQL(SquashedGaussian[CQLState]):
    """CQL(H) with the defaults of young-geng/JaxCQL.

    All losses use the parameters from before the update. Unlike JaxCQL, which draws new noise for each loss, we
    deliberately share one draw among all losses: one forward pass instead of four.
    """

    source = "young-geng/JaxCQL conservative_sac.py, conservative_sac_main.py"

    hidden: Widths = static((256, 256))
    critic_hidden: Widths | None = static(None)  #: the critics' hidden widths, if different from the actor's
    members: Count = static(2)  #: critics in the ensemble
    target_members: Count = static(2)  #: critics in each target; if fewer than `members`, drawn with replacement
    actor_layer_norm: bool = static(False)  #: normalize hidden units before their activation
    critic_layer_norm: bool = static(False)
    actions_per_state: Count = static(10)  #: n: the penalty uses n random, n current and n next actions
    orthogonal: bool = static(False)  #: initialize orthogonally instead of as LeCun normal
    importance_sampling: bool = static(True)
    lagrange: bool = static(False)  #: tune the penalty's weight to keep its value near `target_gap`
    max_target_backup: bool = static(False)  #: back up the best of `actions_per_state` next actions
    backup_entropy: bool = static(False)
    cloning_updates: Steps = static(0)  #: number of initial updates in which the policy is trained by behavior cloning
    blocks: Count | None = static(None)  #: blocks the batch is split into for gradients; None: 16 on a CPU, 1 elsewhere
    actor_learning_rate: NotNegative = 3e-4  #: also the temperature's
    critic_learning_rate: NotNegative = 3e-4  #: also the Lagrange multiplier's
    discount: Share = 0.99
    tau: Share = 0.005
    penalty_weight: NotNegative = 5.0
    penalty_temperature: Positive = 1.0
    gap_min: float | None = None  #: bounds of the penalty at each state; None: no bound
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
        action_size, dtype = example.actions.shape[-1], inputs.dtype
        net = partial(MLP, kernel_init=hidden_init, final_init=final_init, activation=self.activation)
        policy = net((*self.hidden, 2 * action_size), layer_norm=normalized(self.actor_layer_norm, "before"))
        value = net((*(self.critic_hidden or self.hidden), 1), layer_norm=normalized(self.critic_layer_norm, "before"))
        actor = {
            "net": init_mlp(actor_key, policy, example.observations),
            "log_std_multiplier": jnp.ones((), dtype),
            "log_std_offset": -jnp.ones((), dtype),
        }
        critic = init_critics(critic_key, value, inputs, self.members)
        return CQLState(
            actor=Learner.create(actor),
            critic=Learner.create(critic),
            log_alpha=Learner.create(jnp.zeros((), dtype)),
            log_alpha_prime=Learner.create(jnp.ones((), dtype)),
            target_critic=critic,
        )

    def draw(self, key: Array, batch: Transitions) -> Draws:
        """Draw normal noise for the sampled actions, uniform actions in [-1, 1], and the critics of the target."""
        size, action_size = batch.actions.shape
        several = (size, self.actions_per_state, action_size)
        keys = jax.random.split(key, 5)
        dtype = batch.actions.dtype
        target_shape = several if self.max_target_backup else (size, action_size)
        subset: Draws = {}
        if self.target_members < self.members:
            subset_key = jax.random.fold_in(key, 5)
            subset = {"subset": jax.random.randint(subset_key, (self.target_members,), 0, self.members)}
        return subset | {
            "policy": jax.random.normal(keys[0], (size, action_size), dtype),
            "target": jax.random.normal(keys[1], target_shape, dtype),
            "random_actions": jax.random.uniform(keys[2], several, dtype, -1.0, 1.0),
            "current": jax.random.normal(keys[3], several, dtype),
            "next": jax.random.normal(keys[4], several, dtype),
        }

    def update(self, state: CQLState, batch: Transitions, draws: Draws) -> tuple[CQLState, Metrics]:
        """Step policy, critics and multipliers, each on its own loss, then move the targets."""
        policy = {"actor": state.actor.params, "log_alpha": state.log_alpha.params}
        policy_loss = partial(self.policy_loss, state=state, batch=batch, draws=draws)
        (_, (here, ahead, metrics)), gradients = jax.value_and_grad(policy_loss, has_aux=True)(policy)

        # The policy is held fixed below.
        target, next_q = self.target(state, ahead, batch, draws, metrics["alpha"])
        inputs = self.critic_inputs(here, ahead, target, batch, draws)
        alpha_prime, weight = jnp.zeros(()), jnp.asarray(self.penalty_weight)
        if self.lagrange:
            alpha_prime = _bounded_exp(state.log_alpha_prime.params)
            weight = weight * alpha_prime
        critic_gradients, each = self.critic_gradients(state.critic.params, inputs, weight)
        critic = state.critic.descend(critic_gradients, self.critic_learning_rate)

        log_alpha_prime, alpha_prime_loss = state.log_alpha_prime, jnp.zeros(())
        if self.lagrange:
            multiplier_loss = partial(self.multiplier_loss, gap=each["gap"])
            alpha_prime_loss, multiplier_gradient = jax.value_and_grad(multiplier_loss)(log_alpha_prime.params)
            log_alpha_prime = log_alpha_prime.descend(multiplier_gradient, self.critic_learning_rate)

        metrics |= {"target_q": next_q.mean(), "alpha_prime": alpha_prime, "alpha_prime_loss": alpha_prime_loss}
        metrics |= {f"{name}{i + 1}": values[i] for name, values in each.items() for i in range(self.members)}
        state = CQLState(
            actor=state.actor.descend(gradients["actor"], self.actor_learning_rate),
            critic=critic,
            log_alpha=state.log_alpha.descend(gradients["log_alpha"], self.actor_learning_rate),
            log_alpha_prime=log_alpha_prime,
            target_critic=polyak(state.target_critic, critic.params, self.tau),
        )
        return state, metrics

    def policy_loss(
        self, policy: dict[str, Params], state: CQLState, batch: Transitions, draws: Draws
    ) -> tuple[Array, tuple[Gaussian, Gaussian, Metrics]]:
        """Return the sum of SAC's policy and temperature losses, the Gaussians at s and at s', and the metrics.

        A single forward pass of the policy provides all samples.
        """
        both = jnp.stack([batch.observations, batch.next_observations])
        (mean, next_mean), (log_std, next_log_std) = self.gaussian(policy["actor"], both)
        actions, log_pi = squashed_sample(mean, log_std, draws["policy"])
        target_entropy = -actions.shape[-1] if self.target_entropy is None else self.target_entropy
        alpha_loss = -policy["log_alpha"] * jax.lax.stop_gradient(log_pi + target_entropy).mean()
        alpha = self.alpha_multiplier * jnp.exp(jax.lax.stop_gradient(policy["log_alpha"]))
        q_pi = self.values(state.critic.params, batch.observations, actions).min(axis=0)
        chex.assert_equal_shape([log_pi, q_pi, batch.rewards])
        loss = jnp.mean(alpha * log_pi - q_pi)
        if self.cloning_updates:
            cloning = state.actor.moments.count < self.cloning_updates
            data_log_pi = _log_density(mean, log_std, batch.actions)
            loss = jnp.where(cloning, jnp.mean(alpha * log_pi - data_log_pi), loss)
        metrics = {"policy_loss": loss, "log_pi": log_pi.mean(), "alpha": alpha, "alpha_loss": alpha_loss}
        return loss + alpha_loss, ((mean, log_std), (next_mean, next_log_std), metrics)

    def target(
        self, state: CQLState, ahead: Gaussian, batch: Transitions, draws: Draws, alpha: Array
    ) -> tuple[Array, Array]:
        """Return the critics' targets, (batch,), and the next value in them.

        y = r + (1 - d) discount (min_i Qbar_i(s', a') - alpha log pi(a'|s')), the last term only with `backup_entropy`;
        a' ~ pi, or the best of several samples with `max_target_backup`.
        """
        target_critic = state.target_critic
        if self.target_members < self.members:
            target_critic = self.subset(target_critic, draws["subset"])
        if self.max_target_backup:
            actions, log_pi = squashed_sample(*_of_several(ahead), draws["target"])
            candidates = self.values(target_critic, batch.next_observations, actions).min(axis=0)
            best = candidates.argmax(axis=-1)[:, None]
            next_q = jnp.take_along_axis(candidates, best, axis=-1)[:, 0]
            log_pi = jnp.take_along_axis(log_pi, best, axis=-1)[:, 0]
        else:
            actions, log_pi = squashed_sample(*ahead, draws["target"])
            next_q = self.values(target_critic, batch.next_observations, actions).min(axis=0)
        if self.backup_entropy:
            next_q = next_q - alpha * log_pi
        return batch.rewards + (1.0 - batch.terminals) * self.discount * next_q, next_q

    def critic_inputs(
        self, here: Gaussian, ahead: Gaussian, target: Array, batch: Transitions, draws: Draws
    ) -> CriticInputs:
        """Return what the critics learn from, given the policy at s and at s'."""
        current, current_log_pi = squashed_sample(*_of_several(here), draws["current"])
        following, following_log_pi = squashed_sample(*_of_several(ahead), draws["next"])
        random_log_pi = jnp.full_like(current_log_pi, batch.actions.shape[-1] * jnp.log(0.5))
        return CriticInputs(
            batch=batch,
            target=target,
            actions=jnp.concatenate([batch.actions[:, None], draws["random_actions"], current, following], axis=1),
            log_densities=jnp.concatenate([random_log_pi, current_log_pi, following_log_pi], axis=1),
        )

    def critic_gradients(self, critic: Params, inputs: CriticInputs, weight: Array) -> tuple[Params, Metrics]:
        """Return the gradients of the members' losses, and the metrics, (members,) each."""

        def loss(member: Params, inputs: CriticInputs) -> tuple[Array, Metrics]:
            q = q_value(member, inputs.batch.observations, inputs.actions, self.activation)
            return self.critic_loss(q, inputs, weight)

        return member_gradients(loss, critic, inputs, self.blocks)

    def critic_loss(self, q: Array, inputs: CriticInputs, weight: Array) -> tuple[Array, Metrics]:
        """Return the loss of one critic, (), or of several, (members,), given the values of all actions.

        It is the mean of (Q(s, a) - y)^2 plus `weight` times the penalty, which pushes Q down at actions outside the
        data and up at the data's actions (eq. 4 with R(mu) of app. F).
        """
        q, sampled = q[..., 0], q[..., 1:]
        chex.assert_equal_shape_suffix([q, inputs.target], 1)
        bellman_loss = jnp.mean((q - inputs.target) ** 2, axis=-1)
        of_random, of_current, of_next = jnp.split(sampled, 3, axis=-1)
        gap, metrics = self.gap(q, of_random, of_current, of_next, inputs)
        penalty = weight * (gap - self.target_gap if self.lagrange else gap)
        loss = bellman_loss + penalty
        losses = {"bellman_loss": bellman_loss, "critic_loss": loss, "gap": gap, "penalty": penalty}
        return loss, losses | metrics

    def gap(
        self, q: Array, of_random: Array, of_current: Array, of_next: Array, inputs: CriticInputs
    ) -> tuple[Array, Metrics]:
        """Return the mean of log sum_a exp Q(s, a) - Q(s, data), over random actions and those by the policy.

        With `importance_sampling` each exp Q is divided by the density of its action; without it, the data's action is
        added to the sum.
        """
        sampled = jnp.concatenate([of_random, of_current, of_next], axis=-1)
        with_data = jnp.concatenate([sampled, q[..., None]], axis=-1)
        compared = sampled - inputs.log_densities if self.importance_sampling else with_data
        soft_max = self.penalty_temperature * jax.nn.logsumexp(compared / self.penalty_temperature, axis=-1)
        gap = jnp.clip(soft_max - q, self.gap_min, self.gap_max).mean(axis=-1)
        over_states = (-2, -1)
        return gap, {
            "q": q.mean(axis=-1),
            "q_random": of_random.mean(axis=over_states),
            "q_current": of_current.mean(axis=over_states),
            "q_next": of_next.mean(axis=over_states),
            "q_spread": jnp.std(with_data, axis=-1).mean(axis=-1),
        }

    def multiplier_loss(self, log_alpha_prime: Array, gap: Array) -> Array:
        """Return -mean alpha' weight (gap - target gap), which raises alpha' while the critics' gaps are above it."""
        return -jnp.mean(_bounded_exp(log_alpha_prime) * self.penalty_weight * (gap - self.target_gap))

    def temperature(self, state: CQLState) -> Array:
        """Return the weight of the policy's entropy, ()."""
        return self.alpha_multiplier * jnp.exp(state.log_alpha.params)

    def online(self, env_steps: int) -> Online:
        """Return the same losses online, with a fixed share of each batch from the dataset."""
        return Online(self, env_steps, Mixed(self.offline_share))

    def network(self, params: Params) -> Network:
        """Return the squashed mean's."""
        return super().network(params["net"])

    def gaussian(self, actor: Params, observations: Array) -> Gaussian:
        """Return mean and log std before squashing; the log std is a learned affine map of the network's output."""
        mean, raw = jnp.split(mlp(actor["net"], observations, activation=self.activation), 2, axis=-1)
        log_std = actor["log_std_multiplier"] * raw + actor["log_std_offset"]
        return mean, jnp.clip(log_std, *LOG_STD_BOUNDS)


def _of_several(policy: Gaussian) -> Gaussian:
    """Add an axis, so that several actions can be sampled at each state."""
    mean, log_std = policy
    return mean[:, None], log_std[:, None]


def _log_density(mean: Array, log_std: Array, actions: Array) -> Array:
    """Return the log-density of squashed actions, (...,); those at the bounds are clipped to keep arctanh finite."""
    inside = jnp.clip(actions, -1.0 + 1e-6, 1.0 - 1e-6)
    noise = (jnp.arctanh(inside) - mean) / jnp.exp(log_std)
    return squashed_sample(mean, log_std, noise)[1]


def _bounded_exp(logarithm: Array) -> Array:
    return jnp.clip(jnp.exp(logarithm), 0.0, 1e6)
