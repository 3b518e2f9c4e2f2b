"""Networks that learn: their parameters with Adam's moments, and the targets that follow them."""

import jax
import jax.numpy as jnp
import optax
from flax import struct

from moorl_jax.types import Array, Params

_ADAM = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)


class Learner(struct.PyTreeNode):
    """Parameters and the Adam moments that follow them."""

    params: Params
    moments: optax.ScaleByAdamState

    @classmethod
    def create(cls, params: Params) -> "Learner":
        """Start fresh moments for the parameters."""
        return cls(params, _ADAM.init(params))

    def renewed(self) -> "Learner":
        """Return the same parameters with the moments reset."""
        return Learner(self.params, jax.tree.map(jnp.zeros_like, self.moments))

    def descend(self, gradients: Params, learning_rate: float | Array) -> "Learner":
        """Take one Adam step; `moments.count` counts them."""
        steps, moments = _ADAM.update(gradients, self.moments)
        params = jax.tree.map(lambda param, step: param - learning_rate * step, self.params, steps)
        return Learner(params, moments)


def polyak(target: Params, online: Params, tau: float | Array) -> Params:
    """Move a target network towards the online one: target + tau (online - target)."""
    return jax.tree.map(lambda old, new: (1.0 - tau) * old + tau * new, target, online)
