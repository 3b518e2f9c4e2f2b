"""What a result was made by: the agent's name and config, the code, the versions of the packages it depends on."""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax

from moorl_jax.agents import AGENTS, Agent, find_agent
from moorl_jax.agents.overrides import RULES
from moorl_jax.config import require_bounds
from moorl_jax.cores import usable_cores
from moorl_jax.engine import written
from moorl_jax.errors import MoorlError
from moorl_jax.nets import matmul_precision
from moorl_jax.replay import Sampling
from moorl_jax.tasks import Task, find

# JAX's settings that change numbers: its random streams, its types, how much its compiler may rearrange.
SETTINGS = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_threefry_gpu_kernel_lowering",
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_disable_jit",
    "jax_disable_most_optimizations",
    "jax_optimization_level",
    "jax_exec_time_optimization_effort",
    "jax_use_direct_linearize",
    "jax_softmax_custom_jvp",
)
ABSENT = "(absent)"  #: what stands, in JSON too, for a field that is not there
PACKAGES = ("moorl_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "gymnasium", "mujoco", "numpy")
SIMULATORS = {
    "adroit": "gymnasium-robotics",
    "kitchen": "gymnasium-robotics",
    "sawyer": "metaworld",
    "control": "dm_control",
    "vd4rl": "dm_control",
    "ogbench": "ogbench",
}  #: family -> the optional package that its environments are of; OGBench's decides its rewards, too


def agent_name(agent: Agent) -> str:
    """Return the name `find_agent` knows the agent's class by; of one without a file where it would look for it."""
    for name, known in AGENTS.items():
        if type(agent) is known:
            return name
    kind: Any = type(agent)
    file = written.file_of(kind)
    return f"{os.path.relpath(file) if file else f'{kind.__name__}.py'}:{kind.__name__}"


def own_task(task: Task) -> dict[str, Any]:
    """Return what describes a task that is not the catalogue's, under the name it has in a result; else nothing."""
    return {"own_task": task.written} if task.own else {}


def task_of(config: dict[str, Any]) -> Task:
    """Return the task of a result's config; raise MoorlError or TypeError where it describes none."""
    return Task.read(config["own_task"]) if "own_task" in config else find(config["task"])


def agent_fields(agent: Agent) -> dict[str, Any]:
    """Return the agent's config as JSON can hold it; raise MoorlError naming a field that it cannot.

    An agent or a sampling rule within it is written with its class.
    """
    fields = {}
    for field in dataclasses.fields(agent):
        value = getattr(agent, field.name)
        if isinstance(value, Agent):
            inner = agent_fields(value)
            if "agent" in inner:
                raise MoorlError(f"{type(value).__name__}.agent: a field of an agent within another needs another name")
            value = {"agent": agent_name(value)} | inner
        elif isinstance(value, Sampling):
            value = {"sampling": type(value).__name__} | dataclasses.asdict(value)
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise MoorlError(f"{type(agent).__name__}.{field.name} cannot be written to a result: {error}") from None
        fields[field.name] = value
    return fields


def agent_files(agent: Agent) -> dict[str, bytes]:
    """Return the text of a user's own agents, this one and those within it, each by the file that its name has.

    It is the text of when this was first called of them, as a training does when it begins: one that is edited
    meanwhile is not the one that ran. It is empty where nobody knows it: of what was typed into Python, or made by
    `exec`.
    """
    inner = [value for value in vars(agent).values() if isinstance(value, Agent)]
    files = {name: text for each in inner for name, text in agent_files(each).items()}
    name, own, _ = agent_name(agent).rpartition(":")
    return files | ({name: _text(agent)} if own else {})


def _text(agent: Agent) -> bytes:
    kind: Any = type(agent)
    return written.text_of(kind)


def rebuild_agent(
    name: str, fields: dict[str, Any], trust: bool = False, kept: Mapping[str, Path] = MappingProxyType({})
) -> Agent:
    """Make an agent again from its name and what `agent_fields` wrote, JSON in between.

    `kept` says where the files of users' own agents are kept, by the name that `agent_files` gives them.
    Raises MoorlError for an agent, or one within it, that is a user's own, unless the caller trusts its file: its code
    is run; and for what another version wrote and this one does not know, or what no setting may be.
    """

    def rebuilt(value: Any) -> Any:
        if isinstance(value, list):
            return tuple(map(rebuilt, value))
        if isinstance(value, dict) and "agent" in value:
            return rebuild_agent(value["agent"], {k: v for k, v in value.items() if k != "agent"}, trust, kept)
        if isinstance(value, dict) and "sampling" in value:
            return RULES[value["sampling"]](**{k: rebuilt(v) for k, v in value.items() if k != "sampling"})
        return value

    if ":" in name and not trust:
        raise MoorlError(f"agent '{name}' is code of that file, which would be run: --trust allows it")
    file, own, kind = name.rpartition(":")
    make: Callable[..., Agent] = find_agent(f"{kept.get(file, file)}:{kind}" if own else name)
    try:
        agent = make(**{key: rebuilt(value) for key, value in fields.items()})
    except (TypeError, KeyError) as error:
        raise MoorlError(f"agent '{name}' has other settings in this version: {error}") from None
    require_bounds(agent)
    return agent


def differences(then: Any, now: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield what of a config differs: its name, as `offline.expectile`, and what it was then and is now.

    A field that only one of them knows is ABSENT from the other, say a later setting with a default.
    """
    if isinstance(then, dict) and isinstance(now, dict):
        for field in then | now:
            inner = f"{name}.{field}" if name else field
            yield from differences(then.get(field, ABSENT), now.get(field, ABSENT), inner)
    elif then != now:
        yield name, then, now


def versions(task: Task) -> dict[str, str]:
    """Return the versions of Python and of the packages that a result of the task depends on."""
    known = {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}
    with suppress(metadata.PackageNotFoundError, KeyError):  # no simulator of it; of some families there is none
        known[SIMULATORS[task.family]] = metadata.version(SIMULATORS[task.family])
    return known


def backend() -> dict[str, Any]:
    """Return what decides how numbers are drawn and rounded: devices, cores, JAX's settings and XLA's flags."""
    values: Any = jax.config.values  # no release has all of SETTINGS
    return {
        "platform": jax.default_backend(),
        "devices": len(jax.local_devices()),
        "cores": usable_cores(),  # XLA divides sums among their threads
        "matmul_precision": matmul_precision(),
        **{name: str(values[name]) for name in SETTINGS if name in values},
        "xla_flags": sorted(flag for flag in os.environ.get("XLA_FLAGS", "").split() if "xla_dump" not in flag),
    }


def code(agent: Agent) -> str:
    """Return the sha256 of the library's source, and of the agent's text where it is a user's own."""
    return hashlib.sha256(LIBRARY + _text(agent)).hexdigest()


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


# Of the code this process loaded, whatever is written and committed while it runs.
COMMIT = _commit()
LIBRARY = b"".join(file.read_bytes() for file in sorted(Path(__file__).parents[1].rglob("*.py")))
