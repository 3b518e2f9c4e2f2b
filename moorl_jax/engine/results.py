"""Result directories: one finished training each, written whole or not at all.

config.json      what was run, all that tables tell of it, and the exact command that runs it again
curves.csv       one row per seed and evaluation: raw return, normalized score, updates, env steps, seconds, losses;
                 return and score are empty where the seed had diverged
episodes.csv     the return of each episode of the last evaluation, a row a seed and episode; earlier results lack it
provenance.json  source and fingerprint of the data, versions, device, commit, wall-clock by use
agent/           the files of a user's own agent and of those within it, where it is one: `eval` runs them
checkpoint/      final states of all seeds and the observation normalizer (Orbax); a clone does without
last/            the training's last checkpoint, from which it can be extended, where it was kept
SHA256SUMS       checksums of all of these, written last and compared whenever they are read
"""

import dataclasses
import io
import itertools
import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
import pandas as pd

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Normalizer
from moorl_jax.engine import provenance, schema, seals
from moorl_jax.engine.curves import CURVES, LEADING, write_curves
from moorl_jax.engine.disk import written_to
from moorl_jax.engine.extension import LAST
from moorl_jax.engine.recipes import final_state
from moorl_jax.engine.run import Run
from moorl_jax.engine.schema import NO_SOURCE
from moorl_jax.engine.training_loop import Plan
from moorl_jax.errors import MoorlError, UnreadableError, one_line
from moorl_jax.tasks import Task

FILES = ("config.json", CURVES, "provenance.json")
EPISODES = "episodes.csv"
#: columns that are floats though all of them may be whole
MEASURED = ("seconds", "return", "score", "success", "visited", "visited_new")
COUNTED = ("seed", "updates", "env_steps")
CHECKPOINT = "checkpoint"
PARTIAL, REPLACED = ".partial", ".replaced"  #: how directories end that a result is written in, and then leaves
EARLIER = "so it may be of an earlier version: move it away and run it again by its own command"


@dataclass(frozen=True)
class Result:
    """A result directory, read back; its checkpoint is read apart, by `load_states`."""

    directory: Path
    config: dict[str, Any]
    provenance: dict[str, Any]
    curves: pd.DataFrame
    checksums: dict[str, str]  #: of all its files, by path

    @property
    def task(self) -> Task:
        """The task trained on; one of one's own as it is described here."""
        return provenance.task_of(self.config)

    @property
    def agent_files(self) -> dict[str, Path]:
        """Where the files of a user's own agents are kept, by the name they have in the config."""
        kept = self.config.get("agent_files", {}).items()
        return {name: self.directory / path for name, path in kept if path in self.checksums}

    @property
    def plan(self) -> Plan:
        """How long it was trained and how often evaluated."""
        return Plan(**self.config["plan"])

    def last_scores(self) -> np.ndarray:
        """Return each seed's normalized score at the last evaluation, NaN where it diverged; none without any."""
        if not self.task.evaluated:
            return np.array([])
        return self.curves.groupby("seed", sort=False)["score"].last(skipna=False).to_numpy()

    def last_successes(self) -> np.ndarray:
        """Return the rate of success of each seed at the last evaluation; none where the environment does not tell."""
        if "success" not in self.curves:
            return np.array([])
        return self.curves.groupby("seed", sort=False)["success"].last(skipna=False).to_numpy()

    def offline_scores(self) -> np.ndarray:
        """Return the normalized score of each seed at the end of its offline phase; none if it had no such scores."""
        if not self.task.evaluated:
            return np.array([])
        offline = self.curves[self.curves["env_steps"] == 0]
        return offline.groupby("seed", sort=False)["score"].last(skipna=False).to_numpy()


def running(directory: Path) -> Path:
    """Return where the checkpoints of a training lie whose result is to be `directory`."""
    return directory.with_name(directory.name + ".running")


def tracked(directory: Path, name: str) -> Path:
    """Return where a tracker logs a training whose result is to be `directory`."""
    return directory.with_name(f"{directory.name}.{name}")


