"""Cal-QL: CQL whose values are never pushed below the data's returns (Nakamoto et al. 2023, arXiv 2303.05479)."""

import jax.numpy as jnp

from moorl_jax.agents.cql import CQL
from moorl_jax.config import NotNegative, static
from moorl_jax.types import Array, Metrics, ReturnsToGo, Transitions


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

    def calibrate(self, q_current: Array, q_ahead: Array, batch: Transitions) -> tuple[Array, Array, Metrics]:
        """Bound the values of the policy's actions at s and at s' from below by the return to go (eq. 5.1).

        Random actions and the data's own are not bounded. Where the return is the larger no gradient flows.
        """
        bound = jnp.asarray(batch.mc_returns)[:, None]
        metrics = {
            "bound_rate{}_current": jnp.mean(q_current < bound, axis=(-2, -1)),
            "bound_rate{}_next": jnp.mean(q_ahead < bound, axis=(-2, -1)),
        }
        return jnp.maximum(q_current, bound), jnp.maximum(q_ahead, bound), metrics

    def returns_to_go(self) -> ReturnsToGo:
        """Ask for the discounted return to go of every transition."""
        return ReturnsToGo(self.discount, self.failure_reward, self.endless)
