"""Train a policy, save it, load it again, act with it, and film an episode into hopper.gif.

No display is needed, but a library that renders without one: EGL or OSMesa.
"""

import subprocess
import sys

import gymnasium

import moorl_jax

RESULT = "runs/bc"

if __name__ == "__main__":
    moorl_jax.use_all_cores()
    run = moorl_jax.train("bc", "hopper-medium-replay-v2", source="embedded", seeds=1, updates=1_000, episodes=2)
    moorl_jax.save(run, RESULT)

    policy = moorl_jax.load(RESULT).policy
    environment = gymnasium.make("Hopper-v4")
    observation, _ = environment.reset(seed=0)
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminal, timeout, _ = environment.step(policy(observation))
        total, ended = total + reward, terminal or timeout
    print(f"return of an episode: {total:.0f}")
    film = f"eval {RESULT} --episodes 1 --video hopper.gif"
    subprocess.run([sys.executable, "-m", "moorl_jax", *film.split()], check=True)
