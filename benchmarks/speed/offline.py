"""Offline updates: how many a second, how near to what the machine can multiply, and beside a plain Python loop."""

import time
from dataclasses import dataclass

import jax
import numpy as np

from benchmarks.speed.online import OF_CHUNKS, OFFLINE_ALONE
from benchmarks.speed.roofline import Clock, gigaflops, plain_loop, random_data, roofline
from moorl_jax.agents import AGENTS, OPT, Agent, Subroutine
from moorl_jax.agents.contract import State
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.evaluation import Evaluator
from moorl_jax.engine.recipes import needs_next_actions, returns_rule
from moorl_jax.engine.trainer import Trainer
from moorl_jax.errors import UnknownNameError
from moorl_jax.phases import Offline, Online
from moorl_jax.settings import settings, suits
from moorl_jax.tasks import find

TASK = "walker2d-medium-v2"  #: 17 observations, 6 actions
# OPT's updates need its balanced replay, and are measured in its online loop.
AGENTS_MEASURED = tuple(
    name
    for name, agent in AGENTS.items()
    if suits(name, find(TASK)) and not issubclass(agent, (OPT, *OF_CHUNKS, Subroutine))
)
# Windows of about two seconds, on a CPU: what else a machine does slows it from minute to minute, and a window and the
# products beside it alike.
UPDATES = {"cpu": 240}  #: of each seed in a measured window; elsewhere 4800
LOOP_UPDATES = 1_500  #: of the plain loop
WINDOWS = 9  #: of which the median counts
#: Agents measured over as many times fewer.
COSTLY = {
    "cql": 20,
    "cal_ql": 20,
    "sac_n": 20,
    "edac": 20,
    "fql": 20,
    "ifql": 10,
    "rlpd": 8,
    "rebrac": 8,
    "spot": 2,
    "moorl": 2,
}
# Of the same sizes, and in it no episode ends before its 1,000 steps: evaluations cost the most that they can.
EVALUATED, EPISODES, EVERY = "halfcheetah-medium-v2", 10, 5_000


@dataclass(frozen=True)
class OfflineSpeed:
    """An agent's updates on a dataset, all seeds together."""

    updates_per_second: float
    share: float  #: of the roofline measured right before and after
    gigaflops: float  #: of an update
    compile_seconds: float


def measure(name: str, count: int, prepared: Prepared, clock: Clock = time.perf_counter) -> OfflineSpeed:
    """Time an agent's updates on random data with so many seeds; raise UnknownNameError for one that has none here."""
    agent, updates = _updating(name), _window(name)
    trainer = Trainer([(Offline(agent, 2 * WINDOWS * updates),)], find(TASK), prepared, tuple(range(count)))
    trainer.start(updates)()  # compiles
    rates, roofs = [], [roofline(clock=clock)]
    for _ in range(WINDOWS):
        started = clock()
        trainer.start(updates)()
        rates.append(count * updates / (clock() - started))
        roofs.append(roofline(clock=clock))
    rate = float(np.median(rates))
    per_roof = float(np.median(rates / np.convolve(roofs, [0.5, 0.5], mode="valid")))
    state = jax.tree.map(lambda leaf: leaf[0], trainer.states())
    compiling = trainer.clocks[0].compile
    trainer.close()
    cost = gigaflops(agent, state, prepared)
    return OfflineSpeed(rate, cost * per_roof, cost, compiling)


def measure_loop(name: str, prepared: Prepared, clock: Clock = time.perf_counter) -> float:
    """Return the updates a second of the same update in a plain Python loop, of one seed."""
    agent = _updating(name)
    return plain_loop(agent, _fresh(agent, prepared), prepared, LOOP_UPDATES // COSTLY.get(name, 1), clock)


def measure_evaluation(name: str, prepared: Prepared) -> float:
    """Return the seconds of an evaluation of one seed, by ten whole episodes."""
    task, agent = find(EVALUATED), _updating(name)
    evaluator = Evaluator(task, Normalizer.identity(task.observation_shape), (0,), EPISODES)
    one = jax.tree.map(lambda leaf: leaf[None], agent.policy(_fresh(agent, prepared)))  # a leading axis of seeds
    policies = evaluator.snapshot(one)
    evaluator.evaluate(agent, policies, 0)  # compiles
    started = time.perf_counter()
    evaluator.evaluate(agent, policies, 1)
    seconds = time.perf_counter() - started
    evaluator.close()
    return seconds


def data(name: str) -> Prepared:
    """Return random data with all that the agent's update reads."""
    phases = (Offline(_updating(name), 1),)
    return random_data(find(TASK), returns_rule(phases), needs_next_actions(phases))


def _window(name: str) -> int:
    """Return the updates of each seed in a measured window, whole cycles of the agent."""
    cycle = len(_updating(name).cycle())
    return -(-UPDATES.get(jax.default_backend(), 4_800) // COSTLY.get(name, 1) // cycle) * cycle


def _fresh(agent: Agent, prepared: Prepared) -> State:
    return agent.init(jax.random.key(0), jax.tree.map(lambda leaf: leaf[:1], prepared.transitions))


def _updating(name: str) -> Agent:
    """Return the agent that learns in the named one's offline phase, or online if it has none."""
    if name not in AGENTS_MEASURED:
        raise UnknownNameError("agent", name, AGENTS_MEASURED)
    spent = (1_000_000, 0 if issubclass(AGENTS[name], OFFLINE_ALONE) else 300_000)
    phases = settings(name, find(TASK), *spent).agent.phases(*spent)
    offline = [phase.agent for phase in phases if isinstance(phase, Offline) and phase.evaluated]
    return offline[0] if offline else next(phase.agent for phase in phases if isinstance(phase, Online))
