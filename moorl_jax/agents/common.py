"""What several agents share to the letter: optimiser steps, moving targets, the squashed Gaussian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from moorl_jax.types import Array, Metrics, Params

_ADAM = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)


class Learner(struct.PyTreeNode):
    """Parameters and the Adam moments that follow them."""

    params: Params
    moments: optax.ScaleByAdamState

    @classmethod
    def create(cls, params: Params) -> "Learner":
        """Start fresh moments for the parameters."""
        return cls(params, _ADAM.init(params))

    def descend(self, gradients: Params, learning_rate: float | Array) -> "Learner":
        """Take one Adam step; `moments.count` counts them."""
        steps, moments = _ADAM.update(gradients, self.moments)
        params = jax.tree.map(lambda param, step: param - learning_rate * step, self.params, steps)
        return Learner(params, moments)


def polyak(target: Params, online: Params, tau: float | Array) -> Params:
    """Move a target network towards the online one: target + tau (online - target)."""
    return jax.tree.map(lambda old, new: (1.0 - tau) * old + tau * new, target, online)


def squashed_sample(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    """Return tanh(mean + std noise), (..., A), and its log-density, (...,).

    The change of variables is written as 2 (log 2 - x - softplus(-2x)), which does not lose precision at the bounds.
    """
    x = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    slope = 2.0 * (jnp.log(2.0) - x - jax.nn.softplus(-2.0 * x))
    return jnp.tanh(x), jnp.sum(gaussian - slope, axis=-1)


def blockwise_gradients(
    loss: Callable[[Params, Any], tuple[Array, Metrics]], params: Params, batch: Any, blocks: int
) -> tuple[Params, Metrics]:
    """Return the gradient and the metrics of a loss that is a mean over the batch, summed over `blocks` parts of it.

    Equal to the gradient over the whole batch up to rounding. A part's activations fit the cache where the batch's
    do not, which on a CPU makes CQL a fifth faster. Every leaf of `batch` has the batch's leading axis, which
    `blocks` must divide.
    """

    def one(carry: Any, block: Any) -> tuple[Any, None]:
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(params, block)
        return jax.tree.map(jnp.add, carry, (gradients, metrics)), None

    parts = jax.tree.map(lambda leaf: leaf.reshape(blocks, -1, *leaf.shape[1:]), batch)
    first = jax.tree.map(lambda leaf: leaf[0], parts)
    shapes = jax.eval_shape(lambda: jax.value_and_grad(loss, has_aux=True)(params, first))
    (_, metrics), gradients = shapes
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (gradients, metrics))
    total, _ = jax.lax.scan(one, zeros, parts)
    return jax.tree.map(lambda leaf: leaf / blocks, total)
