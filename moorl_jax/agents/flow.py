"""Policies as flows: a velocity field that carries noise to actions (flow matching, Lipman et al. 2022, 2210.02747)."""

import chex
import jax
import jax.numpy as jnp

from moorl_jax.nets import Activation, mlp
from moorl_jax.types import Array, Draws, Params


def flow_draws(key: Array, actions: Array) -> Draws:
    """Draw what `flow_loss` needs: `start`, standard normal like the actions, and `time`, (batch, 1) in [0, 1)."""
    start_key, time_key = jax.random.split(key)
    return {
        "start": jax.random.normal(start_key, actions.shape, actions.dtype),
        "time": jax.random.uniform(time_key, (len(actions), 1), actions.dtype),
    }


def flow_loss(field: Params, observations: Array, actions: Array, draws: Draws, activation: Activation) -> Array:
    """Return mean (v(s, x_t, t) - (a - x_0))^2 over batch and action dimensions, x_t = (1 - t) x_0 + t a."""
    start, time = draws["start"], draws["time"]
    between = (1.0 - time) * start + time * actions
    speed = velocity(field, observations, between, time, activation)
    chex.assert_equal_shape([speed, actions, start])
    return jnp.mean((speed - (actions - start)) ** 2)


def carried(field: Params, observations: Array, noise: Array, steps: int, activation: Activation) -> Array:
    """Return where `steps` of Euler's method take the noise, (..., A), then clipped to the action range."""

    def step(x: Array, time: Array) -> tuple[Array, None]:
        times = jnp.broadcast_to(time, (*x.shape[:-1], 1))
        return x + velocity(field, observations, x, times, activation) / steps, None

    end, _ = jax.lax.scan(step, noise, jnp.arange(steps, dtype=noise.dtype) / steps)
    return jnp.clip(end, -1.0, 1.0)


def velocity(field: Params, observations: Array, actions: Array, times: Array, activation: Activation) -> Array:
    """Evaluate v(s, x, t), (..., A), at times of (..., 1)."""
    return mlp(field, jnp.concatenate([observations, actions, times], axis=-1), activation=activation)
