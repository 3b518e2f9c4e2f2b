"""Agents' first networks: one compiled program makes them for every seed."""

from collections.abc import Sequence

import jax

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.engine.keys import INITIAL, stream
from moorl_jax.types import Transitions

# It runs once a seed: to compile it for speed would take twice as long. At level 0 numbers differ in their last bits.
QUICKLY: dict[str, str | bool] = {"xla_backend_optimization_level": "1"}


def initial_states(agents: Sequence[Agent], seeds: tuple[int, ...], example: Transitions) -> list[State]:
    """Return each agent's first state for each seed, agent by agent; it does not depend on the other seeds.

    Agents whose programs are the same, for they differ in what `init` does not use, share the states.

    Orthogonal kernels are made without that program on a CPU. They come from QR decompositions in LAPACK, and two of
    one program, which XLA runs side by side, can deadlock in its threads.
    """
    keys = [stream(seed, INITIAL) for seed in seeds]
    made: dict[str, list[State]] = {}
    states = []
    for agent in agents:
        lowered = jax.jit(agent.init).lower(keys[0], example)
        program = lowered.as_text()
        if program not in made:
            apart = program.count("lapack_") > 1
            initialize = agent.init if apart else lowered.compile(compiler_options=QUICKLY)
            made[program] = [initialize(key, example) for key in keys]
        states += made[program]
    return states
