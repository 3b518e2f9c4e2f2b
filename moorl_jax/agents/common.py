"""What several agents share to the letter: squashed Gaussian, dropout, gradients summed over blocks of a batch."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from moorl_jax.agents.contract import Agent
from moorl_jax.nets import critics
from moorl_jax.types import Array, Metrics, Params

LOG_STD_BOUNDS = (-20.0, 2.0)


class SquashedGaussian(Agent):
    """An agent whose policy is a Gaussian squashed into the action range by tanh, with an ensemble of critics.

    Actor and critics are functions of what it sees: the observations themselves, or features of images (`pixels`).
    """

    @abstractmethod
    def gaussian(self, actor: Params, seen: Array) -> tuple[Array, Array]:
        """Return mean and log std before squashing, (..., action size) each."""

    def see(self, critic: Params, observations: Array, shifts: Array | None) -> Array:  # noqa: ARG002
        """Return what is seen of observations; of images, shifted so, what the critics' encoder makes of them."""
        return observations

    def values(self, critic: Params, seen: Array, actions: Array) -> Array:
        """Return all critics' Q(s, a), (members, ...), of one action for each state, or of several on an axis more."""
        if actions.ndim > seen.ndim:
            seen = jnp.broadcast_to(seen[:, None], (*actions.shape[:-1], seen.shape[-1]))
        return critics(critic, seen, actions)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the squashed mean, tanh(mean(s))."""
        return jnp.tanh(self.gaussian(params, observations)[0])

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Sample pi(.|s)."""
        mean, log_std = self.gaussian(params, observations)
        return squashed_sample(mean, log_std, jax.random.normal(key, mean.shape, mean.dtype))[0]


def squashed_sample(mean: Array, log_std: Array, noise: Array) -> tuple[Array, Array]:
    """Return tanh(mean + std noise), (..., A), and its log-density, (...,).

    The change of variables is written as 2 (log 2 - x - softplus(-2x)), which does not lose precision at the bounds.
    """
    x = mean + jnp.exp(log_std) * noise
    gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    slope = 2.0 * (jnp.log(2.0) - x - jax.nn.softplus(-2.0 * x))
    return jnp.tanh(x), jnp.sum(gaussian - slope, axis=-1)


def kept_units(uniform: Array, hidden: Sequence[int], rate: float) -> tuple[Array, ...]:
    """Return each hidden layer's factors under dropout: 0 where `uniform`, (layers, batch, width), lies below the rate.

    What is kept is scaled by 1 / (1 - rate).
    """
    return tuple(
        jnp.where(layer[:, :width] >= rate, 1.0 / (1.0 - rate), 0.0)
        for layer, width in zip(uniform, hidden, strict=True)
    )


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
