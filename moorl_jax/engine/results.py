"""Result directories: one finished training each, written whole or not at all.

config.json      what was run, all that tables tell of it, and the exact command that runs it again
curves.csv       one row per seed and evaluation: raw return, normalized score, updates, env steps, seconds, losses
provenance.json  source and fingerprint of the data, versions, device, commit, wall-clock by use
checkpoint/      final states of all seeds and the observation normalizer (Orbax)
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd
from filelock import FileLock, Timeout

from moorl_jax.agents import Agent, Subroutine
from moorl_jax.agents.contract import State
from moorl_jax.data import Normalizer
from moorl_jax.engine import provenance
from moorl_jax.engine.trainer import final_state
from moorl_jax.engine.training import LEADING, Plan, Run
from moorl_jax.errors import MoorlError, UnknownNameError
from moorl_jax.nets import matmul_precision
from moorl_jax.tasks import Task, find

FILES = ("config.json", "curves.csv", "provenance.json")
MEASURED = ("seconds", "return", "score", "success")  #: columns that are floats though all of them may be whole
COUNTED = ("seed", "updates", "env_steps")
CHECKPOINT = "checkpoint"
NO_SOURCE = "none"  #: where an agent learned from its own experience alone

# What whoever reads a result counts on, and of what kind it is ([str]: any number, [str, ...]: at least one).
CONFIG = {
    "task": str,
    "agent": str,
    "agent_config": dict,
    "overrides": [str],
    "preparation": dict,
    "protocol": str,
    "source": str,
    "seeds": [int, ...],
    "plan": {field.name: int for field in dataclasses.fields(Plan)},
    "command": str,
}
PROVENANCE = {
    "source": str,
    "finished": str,
    "seconds": {"total": float | int},
    "versions": dict,
    "devices": [str, ...],
    "commit": str,
}
OF_DATA = {"dataset_sha256": str, "dataset_mean_return": float | int, "transitions": int}


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

    @property
    def plan(self) -> Plan:
        """How long it was trained and how often evaluated."""
        return Plan(**self.config["plan"])

    def last_scores(self) -> np.ndarray:
        """Return the normalized score of each seed at the last evaluation."""
        return self.curves.groupby("seed", sort=False)["score"].last(skipna=False).to_numpy()

    def last_successes(self) -> np.ndarray:
        """Return the rate of success of each seed at the last evaluation; none where the environment does not tell."""
        if "success" not in self.curves:
            return np.array([])
        return self.curves.groupby("seed", sort=False)["success"].last(skipna=False).to_numpy()

    def offline_scores(self) -> np.ndarray:
        """Return the normalized score of each seed at the end of its offline phase; none if it had no such phase."""
        offline = self.curves[self.curves["env_steps"] == 0]
        return offline.groupby("seed", sort=False)["score"].last(skipna=False).to_numpy()


def running(directory: Path) -> Path:
    """Return where the checkpoints of a training lie whose result is to be `directory`."""
    return directory.with_name(directory.name + ".running")


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Keep other processes from training what is to be the result `directory`; raise MoorlError where one is at it."""
    place = running(directory)
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise MoorlError(f"{directory}: another process is training it") from error
    try:
        yield
    finally:
        lock.release()
        (place / "lock").unlink(missing_ok=True)
        if place.exists() and not any(place.iterdir()):  # it ended before its first checkpoint
            place.rmdir()


