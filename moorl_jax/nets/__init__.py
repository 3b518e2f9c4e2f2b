"""Networks: flax modules to initialize, pure functions of their parameters to evaluate, and how they learn."""

from moorl_jax.nets.encoder import Encoder, Trunk, drawn_shifts, encode, random_shift, trunk
from moorl_jax.nets.gradients import batch_gradients, member_gradients
from moorl_jax.nets.learner import Learner, polyak
from moorl_jax.nets.mlp import (
    LAYER_NORMS,
    MLP,
    Activation,
    QFunction,
    critics,
    init_critics,
    init_mlp,
    matmul_precision,
    mlp,
    q_value,
    symmetric_uniform,
)
from moorl_jax.nets.network import Network

__all__ = [
    "LAYER_NORMS",
    "MLP",
    "Activation",
    "Encoder",
    "Learner",
    "Network",
    "QFunction",
    "Trunk",
    "batch_gradients",
    "critics",
    "drawn_shifts",
    "encode",
    "init_critics",
    "init_mlp",
    "matmul_precision",
    "member_gradients",
    "mlp",
    "polyak",
    "q_value",
    "random_shift",
    "symmetric_uniform",
    "trunk",
]
