"""Cal-QL: CQL whose values are never pushed below the data's returns (Nakamoto et al. 2023, arXiv 2303.05479)."""

import jax.numpy as jnp

from moorl_jax.agents.cql import CQL, CriticInputs
from moorl_jax.config import NotNegative, static
from moorl_jax.types import Array, Metrics, ReturnsToGo


class CalQL(CQL):
    """Cal-QL with the defaults that nakamotoo/Cal-QL uses on all of its tasks.

    Calibration stays on online: the returns of an online episode are computed when it ends, and its transitions join
    the buffer then.
    """

    source = "nakamotoo/Cal-QL scripts/*.sh, what they share; no locomotion: weight as CQL's"

    orthogonal: bool = static(True)
    max_target_backup: bool = static(True)
    actor_learning_rate: NotNegative = 1e-4
    #: for sparse rewards: the reward of a step without success, after scaling and shifting
    failure_reward: float | None = None
    endless: bool = static(False)  #: whether returns-to-go assume that an episode's last reward repeats forever

    def gap(
        self, q: Array, of_random: Array, of_current: Array, of_next: Array, inputs: CriticInputs
    ) -> tuple[Array, Metrics]:
        """Return CQL's gap, the values of the policy's actions bounded from below by the return-to-go (eq. 5.1).

        Random actions and the data's own are not bounded. If the return is the larger, no gradient flows.
        """
        bound = jnp.asarray(inputs.batch.mc_returns)[:, None]
        rates = {
            "bound_rate_current": jnp.mean(of_current < bound, axis=(-2, -1)),
            "bound_rate_next": jnp.mean(of_next < bound, axis=(-2, -1)),
        }
        bounded = (jnp.maximum(of_current, bound), jnp.maximum(of_next, bound))
        gap, metrics = super().gap(q, of_random, *bounded, inputs)
        return gap, metrics | rates

    def returns_to_go(self) -> ReturnsToGo:
        """Ask for the discounted return to go of every transition."""
        return ReturnsToGo(self.discount, self.failure_reward, self.endless)
