"""DAgger: a network of our own learns to act as a teacher acts, on what either of them gets to see.

A student that is shown its teacher's episodes alone errs its way to where the teacher never was, and knows nothing
there. So it acts itself, and the teacher says what it would have done. Source: Ross, Gordon and Bagnell 2011, "A
Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning", algorithm 3.1; the teacher acts
in the first round, the student in all others.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.episodes import play
from moorl_jax.data.behaviour import Behaviour, Gaussian
from moorl_jax.data.navigator import Navigator
from moorl_jax.nets.mlp import MLP, init_mlp, mlp
from moorl_jax.types import Array, Params

BATCH_SIZE = 256
LEARNING_RATE = 1e-3  #: at the start of a round, whence it falls to 0 along a cosine


@dataclass(frozen=True)
class _Watched:
    """A network that acts, and notes what it is shown."""

    network: Gaussian
    seen: list[np.ndarray]

    def begin(self, rng: np.random.Generator) -> dict[str, Any]:
        return self.network.begin(rng)

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        self.seen.append(observation)
        return self.network.act(observation, rng)


def watch(environment: gymnasium.Env, policy: Behaviour, network: Gaussian, episodes: int, seed: int) -> np.ndarray:
    """Let a network act in its place in the policy, and return what it was shown, (N, size).

    That is what a navigator asks of its walker, or the environment's own observations.
    """
    watched = _Watched(network, [])
    if isinstance(policy, Navigator):
        policy.walker = watched
    else:
        policy = watched
    list(play(environment, policy, episodes, seed))
    return np.array(watched.seen)


def distill(
    teacher: Gaussian,
    show: Callable[[Gaussian, int], np.ndarray],
    *,
    hidden: tuple[int, ...],
    rounds: int,
    updates: int,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> Gaussian:
    """Return a student of ReLU layers, whose mean and log std both depend on the observation.

    `show(network, number)` lets a network act in the round of that number and returns what it was shown, (N, size).
    Each round the student goes on learning, for `updates` updates, from all that was shown so far; its inputs are
    normalized by what the teacher was shown.
    """
    inputs = show(teacher, 0)
    mean, std = inputs.mean(axis=0), inputs.std(axis=0)
    init_key, *keys = jax.random.split(jax.random.key(seed), 1 + rounds)
    _, actions = teacher.sizes
    layers = init_mlp(init_key, MLP((*hidden, 2 * int(actions))), jnp.zeros(len(mean)))
    for number, key in enumerate(keys, start=1):
        wanted = np.concatenate(np.broadcast_arrays(*teacher.distribution(inputs)), axis=1)
        shown = ((inputs - mean) / std).astype(np.float32)
        layers, error = _learn(layers, shown, wanted.astype(np.float32), key, updates=updates)
        student = _acting(layers, teacher.squash, mean, std)
        say(f"round {number} of {rounds}: {len(inputs):,} inputs, squared error {error:.3f}")
        if number < rounds:
            inputs = np.concatenate([inputs, show(student, number)])
    return student


def _acting(layers: Params, squash: bool, mean: np.ndarray, std: np.ndarray) -> Gaussian:
    """Return a student's layers as a policy."""
    weights = (layers[f"layer{number}"] for number in range(len(layers)))
    plain = tuple((np.asarray(layer["kernel"]), np.asarray(layer["bias"])) for layer in weights)
    return Gaussian(plain, "relu", squash, None, mean, std)


@functools.partial(jax.jit, static_argnames="updates")
def _learn(layers: Params, shown: Array, wanted: Array, key: Array, *, updates: int) -> tuple[Params, Array]:
    """Return the layers after so many updates, and the loss's mean over the last tenth of them."""
    adam = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, updates))

    def update(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], Array]:
        layers, moments = carry
        rows = jax.random.randint(key, (BATCH_SIZE,), 0, len(shown))
        loss, gradients = jax.value_and_grad(_loss)(layers, shown[rows], wanted[rows])
        changes, moments = adam.update(gradients, moments)
        return (optax.apply_updates(layers, changes), moments), loss

    (layers, _), losses = jax.lax.scan(update, (layers, adam.init(layers)), jax.random.split(key, updates))
    return layers, losses[-(updates // 10) :].mean()


def _loss(layers: Params, shown: Array, wanted: Array) -> Array:
    """Return the squared error of the means before squashing and of the log stds, summed over the actions.

    Not a divergence of the Gaussians, which divides by a variance: the ant's teacher has stds from 0.01 to 7, so that
    a few inputs would outweigh all others.
    """
    return jnp.sum((mlp(layers, shown) - wanted) ** 2, axis=-1).mean()
