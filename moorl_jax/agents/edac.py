"""EDAC: SAC-N whose critics' action gradients are driven apart (An et al. 2021, arXiv 2110.01548, section 4)."""

import jax
import jax.numpy as jnp

from moorl_jax.agents.sac_n import SACN
from moorl_jax.config import NotNegative
from moorl_jax.errors import MoorlError
from moorl_jax.nets import q_value
from moorl_jax.phases import Phase
from moorl_jax.types import Array, Metrics, Params, Transitions


class EDAC(SACN):
    """EDAC with the defaults of CORL. It differs from SAC-N only in the critics' loss."""

    source = "corl-team/CORL algorithms/offline/edac.py, configs/offline/edac/"

    diversity_weight: NotNegative = 1.0  #: eta

    def critic_gradients(self, critic: Params, target: Array, batch: Transitions) -> tuple[Params, Metrics]:
        """Return the gradients of SAC-N's loss + eta times the similarity of the action gradients, and the metrics."""
        gradients, metrics = super().critic_gradients(critic, target, batch)
        similarity, apart = jax.value_and_grad(self.similarity)(critic, batch)
        gradients = jax.tree.map(lambda td, own: td + self.diversity_weight * own, gradients, apart)
        td_loss = metrics["critic_loss"]
        loss = td_loss + self.diversity_weight * similarity
        return gradients, metrics | {"critic_loss": loss, "td_loss": td_loss, "similarity": similarity}

    def similarity(self, critic: Params, batch: Transitions) -> Array:
        """Return mean 1 / (N - 1) sum_{i != j} <g_i, g_j>, g_i the direction of dQ_i/da at the data's (s, a)."""

        def total(actions: Array, member: Params) -> Array:
            return q_value(member, batch.observations, actions, self.activation).sum()

        slopes = jax.vmap(jax.grad(total), in_axes=(None, 0))(batch.actions, critic)  # (members, batch, A)
        squared = jnp.sum(slopes**2, axis=-1, keepdims=True)
        flat = squared == 0.0  # where all of a critic's units are off, the root's own slope would be infinite
        norms = jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, squared)))
        directions = slopes / (norms + 1e-10)
        # The products of all pairs, less those of each with itself.
        products = jnp.sum(directions.sum(axis=0) ** 2, axis=-1) - jnp.sum(directions**2, axis=(0, 2))
        return products.mean() / (self.members - 1)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return offline training alone."""
        if self.members < 2:
            raise MoorlError(f"EDAC compares critics with each other: members={self.members} is one too few")
        return super().phases(updates, env_steps)
