"""Trained policies, to be asked for actions."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import jax
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.data import Normalizer
from moorl_jax.engine.devices import evaluation_device
from moorl_jax.errors import MoorlError
from moorl_jax.tasks import Task
from moorl_jax.types import Array, Params

STREAM = 0x706F6C69  #: sets the noise of policies in use apart from every other use of a seed


@dataclass(frozen=True, repr=False)
class Policy:
    """The policies of all seeds of a training. Call it with what an environment of its task shows."""

    agent: Agent  #: whose policy it is: that of the last phase
    task: Task
    normalizer: Normalizer
    params: Params  #: with a leading axis over the seeds
    seeds: tuple[int, ...]
    _calls: Iterator[int] = field(default_factory=itertools.count)

    def __call__(
        self, observation: np.ndarray, seed: int | None = None, deterministic: bool = True, noise: int | None = None
    ) -> np.ndarray:
        """Return the action, (action size,), for an observation as the environment gives it; of several, (n, ...), all.

        Actions are in the environment's own range. Of an agent that chooses the actions of several steps at once it is
        the first.

        Args:
            observation: of the task's shape, or a batch of them; normalized here as the training's data was.
            seed: of the training; the first one unless given.
            deterministic: take the greedy action; else explore as the agent does online.
            noise: number of the exploration's noise, the same for the same number; another at each call unless given.

        Raises:
            MoorlError: the observation is of another shape, or there is no such seed.
        """
        return self.task.in_range(self.ahead(observation, seed, deterministic, noise)[..., 0, :])

    def ahead(
        self, observation: np.ndarray, seed: int | None = None, deterministic: bool = True, noise: int | None = None
    ) -> np.ndarray:
        """Return the actions of all steps that are chosen at once, (..., steps, action size), in [-1, 1]."""
        observation = np.asarray(observation)
        shape = self.task.observation_shape
        if observation.shape not in (shape, (len(observation) if observation.ndim else 0, *shape)):
            raise MoorlError(f"{self.task.name} shows {shape}, or a batch of these, not {observation.shape}")
        one = observation.shape == shape
        with jax.default_device(evaluation_device()):
            key = jax.random.fold_in(jax.random.key(STREAM), next(self._calls) if noise is None else noise)
            seen = self.normalizer(observation[None] if one else observation)
            actions = np.asarray(_actions(self.agent, self.of(seed), seen, key, deterministic=deterministic))
        actions = actions if self.agent.open_loop() > 1 else actions[:, None]
        return actions[0] if one else actions

    def of(self, seed: int | None = None) -> Params:
        """Return the parameters of one seed, the first one unless given; raise MoorlError where there is no such."""
        if seed is not None and seed not in self.seeds:
            raise MoorlError(f"there is no seed {seed}; there are {', '.join(map(str, self.seeds))}")
        place = 0 if seed is None else self.seeds.index(seed)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[place], self.params)

    def __repr__(self) -> str:
        return f"policy({'×'.join(map(str, self.task.observation_shape))}) -> {self.task.action_size} actions"


@jax.jit(static_argnames="deterministic")
def _actions(agent: Agent, params: Params, observations: Array, key: Array, *, deterministic: bool) -> Array:
    return agent.greedy(params, observations) if deterministic else agent.act(params, observations, key)
