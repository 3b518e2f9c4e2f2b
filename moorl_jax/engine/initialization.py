"""An agent's first networks: one compiled program makes them for every seed."""

import jax

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.engine.keys import INITIAL, stream
from moorl_jax.types import Transitions

# It runs once a seed: to compile it for speed would take twice as long. At level 0 numbers differ in their last bits.
QUICKLY: dict[str, str | bool] = {"xla_backend_optimization_level": "1"}


def initial_states(agent: Agent, seeds: tuple[int, ...], example: Transitions) -> list[State]:
    """Return the agent's first state for each seed; it does not depend on the other seeds.

    Orthogonal kernels are made without that program on a CPU. They come from QR decompositions in LAPACK, and two of
    one program, which XLA runs side by side, can wait for each other for ever in its threads.
    """
    keys = [stream(seed, INITIAL) for seed in seeds]
    lowered = jax.jit(agent.init).lower(keys[0], example)
    if lowered.as_text().count("lapack_") > 1:
        return [agent.init(key, example) for key in keys]
    initialize = lowered.compile(compiler_options=QUICKLY)
    return [initialize(key, example) for key in keys]
