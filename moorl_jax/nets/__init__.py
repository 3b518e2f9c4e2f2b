"""Networks: flax modules to initialize, pure functions of their parameters to evaluate, and how they learn."""

from moorl_jax.nets.encoder import Encoder, Trunk, drawn_shifts, encode, random_shift, trunk
from moorl_jax.nets.learner import Learner, polyak
from moorl_jax.nets.mlp import (
    MLP,
    critics,
    init_critics,
    init_mlp,
    matmul_precision,
    mlp,
    q_of_several,
    q_value,
    symmetric_uniform,
)

__all__ = [
    "MLP",
    "Encoder",
    "Learner",
    "Trunk",
    "critics",
    "drawn_shifts",
    "encode",
    "init_critics",
    "init_mlp",
    "matmul_precision",
    "mlp",
    "polyak",
    "q_of_several",
    "q_value",
    "random_shift",
    "symmetric_uniform",
    "trunk",
]
