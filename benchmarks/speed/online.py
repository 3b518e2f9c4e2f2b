"""The online loop of an agent: env steps and updates a second, and where a lane's time goes."""

import dataclasses
import time
from dataclasses import dataclass

import jax
import numpy as np

from benchmarks.speed.roofline import gigaflops, plain_loop, random_data, roofline
from moorl_jax.agents import AGENTS, BC, QC, QCFQL, SACN, Subroutine
from moorl_jax.engine.recipes import needs_next_actions, returns_rule
from moorl_jax.engine.trainer import Trainer
from moorl_jax.errors import UnknownNameError
from moorl_jax.nets import Learner
from moorl_jax.phases import Collect, Offline, Online, Phase, Pretrain
from moorl_jax.settings import settings, suits
from moorl_jax.tasks import find

TASK = "hopper-medium-v2"
OFFLINE_ALONE = (BC, SACN)  #: agents that do not learn online
OF_CHUNKS = (QC, QCFQL)  #: agents whose batches the plain loop does not draw, so they are not measured
# Those that learn online by themselves, and not by pausing for another.
ONLINE_AGENTS = tuple(
    name
    for name, agent in AGENTS.items()
    if not issubclass(agent, (*OFFLINE_ALONE, *OF_CHUNKS, Subroutine)) and suits(name, find(TASK))
)
WINDOWS = 5  #: of which the median counts
#: Agents measured over as many times fewer env steps.
COSTLY = {"rebrac": 4, "fql": 20, "ifql": 10, "cql": 10, "cal_ql": 10, "rlpd": 20, "moorl": 4} | dict.fromkeys(
    ("opt", "opt_spot", "opt_iql"), 10
)


@dataclass(frozen=True)
class Speed:
    """An agent's online loop, all seeds together."""

    env_steps_per_second: float
    updates_per_second: float
    shares: dict[str, float]  #: of the wall-clock: simulate, update, other
    roofline: float  #: share of it, measured right before and after, while updates run
    parameters: int  #: of one seed, those that Adam moves
    compile_seconds: float  #: of all programs that the agent goes through, those before its online phase among them
    loop: float  #: updates a second of the same update in a plain Python loop without env steps, NaN unless asked for


def measure(name: str, count: int, env_steps: int, beside_loop: bool = False) -> Speed:
    """Time the online loop of an agent, as set for a long run, over `env_steps` of each seed, fewer if it is costly.

    Raises UnknownNameError for an agent without one.
    """
    if name not in ONLINE_AGENTS:
        raise UnknownNameError("online agent", name, ONLINE_AGENTS)
    window = max(20, env_steps // COSTLY.get(name, 1)) // WINDOWS
    task, warm_up = find(TASK), 40
    # All that comes before its fine-tuning is cut short.
    phases = tuple(
        _shortened(phase, warm_up) if isinstance(phase, Collect | Offline | Pretrain) else phase
        for phase in settings(name, task, warm_up, 300_000).agent.phases(warm_up, 300_000)
    )
    prepared = random_data(task, returns_rule(phases), needs_next_actions(phases))
    trainer = Trainer([phases], task, prepared, tuple(range(count)))
    while not isinstance(trainer.current, Online):
        trainer.start(trainer.left)()
        trainer.next_phase()
    learning = trainer.current
    trainer.start(warm_up)()
    walls, clocks, roofs = [], [_clocked(trainer)], [roofline()]
    for _ in range(WINDOWS):
        started = time.perf_counter()
        trainer.start(window)()
        walls.append(time.perf_counter() - started)
        clocks.append(_clocked(trainer))
        roofs.append(roofline())
    changed = trainer.carries()
    compiling = trainer.clocks[0].compile
    trainer.close()
    spent = {use: clocks[-1][use] - clocks[0][use] for use in clocks[0]}
    spent["other"] = sum(walls) - sum(spent.values())
    learners = jax.tree.leaves(changed, is_leaf=lambda part: isinstance(part, Learner))
    parameters = sum(
        leaf.size for part in learners if isinstance(part, Learner) for leaf in jax.tree.leaves(part.params)
    )
    rate = count * window / float(np.median(walls))
    state = jax.tree.map(lambda leaf: leaf[0], changed.state)
    done = count * window * learning.utd * gigaflops(trainer.agents[0], state, prepared)
    updating = np.diff([clock["update"] for clock in clocks])
    shares = done / updating / np.convolve(roofs, [0.5, 0.5], mode="valid")
    loop = plain_loop(trainer.agents[0], state, prepared, WINDOWS * window * learning.utd) if beside_loop else np.nan
    return Speed(
        env_steps_per_second=rate,
        updates_per_second=rate * learning.utd,
        shares={use: seconds / sum(walls) for use, seconds in spent.items()},
        roofline=float(np.median(shares)),
        parameters=parameters // count,
        compile_seconds=compiling,
        loop=loop,
    )


def _clocked(trainer: Trainer) -> dict[str, float]:
    """Return the seconds spent so far on simulators and on updates, means over the lanes."""
    return {use: float(np.mean([getattr(clock, use) for clock in trainer.clocks])) for use in ("simulate", "update")}


def _shortened(phase: Collect | Offline | Pretrain, count: int) -> Phase:
    if isinstance(phase, Collect):
        return dataclasses.replace(phase, env_steps=count)
    return dataclasses.replace(phase, updates=count)