def save(run: Run, directory: Path, command: str, overrides: Sequence[str] = ()) -> None:
    """Write the run's result directory and delete its checkpoints.

    `overrides` are the NAME=VALUE changes of the agent's settings that were made by hand.

    An older result of that name is replaced once the new one is complete.
    """
    directory = directory.absolute()
    partial = directory.with_name(directory.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    config = {
        "task": run.task.name,
        "agent": provenance.agent_name(run.agent),
        "agent_config": provenance.agent_fields(run.agent),
        "overrides": list(overrides),
        "preparation": dataclasses.asdict(run.preparation),
        "protocol": _protocol(run),
        "source": run.dataset.source if run.dataset else NO_SOURCE,
        "seeds": list(run.seeds),
        "plan": dataclasses.asdict(run.plan),
        "command": command,
    }
    made_by: dict[str, Any] = {"source": NO_SOURCE, "dataset_sha256": None, "dataset_mean_return": None}
    if run.dataset:
        made_by = {
            "source": run.dataset.source,
            "dataset_sha256": run.dataset.fingerprint,
            "transitions": len(run.dataset.transitions),
            "dataset_mean_return": float(run.dataset.trajectory_returns()[0].mean()),
        }
    made_by |= {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": run.seconds,
        "versions": provenance.versions(),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.local_devices()],
        "matmul_precision": matmul_precision(),
        "commit": provenance.COMMIT,
    }
    (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    (partial / "provenance.json").write_text(json.dumps(made_by, indent=1) + "\n", encoding="utf-8")
    run.curves.to_csv(partial / "curves.csv", index=False, float_format="%.7g")
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(partial / CHECKPOINT, _tree(run.states, run.normalizer))
    if directory.exists():
        shutil.rmtree(directory)
    os.replace(partial, directory)
    shutil.rmtree(running(directory), ignore_errors=True)


def read(directory: Path) -> Result:
    """Read a result directory; raise MoorlError naming the file that is missing or cannot be read."""
    for name in FILES:
        if not (directory / name).exists():
            raise MoorlError(f"{directory} is not a finished result: {name} is missing")
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        made_by = json.loads((directory / "provenance.json").read_text(encoding="utf-8"))
        _check("config.json", config, CONFIG)
        _check("provenance.json", made_by, PROVENANCE)
        find(config["task"])
        if made_by["source"] != config["source"]:
            raise ValueError(f"its data is {config['source']} and {made_by['source']}")
        if config["source"] != NO_SOURCE:
            _check("provenance.json", made_by, OF_DATA)
        kinds = dict.fromkeys(MEASURED, float) | dict.fromkeys(COUNTED, int)
        curves = pd.read_csv(directory / "curves.csv", dtype=kinds)
        _ = curves[LEADING]
        last = curves.groupby("seed", sort=False).last()
        ended = last["env_steps"] if config["plan"]["env_steps"] else last["updates"]
        goal = config["plan"]["env_steps"] or config["plan"]["updates"]
        together = curves.groupby(["updates", "env_steps"])["seed"].nunique() == len(config["seeds"])
        finished = list(last.index) == config["seeds"] and together.all() and (ended >= goal).all()
    except UnknownNameError as error:
        raise MoorlError(f"{directory}: {error}") from None
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise MoorlError(f"{directory}: the result is damaged ({error}); delete it and run it again") from error
    if not finished:
        raise MoorlError(f"{directory}: curves.csv does not hold all seeds to the end; delete it and run it again")
    return Result(directory, config, made_by, curves)


def load_states(result: Result, trust: bool = False) -> tuple[Agent, Normalizer, State]:
    """Return the agent of the last phase, its observation normalizer and the final states of all seeds.

    The code of a user's own agent, of whatever file the result names, is run only where the caller trusts it; else
    raises MoorlError.
    """
    plan = result.plan
    rebuilt = provenance.rebuild_agent(result.config["agent"], result.config["agent_config"], trust)
    phases = rebuilt.phases(plan.updates, plan.env_steps)
    agent, states = final_state(phases, result.task, len(result.config["seeds"]))
    target = _tree(states, Normalizer.identity(result.task.observation_shape))
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore((result.directory / CHECKPOINT).absolute(), target)
    except (ValueError, OSError) as error:
        raise MoorlError(f"{result.directory}/{CHECKPOINT} cannot be read: {error}") from error
    return agent, Normalizer(np.asarray(tree["mean"]), np.asarray(tree["std"])), tree["states"]


def _protocol(run: Run) -> str:
    """Return the protocol that a run followed."""
    if not run.plan.env_steps:
        return "offline"
    # The online learner alone, beside subroutines, is given their updates and passes over them.
    alone = bool(run.plan.updates) and not run.task.datasets
    if alone or isinstance(run.agent, Subroutine):
        return "subroutine"
    return "offline-to-online" if run.plan.updates else "online"


def _check(name: str, value: Any, kind: Any) -> None:
    """Raise ValueError where a part of a file is missing or not of its kind: a type, or what a list or dict holds."""
    if isinstance(kind, dict):
        _check(name, value, dict)
        for part, of in kind.items():
            _check(f"{name}: {part}", value.get(part), of)
    elif isinstance(kind, list):
        _check(name, value or None if ... in kind else value, list)
        for part in value:
            _check(f"each of {name}", part, kind[0])
    elif not isinstance(value, kind):
        raise ValueError(f"{name} is {'missing' if value is None else repr(value)[:40]}")


def _tree(states: State, normalizer: Normalizer) -> dict[str, Any]:
    return {"states": states, "mean": normalizer.mean, "std": normalizer.std}
