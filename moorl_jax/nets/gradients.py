"""Gradients of losses that are means over a batch: of one set of parameters, or of each member of an ensemble.

An accelerator takes all at once. A CPU takes one member after the other, and a batch in blocks: the activations that
the backward pass needs then stay in the cache. That makes RLPD, with its ten critics, a third faster, and CQL a fifth.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from moorl_jax.types import Array, Metrics, Params

Loss = Callable[[Params, Any], tuple[Array, Metrics]]
"""From parameters and a batch (all leaves with a leading batch axis) to batch means: the loss and its metrics."""


def batch_gradients(loss: Loss, params: Params, batch: Any, blocks: int | None = 1) -> tuple[Params, Metrics]:
    """Return a loss's gradient and its metrics, up to rounding the same for any number of blocks.

    The batch is split into `blocks` blocks of equal size; None: gcd(16, batch size) on a CPU, 1 elsewhere.
    """

    def of_block(block: Any) -> tuple[Params, Metrics]:
        (_, metrics), gradients = jax.value_and_grad(loss, has_aux=True)(params, block)
        return gradients, metrics

    if blocks is None:
        size = len(jax.tree.leaves(batch)[0])
        blocks = math.gcd(16, size) if jax.default_backend() == "cpu" else 1
    if blocks == 1:
        return of_block(batch)

    def add(total: Any, block: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, of_block(block)), None

    parts = jax.tree.map(lambda leaf: leaf.reshape(blocks, -1, *leaf.shape[1:]), batch)
    shapes = jax.eval_shape(of_block, jax.tree.map(lambda leaf: leaf[0], parts))
    total, _ = jax.lax.scan(add, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), parts)
    gradients, metrics = jax.tree.map(lambda leaf: leaf / blocks, total)
    return gradients, metrics


def member_gradients(loss: Loss, ensemble: Params, batch: Any, blocks: int | None = 1) -> tuple[Params, Metrics]:
    """Return the gradient and the metrics of each member's loss, every leaf with a leading axis of members."""

    def of_member(member: Params) -> tuple[Params, Metrics]:
        return batch_gradients(loss, member, batch, blocks)

    return jax.lax.map(of_member, ensemble) if jax.default_backend() == "cpu" else jax.vmap(of_member)(ensemble)
