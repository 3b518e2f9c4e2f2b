"""How fast the agents train here: `python -m benchmarks.speed`.

The online loop of every agent that has one, on Hopper with random data, by the number of seeds: env steps and updates a
second over all seeds, and where a lane's time goes. With --simulators, ways of stepping the simulators instead. Figures
of one call compare with each other; those of two calls may differ with the machine's mood.
"""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

import jax
import mujoco
import numpy as np
import typer
from mujoco import rollout
from rich.progress import track
from rich.table import Table

from moorl_jax.agents import AGENTS, BC, Subroutine
from moorl_jax.cli import guarded
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.devices import usable_cores, use_all_cores
from moorl_jax.engine.evaluation import Evaluator
from moorl_jax.engine.trainer import Trainer, length, returns_rule
from moorl_jax.errors import UnknownNameError
from moorl_jax.nets import Learner
from moorl_jax.phases import Collect, Offline, Online, Phase, Pretrain
from moorl_jax.progress import terminal
from moorl_jax.settings import FAMILIES, settings
from moorl_jax.tasks import Task, find, make_environment
from moorl_jax.types import ReturnsToGo, Transitions

TASK = "hopper-medium-v2"
ROWS = 1_000_000  #: of the dataset, as D4RL's
# Those that learn online by themselves, and not by pausing for another.
ONLINE_AGENTS = tuple(
    name
    for name, agent in AGENTS.items()
    if agent is not BC and not issubclass(agent, Subroutine) and hasattr(FAMILIES[find(TASK).family], name)
)
COSTLY = {"cql": 10, "cal_ql": 10, "rlpd": 20, "moorl": 4, "opt": 10, "opt_spot": 10, "opt_iql": 10}
"""Agents measured over as many times fewer env steps."""

app = typer.Typer(add_completion=False)


@app.command()
@guarded
def speed(
    agents: Annotated[str, typer.Option(help="Agents, separated by commas.")] = ",".join(ONLINE_AGENTS),
    seeds: Annotated[str, typer.Option(help="Numbers of seeds, separated by commas.")] = "1,4,8",
    env_steps: Annotated[
        int, typer.Option(min=10, help="Env steps measured per seed; fewer for costly agents.")
    ] = 1000,
    simulators: Annotated[bool, typer.Option("--simulators", help="Compare ways of stepping simulators.")] = False,
) -> None:
    """Measure and print."""
    use_all_cores()
    if simulators:
        _print_simulators()
        return
    table = Table("agent", "seeds", "env steps/s", "updates/s", "simulate", "update", "evaluate", "other")
    console = terminal()
    cases = [(agent, int(count)) for agent in agents.split(",") for count in seeds.split(",")]
    for agent, count in track(cases, "measuring", console=console, disable=not console.is_terminal):
        measured = measure(agent, count, env_steps)
        shares = (f"{share:.0%}" for share in measured.shares.values())
        rates = (f"{measured.env_steps_per_second:,.0f}", f"{measured.updates_per_second:,.0f}")
        table.add_row(agent, str(count), *rates, *shares)
        if not console.is_terminal:
            console.print(f"{agent}, seeds: {count}, env steps/s: {rates[0]}", highlight=False)
    console.print(table)
    console.print(
        f"Online on {find(TASK).environment}, {ROWS:,} dataset rows, all seeds together; shares of the wall-clock of "
        "training and of one evaluation (one episode a seed) per 5,000 env steps. Compilation is left out.",
        highlight=False,
    )


@dataclass(frozen=True)
class Speed:
    """An agent's online loop, all seeds together."""

    env_steps_per_second: float
    updates_per_second: float
    shares: dict[str, float]  #: of the wall-clock: simulate, update, evaluate, other
    parameters: int  #: of one seed, those that Adam moves


