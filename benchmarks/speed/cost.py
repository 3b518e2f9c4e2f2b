"""What an env step costs with its updates, for each agent beside SAC and TD3.

The table that OPT's and MOORL's papers lack.
"""

import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pandas as pd

from benchmarks.speed.online import measure
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.processes import WORKERS

REFERENCES = ("sac", "td3_bc")


def rows(agents: tuple[str, ...], env_steps: int) -> Iterator[dict[str, object]]:
    """Measure every agent's online loop with one seed, each in a process of its own, so that its memory is its own."""
    for agent in agents:
        with ProcessPoolExecutor(1, WORKERS) as pool:
            yield pool.submit(_row, agent, env_steps).result()


def beside_references(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with each agent's seconds in those of the references that were measured."""
    seconds = table.set_index("agent")["s per 1k env steps"]
    related = {
        f"relative to {other}": table["s per 1k env steps"] / seconds[other] for other in REFERENCES if other in seconds
    }
    return table.assign(**related)


def _row(agent: str, env_steps: int) -> dict[str, object]:
    use_all_cores()
    speed = measure(agent, 1, env_steps)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return {
        "agent": agent,
        "updates per env step": round(speed.updates_per_second / speed.env_steps_per_second),
        "s per 1k env steps": 1000 / speed.env_steps_per_second,
        "updates/s": speed.updates_per_second,
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6,
        "parameters": speed.parameters,
    }
