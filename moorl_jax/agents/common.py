"""Code shared by several agents: initializers, squashed Gaussian policies, target policy smoothing, and dropout."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from moorl_jax.agents.contract import Agent, S
from moorl_jax.config import static
from moorl_jax.nets import Activation, Network, critics, mlp
from moorl_jax.types import Array, Params

LOG_STD_BOUNDS = (-20.0, 2.0)

#: Initializers in the code of FQL's authors and of OGBench: GLOROT for all kernels, SMALL_GLOROT for the last kernel of
#: a Gaussian or deterministic actor.
GLOROT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
SMALL_GLOROT = nn.initializers.variance_scaling(0.01, "fan_avg", "uniform")


def normalized(layer_norm: bool, where: str = "after_flax") -> str | None:
    """Return `where` (by default, after the activations with Flax's epsilon) if `layer_norm`, else None."""
    return where if layer_norm else None


class SquashedGaussian(Agent[S]):
    """An agent whose policy is a Gaussian squashed into the action range by tanh, with an ensemble of critics."""

    activation: Activation = static("relu")

    def gaussian(self, actor: Params, observations: Array) -> tuple[Array, Array]:
        """Return mean and log std before squashing, (..., action size) each: the halves of the network's output."""
        mean, log_std = jnp.split(mlp(actor, observations, activation=self.activation), 2, axis=-1)
        return mean, jnp.clip(log_std, *LOG_STD_BOUNDS)

    def values(self, critic: Params, observations: Array, actions: Array) -> Array:
        """Return all critics' Q(s, a), (members, ...), for one action per state, or for several on an extra axis."""
        return critics(critic, observations, actions, self.activation)

    def subset(self, critic: Params, members: Array) -> Params:
        """Return these members of the ensemble."""
        return jax.tree.map(lambda leaf: leaf[members], critic)

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the squashed mean, tanh(mean(s))."""
        return jnp.tanh(self.gaussian(params, observations)[0])

    def network(self, params: Params) -> Network:
        """Return the network of the squashed mean."""
        return super().network(params)._replace(activation=self.activation).first_half()

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


def smoothed(actions: Array, noise: Array, noise_clip: float, max_action: float = 1.0) -> Array:
    """Return actions with clipped noise, clipped to the action range (target policy smoothing, TD3, sec. 5.3)."""
    return jnp.clip(actions + jnp.clip(noise, -noise_clip, noise_clip), -max_action, max_action)


def kept_units(uniform: Array, hidden: Sequence[int], rate: float) -> tuple[Array, ...]:
    """Return each hidden layer's factors under dropout: 0 where `uniform`, (layers, batch, width), lies below the rate.

    What is kept is scaled by 1 / (1 - rate).
    """
    return tuple(
        jnp.where(layer[:, :width] >= rate, 1.0 / (1.0 - rate), 0.0)
        for layer, width in zip(uniform, hidden, strict=True)
    )
