"""`python -m benchmarks.speed`: measure, print and write tables of speed. `make speed` calls it.

Figures of one call compare with each other; those of two calls may differ with the machine's mood.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import jax
import pandas as pd
import typer
from rich.progress import track

from benchmarks.speed import cost, offline, online, simulators, start, whole_runs
from benchmarks.speed.roofline import ROWS, Clock, roofline
from moorl_jax.cli.options import guarded
from moorl_jax.cores import usable_cores
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.errors import UnknownNameError
from moorl_jax.nets import matmul_precision
from moorl_jax.progress import terminal
from moorl_jax.tasks import find
from moorl_jax.whole import whole

app = typer.Typer(add_completion=False)
#: The agents that each part measures.
PARTS: dict[str, tuple[str, ...]] = {
    "offline": offline.AGENTS_MEASURED,
    "online": online.ONLINE_AGENTS,
    "whole": whole_runs.AGENTS_MEASURED,
    "cost": online.ONLINE_AGENTS,
    "simulators": (),
    "start": start.AGENTS_MEASURED,
}
Row = dict[str, object]
Rows = Iterator[Row]
SHARES = ("simulate", "update", "evaluate", "other")


@app.command()
@guarded
def speed(
    parts: Annotated[str, typer.Option(help=f"What to measure, of {', '.join(PARTS)}.")] = "offline,online",
    agents: Annotated[str, typer.Option(help="Agents, separated by commas; all by default.")] = "",
    seeds: Annotated[str, typer.Option(help="Numbers of seeds; 1,2,4,8 on a CPU, 1,4,10,16,64 elsewhere.")] = "",
    env_steps: Annotated[
        int, typer.Option(min=10, help="Env steps measured per seed online; fewer for costly agents.")
    ] = 1000,
    processor_time: Annotated[
        bool,
        typer.Option(
            "--processor-time",
            help="Count offline updates a second of processor time, which other work on the machine disturbs least; on "
            "one core by `taskset -c 0`.",
        ),
    ] = False,
    results: Annotated[Path, typer.Option(help="Directory of results.")] = Path("results"),
) -> None:
    """Measure how fast the agents train here."""
    use_all_cores()
    console = terminal()
    measuring = _measuring(parts.split(","), [agent for agent in agents.split(",") if agent])
    counts = [int(c) for c in (seeds or ("1,2,4,8" if jax.default_backend() == "cpu" else "1,4,10,16,64")).split(",")]
    kind = jax.local_devices()[0].device_kind.lower().replace(" ", "-")
    if matmul_precision() != "highest":
        kind += f"-{matmul_precision()}"
    folder = results / "speed" / kind
    for part, measured in measuring.items():
        # A table of some agents stands beside that of all.
        stem = part if measured == PARTS[part] else f"{part}-{'+'.join(measured)}"
        if processor_time and part == "offline":
            stem += "-processor-time"
        coming, total = {
            "offline": (_offline(measured, counts, processor_time), len(measured)),
            "online": (_online(measured, counts, env_steps), len(measured)),
            "whole": (_whole(measured, counts), len(measured) * len(counts)),
            "cost": (cost.rows(measured, env_steps), len(measured)),
            "simulators": (simulators.rows(), simulators.NUMBER),
            "start": (start.rows(measured), 1 + 2 * len(measured)),
        }[part]
        rows: list[Row] = []
        for row in track(coming, f"measuring {part}", total, console=console, disable=not console.is_terminal):
            rows.append(row)
            table = pd.DataFrame(rows)
            # A run cut short keeps what it has measured.
            text = _write(part, cost.beside_references(table) if part == "cost" else table, folder / stem)
            if not console.is_terminal:
                console.print(", ".join(f"{k} {v if isinstance(v, str) else f'{v:.3g}'}" for k, v in row.items()))
        console.print(f"{text}\nwritten: {folder / stem}.md and .csv", highlight=False, soft_wrap=True)


def _measuring(parts: list[str], chosen: list[str]) -> dict[str, tuple[str, ...]]:
    """Return the agents that each part measures: those chosen, or all it knows.

    Raises UnknownNameError for a part or an agent that there is not, or that none of the parts measures.
    """
    for part in parts:
        if part not in PARTS:
            raise UnknownNameError("part", part, PARTS)
    known = {agent for part in parts for agent in PARTS[part]}
    for agent in chosen:
        if agent not in known:
            raise UnknownNameError(f"agent of {', '.join(parts)}", agent, sorted(known))
    measuring = {part: tuple(agent for agent in PARTS[part] if agent in chosen or not chosen) for part in parts}
    return {part: agents for part, agents in measuring.items() if agents or not PARTS[part]}


def _offline(agents: tuple[str, ...], counts: list[int], processor_time: bool) -> Rows:
    clock: Clock = time.process_time if processor_time else time.perf_counter
    for agent in agents:
        row: Row = {"agent": agent}
        prepared = offline.data(agent)
        measured = {count: offline.measure(agent, count, prepared, clock) for count in counts}
        for count, here in measured.items():
            row[f"updates/s, {count}"] = here.updates_per_second
            row[f"of roofline, {count}"] = here.share
        row["GFLOP an update"] = measured[counts[0]].gigaflops
        seconds = counts[0] * offline.measure_evaluation(agent, prepared)
        between = counts[0] * offline.EVERY / measured[counts[0]].updates_per_second
        row["evaluate"] = seconds / (seconds + between)
        rates = {count: here.updates_per_second for count, here in measured.items()}
        loop = offline.measure_loop(agent, prepared, clock)
        yield row | _compared(rates, loop, measured[counts[0]].compile_seconds)


def _online(agents: tuple[str, ...], counts: list[int], env_steps: int) -> Rows:
    for agent in agents:
        row: Row = {"agent": agent}
        measured = {c: online.measure(agent, c, env_steps, beside_loop=c == counts[0]) for c in counts}
        for count, here in measured.items():
            row[f"env steps/s, {count}"] = here.env_steps_per_second
            row[f"updates/s, {count}"] = here.updates_per_second
            row[f"of roofline, {count}"] = here.roofline
        row |= measured[counts[-1]].shares
        rates = {count: here.updates_per_second for count, here in measured.items()}
        yield row | _compared(rates, measured[counts[0]].loop, measured[counts[0]].compile_seconds)


def _whole(agents: tuple[str, ...], counts: list[int]) -> Rows:
    dataset = whole_runs.data()
    for agent in agents:
        for count in counts:
            yield {"agent": agent, "seeds": count, **whole_runs.measure(agent, count, dataset)}


def _compared(rates: dict[int, float], loop: float, compiling: float) -> Row:
    """Return what several seeds cost in terms of one, by updates a second, and how a plain loop compares."""
    (one, alone), *more = rates.items()
    costs = {f"cost of {count}": count / one * alone / rate for count, rate in more}
    return {**costs, "plain loop, updates/s": loop, f"ratio at {one}": alone / loop, "compile, s": compiling}


def _write(part: str, table: pd.DataFrame, path: Path) -> str:
    """Write the table to `path` with .csv and .md behind it; return what the latter says."""
    with whole(path.with_name(path.name + ".csv")) as partial:
        table.to_csv(partial, index=False, float_format="%.4g")
    device = f"{jax.local_device_count()} x {jax.local_devices()[0].device_kind}, jax {jax.__version__}"
    what = {
        "offline": f"Updates on a dataset, in the sizes of {find(offline.TASK).environment}: all seeds together. "
        f"Evaluate: share of {offline.EPISODES} episodes of 1,000 steps in the time that they and {offline.EVERY:,} "
        "updates take, one after the other, with the fewest seeds; beside an accelerator both go on at once.",
        "online": f"The online loop on {find(online.TASK).environment}: all seeds together, evaluations left out. With "
        "the most seeds, shares of the wall-clock.",
        "whole": f"Seconds of a whole run on {find(whole_runs.TASK).name} (embedded), evaluated twenty times, by use.",
        "cost": f"What an env step costs online, with its updates: {find(online.TASK).environment}, one seed, agents "
        f"as set for 300k env steps, {ROWS:,} dataset rows of random numbers, compilation left out. Peak memory is the "
        "process's, dataset and buffer included. Parameters are those that Adam moves, a sampling rule's among them.",
        "simulators": "Env steps a second of all simulators: stepped one after another, and together on "
        f"{usable_cores()} cores; the ratio is the median of those of turns side by side. An evaluation is of episodes "
        f"of {simulators.HORIZON} steps, with the policy's actions.",
        "start": f"`moorl-jax train --task {start.TASK}` with one seed, in a new process, to its first two "
        "updates and the scores of one episode; programs kept: by the run before.",
    }[part]
    told = f"{what} {device}."
    if path.name.endswith("-processor-time"):
        told += " Seconds are of processor time, summed over cores."
    if part in ("offline", "online"):
        told += (
            f" {ROWS:,} random transitions. Roofline: products of square float32 matrices on all devices, measured in "
            f"the same run, {roofline():,.0f} GFLOP/s at its end; an update's arithmetic is what XLA counts. Cost: "
            "wall-clock of so many seeds, in those of the fewest. Plain loop: the same update, one jitted call after "
            "another from Python, one seed, without env steps, on uniform batches drawn in NumPy; the ratio is ours to "
            "it. Compile: all programs of an agent; left out of all else."
        )
    shown = table.copy()
    for column in table.select_dtypes("number"):
        form = ".1%" if "roofline" in str(column) or column in SHARES else ",.3g"
        shown[column] = [f"{value:{form}}" for value in table[column]]
    text = f"{shown.to_markdown(index=False, disable_numparse=True)}\n\n{told}\n"
    with whole(path.with_name(path.name + ".md")) as partial:
        partial.write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    app()
