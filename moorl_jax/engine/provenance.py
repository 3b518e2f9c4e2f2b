"""What a result was made by: the agent's name and config, the code, the versions of what it stands on."""

import dataclasses
import hashlib
import inspect
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from moorl_jax.agents import AGENTS, Agent
from moorl_jax.errors import MoorlError

PACKAGES = ("moorl_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "gymnasium", "mujoco", "numpy")


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


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages a result depends on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def code(agent: Agent) -> str:
    """Return the sha256 of the library's source, and of the agent's file where it is a user's own."""
    digest = hashlib.sha256()
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    for file in [*files, Path(inspect.getfile(type(agent)))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


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
