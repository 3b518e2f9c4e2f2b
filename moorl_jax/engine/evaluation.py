"""Evaluation: the greedy policies of all seeds in parallel simulators, on a random stream of their own."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.data import Normalizer
from moorl_jax.divergence import finite
from moorl_jax.engine.devices import evaluation_device
from moorl_jax.engine.keys import episode_start
from moorl_jax.tasks import Task, make_environments
from moorl_jax.types import Array, Params

STREAM = 0x6576616C  #: sets evaluation's random stream apart from every other use of a seed


class Episodes(NamedTuple):
    """What was played, each (seeds, episodes), and NaN for a seed that diverged."""

    returns: np.ndarray  #: raw and undiscounted
    successes: np.ndarray  #: the most that a step counted as a success, in [0, 1]; NaN where the environment is silent

    def success_rates(self) -> np.ndarray | None:
        """Return each seed's rate of success, (seeds,); None where the environment is silent."""
        counted = ~np.isnan(self.successes)
        return self.successes.mean(axis=1) if counted.any() and counted[~np.isnan(self.returns)].all() else None


class Evaluator:
    """Runs `episodes` episodes for each seed, all side by side; the policy is compiled once for all calls."""

    def __init__(self, task: Task, normalizer: Normalizer, seeds: tuple[int, ...], episodes: int):
        self._task, self._normalizer, self._seeds, self._episodes = task, normalizer, seeds, episodes
        self._simulators = make_environments(task, len(seeds) * episodes)
        self._device = evaluation_device()

    def snapshot(self, policies: Params) -> Params:
        """Return the seeds' policies on the evaluation's device, safe from the training that goes on."""
        return jax.device_put(policies, self._device)

    def evaluate(self, agent: Agent, policies: Params, round_: int) -> Episodes:
        """Play the episodes; each one's start depends on its seed, `round_` and its number alone.

        A seed whose policy makes an action that is not finite is played no further.
        """
        agent = jax.device_put(agent, self._device)
        with jax.default_device(self._device):
            keys = jnp.stack([jax.random.fold_in(jax.random.key(seed + STREAM), round_) for seed in self._seeds])
        shape, episodes, at_once = (len(self._seeds), self._episodes), range(self._episodes), agent.open_loop()
        returns, successes = np.zeros(shape), np.full(shape, np.nan)
        starts = [episode_start(STREAM, seed, round_, episode) for seed in self._seeds for episode in episodes]
        running, step = np.arange(len(starts)), 0  # simulators, seed by seed
        observations = self._simulators.reset(running, starts)
        while len(running):
            if step % at_once == 0:
                seen = self._normalizer(observations).reshape(*shape, *observations.shape[1:])
                chosen = np.asarray(_actions(agent, policies, seen, keys, np.int32(step)))
                queue = chosen.reshape(len(starts), at_once, -1)
            actions = queue[:, step % at_once]
            acts = finite(actions[running])
            if not acts.all():
                diverged = np.unique(running[~acts] // self._episodes)
                returns[diverged] = successes[diverged] = np.nan
                running = running[~np.isin(running // self._episodes, diverged)]
                if not len(running):
                    break
            taken = self._simulators.step(running, actions[running])
            observations[running] = taken.observations
            returns.flat[running] += taken.rewards
            successes.flat[running] = np.fmax(successes.flat[running], taken.successes)
            running = running[~(taken.terminals | taken.timeouts)]
            step += 1
        return Episodes(returns, successes)

    def close(self) -> None:
        """Close all simulators."""
        self._simulators.close()


@jax.jit  # parameters are an argument: a closure over them would compile again at every evaluation
def _actions(agent: Agent, policies: Params, observations: Array, keys: Array, step: Array) -> Array:
    """Return the actions of all seeds' episodes, (seeds, episodes, [steps,] action size)."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, step)
    return jax.vmap(agent.act_in_evaluation)(policies, observations, keys)
