"""Play a behaviour policy's episodes and measure them."""

from collections.abc import Iterator
from dataclasses import dataclass

import gymnasium
import numpy as np

from moorl_jax.data.behaviour import Behaviour


@dataclass(frozen=True)
class Episode:
    """The outcome of one episode."""

    rewards: float  #: their sum
    steps: int
    successes: int  #: steps that the environment calls a success, where it does


def play(environment: gymnasium.Env, policy: Behaviour, episodes: int, seed: int = 0) -> Iterator[Episode]:
    """Play episodes as a recipe rolls them out, one after another; the environment is closed after the last."""
    rng = np.random.default_rng(seed)
    for episode in range(episodes):
        observation, _ = environment.reset(seed=seed + episode, options=policy.begin(rng))
        rewards, steps, successes, over = 0.0, 0, 0, False
        while not over:
            observation, reward, terminal, timeout, info = environment.step(policy.act(observation, rng)[0])
            rewards, steps = rewards + float(reward), steps + 1
            successes += bool(info.get("success", False))
            over = terminal or timeout
        yield Episode(rewards, steps, successes)
    environment.close()
