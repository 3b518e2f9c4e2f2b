"""moorl_jax: a JAX benchmark suite for offline, hybrid and offline-to-online reinforcement learning."""

from moorl_jax.agents import Agent, static
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.engine.training import Run, train
from moorl_jax.nets import Learner
from moorl_jax.types import Transitions

__all__ = ["Agent", "Learner", "Run", "Transitions", "static", "train", "use_all_cores"]
