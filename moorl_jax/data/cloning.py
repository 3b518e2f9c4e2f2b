"""A Gaussian policy cloned from demonstrations, as the `cloned` recipes of Adroit need one.

D4RL does not say how its own was trained. Ours maximizes the likelihood of the demonstrations' actions.
"""

import functools
import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from moorl_jax.data import publishing
from moorl_jax.types import Array

HIDDEN = 64
UPDATES = 20_000
BATCH_SIZE = 64
LEARNING_RATE = 1e-3


def clone(observations: np.ndarray, actions: np.ndarray, path: Path, seed: int = 0) -> None:
    """Train two tanh layers and a fixed spread on (N, size) arrays; write them to `path` as `read_actor` reads them."""
    shift, scale = observations.mean(axis=0, dtype=np.float64), observations.std(axis=0, dtype=np.float64)
    data = ((observations - shift) / (scale + 1e-8)).astype(np.float32), actions.astype(np.float32)
    with (  # the same policy on every machine, whatever JAX's settings
        jax.default_device(jax.devices("cpu")[0]),
        jax.enable_x64(False),
        jax.threefry_partitionable(True),
    ):
        params = _train(*data, jax.random.key(seed, impl="threefry2x32"), updates=UPDATES)
    arrays: dict[str, Any] = {"in_shift": shift, "in_scale": scale, "log_std": np.asarray(params.pop("log_std"))}
    arrays |= {"out_shift": np.zeros(actions.shape[1]), "out_scale": np.ones(actions.shape[1])}
    for name, layer in params.items():
        arrays |= {f"{name}.weight": np.asarray(layer["kernel"]).T, f"{name}.bias": np.asarray(layer["bias"])}
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    content = memory.getbuffer()
    with publishing.published(path, len(content)) as partial, publishing.storing(path, len(content)):
        partial.write_bytes(content)


@functools.partial(jax.jit, static_argnames="updates")
def _train(
    observations: Array | np.ndarray, actions: Array | np.ndarray, key: Array, *, updates: int
) -> dict[str, Any]:
    sizes = [observations.shape[1], HIDDEN, HIDDEN, actions.shape[1]]
    init_key, key = jax.random.split(key)
    params: dict[str, Any] = {"log_std": jnp.zeros(actions.shape[1])}
    for number, (k, fan_in, fan_out) in enumerate(
        zip(jax.random.split(init_key, 3), sizes[:-1], sizes[1:], strict=True)
    ):
        kernel = jax.nn.initializers.lecun_normal()(k, (fan_in, fan_out))
        params[f"layer{number}"] = {"kernel": kernel, "bias": jnp.zeros(fan_out)}
    adam = optax.adam(LEARNING_RATE)

    def update(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], None]:
        params, moments = carry
        rows = jax.random.randint(key, (BATCH_SIZE,), 0, len(observations))
        gradients = jax.grad(_loss)(params, observations[rows], actions[rows])
        changes, moments = adam.update(gradients, moments)
        return (optax.apply_updates(params, changes), moments), None

    (params, _), _ = jax.lax.scan(update, (params, adam.init(params)), jax.random.split(key, updates))
    return params


def _loss(params: dict[str, Any], observations: Array, actions: Array) -> Array:
    """Return the mean negative log-likelihood of the actions, less a constant."""
    x = observations
    for number in range(3):
        layer = params[f"layer{number}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = jnp.tanh(x) if number < 2 else x
    return jnp.mean(0.5 * ((actions - x) / jnp.exp(params["log_std"])) ** 2 + params["log_std"])
