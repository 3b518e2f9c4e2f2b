"""Networks: flax modules to initialize, pure functions of their parameters to evaluate."""

from moorl_jax.nets.mlp import MLP, Initializer, critics, init_critics, init_mlp, mlp

__all__ = ["MLP", "Initializer", "critics", "init_critics", "init_mlp", "mlp"]
