"""The study `cost`: what an env step takes, for each agent beside SAC and TD3 in the same run.

The table that OPT's and MOORL's papers lack.
"""

import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import track

from benchmarks.budgets import Budget
from benchmarks.speed.online import ONLINE_AGENTS, TASK, measure
from benchmarks.speed.roofline import ROWS
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.processes import WORKERS
from moorl_jax.tasks import find
from moorl_jax.whole import whole

NAME = "cost"
REFERENCES = ("sac", "td3_bc")
ENV_STEPS = {"quick": 400, "short": 2_000, "paper": 10_000}  #: measured by budget; fewer for costly agents


def run(budget: Budget, directory: Path, console: Console) -> None:
    """Measure every agent's online loop with one seed, print the table and write it."""
    rows = []
    for agent in track(ONLINE_AGENTS, "measuring", console=console, disable=not console.is_terminal):
        # A process each, so that memory is its own.
        with ProcessPoolExecutor(1, WORKERS) as pool:
            rows.append(pool.submit(_row, agent, ENV_STEPS[budget.name]).result())
        if not console.is_terminal:
            console.print(f"{agent}: {rows[-1]['s per 1k env steps']:.1f} s per 1k env steps", highlight=False)
    table = pd.DataFrame(rows)
    seconds = table.set_index("agent")["s per 1k env steps"]
    for place, reference in enumerate(REFERENCES):
        table.insert(4 + place, f"relative to {reference}", (table["s per 1k env steps"] / seconds[reference]))
    with whole(directory / "table.csv") as partial:
        table.to_csv(partial, index=False, float_format="%.4g")
    caption = (
        f"What an env step costs online, with its updates: {find(TASK).environment}, one seed, agents as set for 300k "
        f"env steps, {ROWS:,} dataset rows of random numbers, compilation left out. Peak memory is the process's, "
        "dataset and buffer included. Parameters are those that Adam moves, a sampling rule's among them."
    )
    markdown = table.to_markdown(index=False, floatfmt=("", "d", ".1f", ",.0f", ".2f", ".2f", ",.0f", ",d"))
    with whole(directory / "table.md") as partial:
        partial.write_text(f"{markdown}\n\n{caption}\n", encoding="utf-8")
    console.print(markdown, highlight=False, soft_wrap=True)
    console.print(f"\n{caption}\nwritten: {directory}", highlight=False)


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