def measure(name: str, count: int, env_steps: int) -> Speed:
    """Time the online loop of an agent, as set for a long run, over `env_steps` of each seed, fewer if it is costly.

    Raises UnknownNameError for an agent without one.
    """
    if name not in ONLINE_AGENTS:
        raise UnknownNameError("online agent", name, ONLINE_AGENTS)
    env_steps = max(20, env_steps // COSTLY.get(name, 1))
    task, warm_up = find(TASK), 40
    # All that comes before its fine-tuning is cut short.
    phases = tuple(
        _shortened(phase, warm_up) if isinstance(phase, Collect | Offline | Pretrain) else phase
        for phase in settings(name, task, warm_up, 300_000).agent.phases(warm_up, 300_000)
    )
    trainer = Trainer(phases, task, _random_data(task, returns_rule(phases)), tuple(range(count)))
    while not isinstance(trainer.current, Online):
        trainer.start(length(trainer.current))()
        trainer.next_phase()
    learning = trainer.current
    trainer.start(warm_up)()
    before = [vars(clock).copy() for clock in trainer.clocks]
    started = time.perf_counter()
    trainer.start(env_steps)()
    seconds = time.perf_counter() - started
    evaluator = Evaluator(task, Normalizer.identity(task.observation_shape), tuple(range(count)), 1)
    policies = evaluator.snapshot(trainer.policies())
    evaluator.evaluate(trainer.agent, policies, 0)  # compiles
    started = time.perf_counter()
    evaluator.evaluate(trainer.agent, policies, 1)
    evaluating = (time.perf_counter() - started) * env_steps / 5_000
    evaluator.close()
    changed = trainer.carries()
    trainer.close()
    simulate, update = (
        float(np.mean([getattr(clock, use) - old[use] for clock, old in zip(trainer.clocks, before, strict=True)]))
        for use in ("simulate", "update")
    )
    spent = {"simulate": simulate, "update": update, "evaluate": evaluating, "other": seconds - simulate - update}
    learners = jax.tree.leaves(changed, is_leaf=lambda part: isinstance(part, Learner))
    parameters = sum(
        leaf.size for part in learners if isinstance(part, Learner) for leaf in jax.tree.leaves(part.params)
    )
    rate = count * env_steps / seconds
    shares = {use: value / (seconds + evaluating) for use, value in spent.items()}
    return Speed(rate, rate * learning.utd, shares, parameters // count)


def _shortened(phase: Collect | Offline | Pretrain, count: int) -> Phase:
    if isinstance(phase, Collect):
        return dataclasses.replace(phase, env_steps=count)
    return dataclasses.replace(phase, updates=count)


def _random_data(task: Task, returns: ReturnsToGo | None) -> Prepared:
    rng = np.random.default_rng(0)
    observation, action = task.observation_shape, (task.action_size,)
    columns: dict[str, Any] = {
        "observations": rng.standard_normal((ROWS, *observation), np.float32),
        "actions": rng.uniform(-0.99, 0.99, (ROWS, *action)).astype(np.float32),
        "rewards": rng.standard_normal(ROWS, np.float32),
        "next_observations": rng.standard_normal((ROWS, *observation), np.float32),
        "terminals": np.zeros(ROWS, np.float32),
        "mc_returns": np.zeros(ROWS, np.float32) if returns else None,
    }
    return Prepared(Transitions(**columns), Normalizer.identity(observation))


def _print_simulators() -> None:
    """Print env steps a second of some simulators stepped together, by the way they are stepped."""
    table = Table("environment", "simulators", "gymnasium", "gymnasium, threads", "mujoco.rollout, physics only")
    for name in ("hopper-medium-v2", "halfcheetah-medium-v2", "walker2d-medium-v2"):
        task = find(name)
        for count in (1, 4, 8):
            rates = [_rate(way(task, count), count) for way in (_in_turn, _in_threads, _by_rollout)]
            table.add_row(task.environment, str(count), *(f"{rate:,.0f}" for rate in rates))
    terminal().print(table)


def _rate(step: Callable[[], None], count: int, steps: int = 500) -> float:
    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return count * steps / (time.perf_counter() - started)


def _one(task: Task) -> Callable[[], None]:
    """Return a function that takes a random step of a simulator of its own."""
    environment, rng = make_environment(task), np.random.default_rng(0)
    environment.reset(seed=0)

    def step() -> None:
        _, _, terminal, timeout, _ = environment.step(rng.uniform(-1.0, 1.0, task.action_size).astype(np.float32))
        if terminal or timeout:
            environment.reset()

    return step


def _in_turn(task: Task, count: int) -> Callable[[], None]:
    simulators = [_one(task) for _ in range(count)]

    def step() -> None:
        for simulator in simulators:
            simulator()

    return step


def _in_threads(task: Task, count: int) -> Callable[[], None]:
    simulators, pool = [_one(task) for _ in range(count)], ThreadPoolExecutor(usable_cores())

    def step() -> None:
        list(pool.map(lambda simulator: simulator(), simulators))

    return step


def _by_rollout(task: Task, count: int) -> Callable[[], None]:
    """Step MuJoCo's own batch: no observation, no reward, no reset, which would be ours to write for each task."""
    environment = make_environment(task)
    environment.reset(seed=0)
    inner = environment.unwrapped
    model, skip = inner.model, inner.frame_skip  # type: ignore[attr-defined]
    datas, rng = [mujoco.MjData(model) for _ in range(usable_cores())], np.random.default_rng(0)
    kind = mujoco.mjtState.mjSTATE_FULLPHYSICS
    start = np.zeros(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, inner.data, start, kind)  # type: ignore[attr-defined]
    states, batch = np.tile(start, (count, 1)), rollout.Rollout(nthread=usable_cores())

    def step() -> None:
        control = np.repeat(rng.uniform(-1.0, 1.0, (count, 1, model.nu)), skip, axis=1)
        after, _ = batch.rollout([model] * count, datas, states, control)
        states[:] = after[:, -1]

    return step


if __name__ == "__main__":
    app()
