"""Result directories as the library writes them, made up."""

import json

import pandas as pd

from moorl_jax.engine import seals


def store(
    directory,
    agent="iql",
    task="hopper-medium-v2",
    scores=(10.0, 20.0),
    updates=1_000,
    env_steps=0,
    command="the command",
    source="recipe",
    finished="2026-11-21T12:00:00+00:00",
):
    """Write a finished result: each seed's score is half its last one halfway."""
    moments = [(done, 0) for done in (updates // 2, updates)] if updates else []
    moments += [(updates, done) for done in (env_steps // 2, env_steps)] if env_steps else []
    rows = [
        {
            "seed": seed,
            "phase": "online" if steps else "offline",
            "updates": done,
            "env_steps": steps,
            "seconds": done / 100 + steps / 10,
            "return": 0.0,
            "score": score * (number + 1) / len(moments),
        }
        for number, (done, steps) in enumerate(moments)
        for seed, score in enumerate(scores)
    ]
    directory.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(directory / "curves.csv", index=False)
    plan = {"updates": updates, "env_steps": env_steps, "evaluate_every": 1, "evaluate_every_steps": 1, "episodes": 10}
    config = {
        "task": task,
        "agent": agent,
        "agent_config": {},
        "preparation": {},
        "source": source,
        "seeds": list(range(len(scores))),
        "plan": plan,
        "command": command,
    }
    made_by = {
        "source": source,
        "dataset_sha256": "0" * 64,
        "dataset_mean_return": 1000.0,
        "transitions": 5_000,
        "finished": finished,
        "seconds": {"total": updates / 100 + env_steps / 10},
        "versions": {"jax": "0.10.2"},
        "devices": ["cpu cpu"],
        "matmul_precision": "float32",
        "commit": "abc",
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "provenance.json").write_text(json.dumps(made_by), encoding="utf-8")
    seals.seal(directory)
    return directory
