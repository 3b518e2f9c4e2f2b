"""moorl_jax: a JAX benchmark suite for offline, hybrid and offline-to-online reinforcement learning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moorl_jax.agents import Agent, static
    from moorl_jax.data import Dataset, Preparation
    from moorl_jax.engine.devices import use_all_cores
    from moorl_jax.engine.results import save
    from moorl_jax.engine.run import Run
    from moorl_jax.engine.trained import Trained, load
    from moorl_jax.engine.training import train
    from moorl_jax.nets import Learner
    from moorl_jax.tasks import Task
    from moorl_jax.types import Transitions

__all__ = [
    "Agent",
    "Dataset",
    "Learner",
    "Preparation",
    "Run",
    "Task",
    "Trained",
    "Transitions",
    "load",
    "save",
    "static",
    "train",
    "use_all_cores",
]

_HOMES = {
    "Agent": "agents",
    "Dataset": "data",
    "Learner": "nets",
    "Preparation": "data",
    "Run": "engine.run",
    "Task": "tasks",
    "Trained": "engine.trained",
    "Transitions": "types",
    "load": "engine.trained",
    "save": "engine.results",
    "static": "agents",
    "train": "engine.training",
    "use_all_cores": "engine.devices",
}


def __getattr__(name: str) -> Any:
    """Import names on first use: importing JAX takes seconds, and commands must handle signals before that."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"moorl_jax.{_HOMES[name]}"), name)
