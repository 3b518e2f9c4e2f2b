"""Networks: flax modules to initialize, pure functions of their parameters to evaluate, and how they learn."""

from moorl_jax.nets.learner import Learner, polyak
from moorl_jax.nets.mlp import MLP, critics, init_critics, init_mlp, matmul_precision, mlp, symmetric_uniform

__all__ = [
    "MLP",
    "Learner",
    "critics",
    "init_critics",
    "init_mlp",
    "matmul_precision",
    "mlp",
    "polyak",
    "symmetric_uniform",
]
