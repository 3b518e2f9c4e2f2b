"""How long a training takes to begin: `moorl-jax train` in a new process, up to its first updates and their scores."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from moorl_jax.data import load
from moorl_jax.tasks import find

TASK = "hopper-medium-replay-v2"
AGENTS_MEASURED = ("td3_bc", "iql", "cql")
WORDS = ("--task", TASK, "--source", "embedded", "--seeds", "1", "--updates", "2", "--episodes", "1", "--overwrite")


def rows(agents: tuple[str, ...]) -> Iterator[dict[str, object]]:
    """Yield seconds on the wall and of processor time: imports alone, and runs without and with kept programs."""
    load(find(TASK), "embedded")  # made now, not in a measured run
    yield {"agent": "", "what": "imports", **_spent("-c", "import moorl_jax.cli.train")}
    for agent in agents:
        with tempfile.TemporaryDirectory() as kept:
            words = ("-m", "moorl_jax", "train", "--agent", agent, *WORDS, "--out", f"{kept}/run")
            for what in ("first updates", "again, programs kept"):
                yield {"agent": agent, "what": what, **_spent(*words, programs=f"{kept}/programs")}


def _spent(*words: str, programs: str = "") -> dict[str, object]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "XDG_CACHE_HOME": programs} if programs else os.environ
    subprocess.run([sys.executable, *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": wall, "processor seconds": processor}
