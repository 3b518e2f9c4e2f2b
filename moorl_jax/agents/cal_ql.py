"""Cal-QL: CQL whose values are never pushed below the data's returns (Nakamoto et al. 2023, arXiv 2303.05479)."""

import jax.numpy as jnp

from moorl_jax.agents.cql import CQL, CriticInputs
from moorl_jax.config import NotNegative, static
from moorl_jax.types import Array, Metrics, ReturnsToGo


class CalQL(CQL):
    """Cal-QL with what nakamotoo/Cal-QL sets for all of its tasks.

    Calibration stays on online: the returns of an online episode are computed when it ends, and its transitions join
    the buffer then.
    """

    source = "nakamotoo/Cal-QL scripts/*.sh, what they share; no locomotion: weight as CQL's"

    orthogonal: bool = static(True)
    max_target_backup: bool = static(True)
    actor_learning_rate: NotNegative = 1e-4
    failure_reward: float | None = None  #: of a step without success, as prepared, where rewards are sparse
    endless: bool = static(False)  #: whether returns to go take an episode's last reward to go on for ever

    def gap(
        self, q: Array, of_random: Array, of_current: Array, of_next: Array, inputs: CriticInputs
    ) -> tuple[Array, Metrics]:
        """Return CQL's, the values of the policy's actions bounded from below by the return to go (eq. 5.1).

        Random actions and the data's own are not bounded. Where the return is the larger no gradient flows.
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
