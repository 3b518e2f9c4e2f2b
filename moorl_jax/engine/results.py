"""Result directories: one finished training each, written whole or not at all.

config.json      what was run, and the exact command that runs it again
curves.csv       one row per seed and evaluation: raw return, normalized score, updates, env steps, seconds, losses
provenance.json  source and fingerprint of the data, versions, device, commit, wall-clock by use
checkpoint/      final states of all seeds and the observation normalizer (Orbax)
"""

import dataclasses
import inspect
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

from moorl_jax.agents import AGENTS, Agent, find_agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Normalizer
from moorl_jax.data.rows import episode_returns
from moorl_jax.engine.training import Run
from moorl_jax.errors import MoorlError
from moorl_jax.tasks import Task, find
from moorl_jax.types import Transitions

FILES = ("config.json", "curves.csv", "provenance.json")
CHECKPOINT = "checkpoint"
PACKAGES = ("moorl_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "gymnasium", "mujoco", "numpy")


@dataclass(frozen=True)
class Result:
    """A result directory, read back; its checkpoint is read apart, by `load_states`."""

    directory: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    curves: pd.DataFrame

    @property
    def task(self) -> Task:
        """The task trained on."""
        return find(self.config["task"])

    def last_scores(self) -> np.ndarray:
        """Return the normalized score of each seed at the last evaluation."""
        return self.curves[self.curves["updates"] == self.curves["updates"].max()]["score"].to_numpy()


def agent_name(agent: Agent) -> str:
    """Return the name `find_agent` knows the agent's class by."""
    for name, known in AGENTS.items():
        if type(agent) is known:
            return name
    return f"{os.path.relpath(inspect.getfile(type(agent)))}:{type(agent).__name__}"


def agent_fields(agent: Agent) -> dict[str, Any]:
    """Return the agent's config as JSON can hold it; raise MoorlError naming a field that it cannot."""
    fields = dataclasses.asdict(agent)
    for name, value in fields.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise MoorlError(f"{type(agent).__name__}.{name} cannot be written to a result: {error}") from None
    return fields


def save(run: Run, directory: Path, command: str) -> None:
    """Write the run's result directory; an older one of that name is replaced once the new one is complete."""
    directory = directory.absolute()
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    config = {
        "task": run.task.name,
        "agent": agent_name(run.agent),
        "agent_config": agent_fields(run.agent),
        "preparation": dataclasses.asdict(run.preparation),
        "source": run.dataset.source,
        "seeds": list(run.seeds),
        "updates": run.updates,
        "evaluate_every": run.evaluate_every,
        "evaluation_episodes": run.episodes,
        "command": command,
    }
    provenance = {
        "source": run.dataset.source,
        "dataset_sha256": run.dataset.fingerprint,
        "transitions": len(run.dataset.transitions),
        "dataset_mean_return": float(episode_returns(run.dataset.rows, run.task.horizon)[0].mean()),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": run.seconds,
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.local_devices()],
        "commit": COMMIT,
    }
    (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (partial / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
    run.curves.to_csv(partial / "curves.csv", index=False, float_format="%.7g")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(partial / CHECKPOINT, _tree(run.states, run.normalizer))
    if directory.exists():
        shutil.rmtree(directory)
    os.replace(partial, directory)


def read(directory: Path) -> Result:
    """Read a result directory; raise MoorlError naming the file that is missing or cannot be read."""
    for name in FILES:
        if not (directory / name).exists():
            raise MoorlError(f"{directory} is not a finished result: {name} is missing")
    try:
        config = json.loads((directory / "config.json").read_text())
        provenance = json.loads((directory / "provenance.json").read_text())
        curves = pd.read_csv(directory / "curves.csv")
        last = curves[curves["updates"] == curves["updates"].max()]
        finished = list(last["seed"]) == config["seeds"] and last["updates"].iloc[0] >= config["updates"]
        _ = provenance["dataset_sha256"], provenance["dataset_mean_return"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise MoorlError(f"{directory}: the result is damaged ({error}); delete it and run it again") from error
    if not finished:
        raise MoorlError(f"{directory}: curves.csv does not hold all seeds to the end; delete it and run it again")
    return Result(directory, config, provenance, curves)


def rebuild_agent(config: dict[str, Any]) -> Agent:
    """Make the agent of a config.json again."""
    fields = {
        name: tuple(value) if isinstance(value, list) else value for name, value in config["agent_config"].items()
    }
    make: Callable[..., Agent] = find_agent(config["agent"])
    return make(**fields)


def load_states(result: Result) -> tuple[Agent, Normalizer, State]:
    """Return the agent, its observation normalizer and the final states of all seeds."""
    agent, task = rebuild_agent(result.config), result.task
    scalar: Any = np.zeros(1, np.float32)
    observation: Any = np.zeros((1, *task.observation_shape), np.float32)
    action: Any = np.zeros((1, task.action_size), np.float32)
    example = Transitions(observation, action, scalar, observation, scalar)
    keys = jax.random.split(jax.random.key(0), len(result.config["seeds"]))
    states = jax.eval_shape(jax.vmap(lambda key: agent.init(key, example)), keys)
    target = _tree(states, Normalizer.identity(task.observation_shape))
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore((result.directory / CHECKPOINT).absolute(), target)
    except (ValueError, OSError) as error:
        raise MoorlError(f"{result.directory}/{CHECKPOINT} cannot be read: {error}") from error
    return agent, Normalizer(np.asarray(tree["mean"]), np.asarray(tree["std"])), tree["states"]


def _tree(states: State, normalizer: Normalizer) -> dict[str, Any]:
    return {"states": states, "mean": normalizer.mean, "std": normalizer.std}


def _commit() -> str:
    """Return the commit the library runs from, marked where its files differ; 'unknown' outside its repository."""

    def git(*words: str) -> str:
        here = Path(__file__).parents[1]
        return subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # installed elsewhere, the commit would be another project's
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


COMMIT = _commit()  # of the code this process loaded, whatever is committed while it runs
