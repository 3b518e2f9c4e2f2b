"""Train IQL on transitions of your own, and evaluate it in an environment of your own.

The data is of a random policy on Pendulum, so little will be learned; yours is better.
"""

import gymnasium
import numpy as np

import moorl_jax

EPISODES, STEPS = 10, 200

environment = gymnasium.make("Pendulum-v1")
environment.action_space.seed(0)
rows: dict[str, list] = {"observations": [], "actions": [], "rewards": [], "next_observations": []}
for episode in range(EPISODES):
    observation, _ = environment.reset(seed=episode)
    for _ in range(STEPS):
        action = environment.action_space.sample()
        following, reward, _, _, _ = environment.step(action)
        for name, value in zip(rows, (observation, action, reward, following), strict=True):
            rows[name].append(value)
        observation = following

task = moorl_jax.Task.of("Pendulum-v1", episodes=2)
data = moorl_jax.Dataset.from_arrays(**{name: np.array(values) for name, values in rows.items()}, task=task)
run = moorl_jax.train("iql", dataset=data, seeds=2, updates=400, evaluate_every=200)
print(run.curves[["seed", "updates", "return"]])
