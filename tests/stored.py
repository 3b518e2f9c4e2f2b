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
    overrides=(),
    protocol=None,
    command="the command",
    source="recipe",
    finished="2026-11-21T12:00:00+00:00",
    visited=(),
    seconds=(),
):
    """Write a finished result: each seed's score is half its last one halfway, and so are the cells it `visited`."""
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
    for row in rows if visited else ():
        if row["env_steps"]:
            row["visited"] = visited[row["seed"]] * row["env_steps"] / env_steps
            row["visited_new"], row["data_distance"] = 1.0, 0.5
    directory.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(directory / "curves.csv", index=False)
    plan = {"updates": updates, "env_steps": env_steps, "evaluate_every": 1, "evaluate_every_steps": 1, "episodes": 10}
    config = {
        "task": task,
        "agent": agent,
        "agent_config": {},
        "overrides": list(overrides),
        "preparation": {},
        "protocol": protocol or ("online" if not updates else "offline-to-online" if env_steps else "offline"),
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
        "seconds": {"total": updates / 100 + env_steps / 10, **dict(seconds)},
        "versions": {"jax": "0.10.2"},
        "devices": ["cpu cpu"],
        "matmul_precision": "float32",
        "commit": "abc",
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "provenance.json").write_text(json.dumps(made_by), encoding="utf-8")
    seals.seal(directory)
    return directory


#: Results that nobody can read: the file, and what to make of its text.
ODD = {
    "of a task unknown here": ("config.json", lambda text: text.replace("hopper-medium-v2", "hopper-of-tomorrow")),
    "a plan that lacks a field": ("config.json", lambda text: text.replace('"episodes"', '"rounds"')),
    "a plan of one field more": ("config.json", lambda text: text.replace('"updates"', '"rounds": 1, "updates"')),
    "a plan of words": ("config.json", lambda text: text.replace('"updates": 1000', '"updates": "many"')),
    "without a protocol": ("config.json", lambda text: text.replace('"protocol"', '"way"')),
    "without seeds": ("config.json", lambda text: text.replace('"seeds": [0, 1]', '"seeds": []')),
    "a list": ("config.json", lambda text: f"[{text}]"),
    "cut short": ("config.json", lambda text: text[:-5]),
    "empty": ("config.json", lambda _: ""),
    "deep": ("config.json", lambda _: "[" * 100_000),
    "not text": ("config.json", lambda _: "\0\udcff"),
    "without devices": ("provenance.json", lambda text: text.replace('["cpu cpu"]', "[]")),
    "seconds of words": ("provenance.json", lambda text: text.replace('"total": 10.0', '"total": "long"')),
    "commit of a number": ("provenance.json", lambda text: text.replace('"abc"', "3")),
    "data without a fingerprint": ("provenance.json", lambda text: text.replace(f'"{"0" * 64}"', "null")),
    "of no backend": ("provenance.json", lambda text: text.replace('"matmul_precision": "float32"', '"backend": null')),
    "of two sources": ("provenance.json", lambda text: text.replace('"recipe"', '"none"')),
    "null": ("provenance.json", lambda _: "null"),
    "curves without a phase": ("curves.csv", lambda text: text.replace("phase", "part")),
    "a seed that missed an evaluation": (
        "curves.csv",
        lambda text: text.replace("\n1,offline,500,", "\n1,offline,400,"),
    ),
    "curves of words": ("curves.csv", lambda text: text.replace("20.0", "high")),
    "curves of more fields": ("curves.csv", lambda text: text.replace("20.0", "20.0,1,1")),
    "seeds of words": ("curves.csv", lambda text: text.replace("\n0,", "\nfirst,")),
    "no curves": ("curves.csv", lambda _: ""),
}


def store_odd(directory, name, changed):
    """Write a result with one of its files changed."""
    file = store(directory) / name
    before = file.read_text(encoding="utf-8")
    after = changed(before)
    assert after != before
    file.write_text(after, encoding="utf-8", errors="surrogateescape")
    seals.seal(directory)
