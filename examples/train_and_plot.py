"""Train TD3+BC and IQL on one dataset, and plot their learning curves into curves.png.

The first call makes the dataset, which takes another minute.
"""

import matplotlib.pyplot as plt

import moorl_jax

if __name__ == "__main__":  # making data starts processes that import this file
    moorl_jax.use_all_cores()
    for agent in ("td3_bc", "iql"):
        run = moorl_jax.train(
            agent, "hopper-medium-replay-v2", source="embedded", seeds=2, updates=400, evaluate_every=100, episodes=2
        )
        scores = run.curves.groupby("updates")["score"].agg(["mean", "min", "max"])
        plt.plot(scores.index, scores["mean"], label=agent)
        plt.fill_between(scores.index, scores["min"], scores["max"], alpha=0.2)
    plt.xlabel("updates")
    plt.ylabel("normalized score")
    plt.legend()
    plt.savefig("curves.png")
