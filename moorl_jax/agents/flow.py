"""Policies as flows: a velocity field that carries noise to actions (flow matching, Lipman et al. 2022, 2210.02747)."""

from typing import Literal

import chex
import jax
import jax.numpy as jnp

from moorl_jax.nets import Activation, critics, mlp
from moorl_jax.types import Array, Draws, Params

Aggregate = Literal["mean", "min"]  #: of several critics' values


def flow_draws(key: Array, actions: Array) -> Draws:
    """Draw what `flow_loss` needs: `start`, standard normal like the actions, and `time`, (batch, 1) in [0, 1)."""
    start_key, time_key = jax.random.split(key)
    return {
        "start": jax.random.normal(start_key, actions.shape, actions.dtype),
        "time": jax.random.uniform(time_key, (len(actions), 1), actions.dtype),
    }


def flow_loss(
    field: Params,
    observations: Array,
    actions: Array,
    draws: Draws,
    activation: Activation,
    weights: Array | float = 1.0,
) -> Array:
    """Return mean w (v(s, x_t, t) - (a - x_0))^2 over batch and action dimensions, x_t = (1 - t) x_0 + t a."""
    start, time = draws["start"], draws["time"]
    between = (1.0 - time) * start + time * actions
    speed = velocity(field, observations, between, time, activation)
    chex.assert_equal_shape([speed, actions, start])
    return jnp.mean(weights * (speed - (actions - start)) ** 2)


def carried(field: Params, observations: Array, noise: Array, steps: int, activation: Activation) -> Array:
    """Integrate the flow from the noise, (..., A), with `steps` Euler steps and clip the result to the action range."""

    def step(x: Array, time: Array) -> tuple[Array, None]:
        times = jnp.broadcast_to(time, (*x.shape[:-1], 1))
        return x + velocity(field, observations, x, times, activation) / steps, None

    end, _ = jax.lax.scan(step, noise, jnp.arange(steps, dtype=noise.dtype) / steps)
    return jnp.clip(end, -1.0, 1.0)


def velocity(field: Params, observations: Array, actions: Array, times: Array, activation: Activation) -> Array:
    """Evaluate v(s, x, t), (..., A), at times of (..., 1)."""
    return mlp(field, jnp.concatenate([observations, actions, times], axis=-1), activation=activation)


def best_of(
    field: Params,
    critic: Params,
    observations: Array,
    noise: Array,
    steps: int,
    activation: Activation,
    aggregate: Aggregate,
) -> Array:
    """Return of the actions that the flow makes of the noise, (..., samples, A), those of the largest value."""
    each = jnp.broadcast_to(observations[..., None, :], (*noise.shape[:-1], observations.shape[-1]))
    actions = carried(field, each, noise, steps, activation)
    q = aggregated(critics(critic, each, actions, activation), aggregate)
    best = q.argmax(axis=-1)[..., None, None]
    return jnp.take_along_axis(actions, best, axis=-2)[..., 0, :]


def one_step(actor: Params, observations: Array, noise: Array, activation: Activation) -> Array:
    """Return mu(s, z), (..., A), a policy's single step from noise to action."""
    return mlp(actor, jnp.concatenate([observations, noise], axis=-1), activation=activation)


def distilled(
    actor: Params,
    field: Params,
    critic: Params,
    observations: Array,
    noise: Array,
    steps: int,
    activation: Activation,
) -> tuple[Array, Array]:
    """Return mean (mu(s, z) - flow(s, z))^2, and Q(s, mu(s, z)), (batch,), the mean of the critics.

    mu is clipped to the action range where its value is taken, and nowhere else.
    """
    taught = carried(field, observations, noise, steps, activation)
    proposed = one_step(actor, observations, noise, activation)
    chex.assert_equal_shape([proposed, taught])
    q = critics(critic, observations, jnp.clip(proposed, -1.0, 1.0), activation).mean(axis=0)
    return jnp.mean((proposed - taught) ** 2), q


def aggregated(q: Array, how: Aggregate) -> Array:
    """Return the mean or the smallest of the critics' values, (members, ...)."""
    return q.mean(axis=0) if how == "mean" else q.min(axis=0)