def set_aside(directory: Path, kind: str) -> Path:
    """Give the checkpoints of a result to be another name, which says of what kind they are; return it."""
    places = (running(directory.with_name(f"{directory.name}.{kind}-{number}")) for number in itertools.count(1))
    aside = next(place for place in places if not place.exists())
    os.replace(running(directory), aside)
    return aside


def save(run: Run, directory: str | Path, command: str = "moorl_jax.train") -> None:
    """Write the run's result directory and delete its checkpoints.

    `command` runs it again.

    An older result of that name is replaced once the new one is whole: at no moment is there none. The caller holds
    the directory's lock.
    """
    directory = Path(directory).absolute()
    partial = directory.with_name(directory.name + PARTIAL)
    files = {name: text for name, text in provenance.agent_files(run.agent).items() if text}
    shutil.rmtree(partial, ignore_errors=True)
    config = {
        "task": run.task.name,
        **provenance.own_task(run.task),
        "agent": provenance.agent_name(run.agent),
        "agent_config": provenance.agent_fields(run.agent),
        "agent_files": {name: f"agent/{n}/{Path(name).name}" for n, name in enumerate(files)},
        "overrides": list(run.overrides),
        "preparation": dataclasses.asdict(run.preparation),
        "protocol": run.protocol,
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
        "together": run.together,
        "versions": provenance.versions(run.task),
        "devices": [f"{device.platform} {device.device_kind}" for device in jax.local_devices()],
        "backend": provenance.backend(),
        "code": provenance.code(run.agent),
        "commit": provenance.COMMIT,
        "resumed_anyway": run.resumed_anyway,
    }
    tree = _tree(run.states, run.normalizer)
    with written_to(partial, tree):
        partial.mkdir(parents=True)
        (partial / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        for name, place in config["agent_files"].items():
            (partial / place).parent.mkdir(parents=True)
            (partial / place).write_bytes(files[name])
        (partial / "provenance.json").write_text(json.dumps(made_by, indent=1) + "\n", encoding="utf-8")
        write_curves(run.curves, partial / CURVES)
        if run.returns.size:
            write_curves(run.episodes, partial / EPISODES)
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:  # why this one: see Checkpoints.save
            checkpointer.save(partial / CHECKPOINT, args=ocp.args.StandardSave(tree))
        if run.last_checkpoint:
            shutil.move(run.last_checkpoint, partial / LAST)
        seals.seal(partial)
    _publish(partial, directory)
    shutil.rmtree(running(directory), ignore_errors=True)


def read(directory: Path) -> Result:
    """Read a result directory.

    Beside a process that replaces it, what is read is the old result or the new one, never something of both. Raises
    MoorlError naming the file that is missing or is not as it was written, UnreadableError where the result may well be
    whole, and is nobody's to replace.
    """
    while True:
        place, written = _sealed(directory)
        try:
            return _read(directory, place, written)
        except MoorlError:
            if _sealed(directory) == (place, written):  # nobody has replaced or moved it meanwhile
                raise


def exists(directory: Path, part: str = "") -> bool:
    """Tell whether there is a result `directory`, or a part of it, even while a process replaces it."""
    return any((place / part).exists() for place in _places(directory))


def below(place: Path) -> list[Path]:
    """Return the directories of all results at or below a place, by name, whatever processes write there meanwhile."""
    found = {place}
    for path, names, _ in os.walk(place):
        found |= {Path(path, name.removesuffix(PARTIAL).removesuffix(REPLACED)) for name in names}
    # Those without a seal are of earlier versions, which nobody replaces.
    return sorted(each for each in found if FILES[0] in _sealed(each)[1] or (each / FILES[0]).is_file())


def _publish(partial: Path, directory: Path) -> None:
    """Give a whole result its name; if this is killed midway, `read` still finds the old one or the new one."""
    replaced = directory.with_name(directory.name + REPLACED)
    if directory.exists():  # else what an earlier kill left there is the only result
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(directory, replaced)
    os.replace(partial, directory)
    shutil.rmtree(replaced, ignore_errors=True)


def _sealed(directory: Path) -> tuple[Path, dict[str, str]]:
    """Return where the result `directory` lies at this moment, and its checksums."""
    for place in _places(directory):
        if written := seals.sealed(place):
            return place, written
    return directory, {}


def _places(directory: Path) -> tuple[Path, ...]:
    """Return where to look for the result `directory`, one place after the other."""
    # It may leave each before that is looked at, but no process replaces a result again and again.
    return (directory, Path(f"{directory.absolute()}{REPLACED}")) * 4


def _read(directory: Path, place: Path, written: dict[str, str]) -> Result:
    contents = {}
    for name in (*FILES, seals.SEAL):
        try:
            contents[name] = (place / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if name == seals.SEAL:
                raise UnreadableError(f"{directory} has no {seals.SEAL}, {EARLIER}") from None
            raise MoorlError(f"{directory} is not a finished result: {name} is missing") from None
        except OSError as error:
            raise UnreadableError(f"{directory}: the result cannot be read: {error}") from error
    now = {name: seals.checksum(io.BytesIO(contents[name])) for name in FILES}
    if fault := seals.fault({name: written.get(name, "") for name in FILES} if written else {}, now):
        raise MoorlError(f"{directory}: the result is damaged ({fault}); run it again")
    try:
        config, made_by = json.loads(contents["config.json"]), json.loads(contents["provenance.json"])
        schema.check(config, made_by)
        provenance.task_of(config)
        kinds = dict.fromkeys(MEASURED, float) | dict.fromkeys(COUNTED, int)
        curves = pd.read_csv(io.BytesIO(contents["curves.csv"]), dtype=kinds)
        _ = curves[LEADING]
        plan, last = Plan(**config["plan"]), curves.groupby("seed", sort=False).last()
        ended = last["env_steps"] if plan.env_steps else last["updates"]
        goal = plan.env_steps or plan.updates
        together = curves.groupby(["updates", "env_steps"])["seed"].nunique() == len(config["seeds"])
        if not (list(last.index) == config["seeds"] and together.all() and (ended >= goal).all()):
            raise ValueError("curves.csv does not hold all seeds to the end")
    except (MoorlError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise UnreadableError(f"{directory}: {one_line(error)}; it is as it was written, {EARLIER}") from error
    return Result(directory, config, made_by, curves, written)


def load_states(result: Result, trust: bool = False) -> tuple[Agent, Normalizer, State]:
    """Return the agent of the last phase, its observation normalizer and the final states of all seeds.

    The code of a user's own agent, of the file that the result keeps, is run only where the caller trusts it; else
    raises MoorlError, as it does where the checkpoint is missing or is not the result's, to the last bit.
    """
    place = _sealed(result.directory)[0]
    if fault := seals.changed(place, "agent", result.checksums):
        raise MoorlError(f"{result.directory}: the agent's file is not this result's ({fault}); run it again for one")
    config = result.config
    rebuilt = provenance.rebuild_agent(config["agent"], config["agent_config"], trust, result.agent_files)
    checkpoint = (place / CHECKPOINT).absolute()
    if not checkpoint.is_dir():
        raise MoorlError(
            f"{result.directory} has no {CHECKPOINT}, as in a clone of the repository; run it again for one"
        )
    if fault := seals.changed(place, CHECKPOINT, result.checksums):
        raise MoorlError(f"{result.directory}: the checkpoint is not this result's ({fault}); run it again for one")
    plan = result.plan
    phases = rebuilt.phases(plan.updates, plan.env_steps)
    agent, states = final_state(phases, result.task, len(result.config["seeds"]))
    target = _tree(states, Normalizer.identity(result.task.observation_shape))
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            tree = checkpointer.restore(checkpoint, target)
    except (ValueError, OSError) as error:
        raise MoorlError(f"{result.directory}/{CHECKPOINT} cannot be read: {error}") from error
    return agent, Normalizer(np.asarray(tree["mean"]), np.asarray(tree["std"])), tree["states"]


def _tree(states: State, normalizer: Normalizer) -> dict[str, Any]:
    return {"states": states, "mean": normalizer.mean, "std": normalizer.std}
