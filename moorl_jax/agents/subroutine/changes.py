"""How a subroutine's state changes between phases."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents.contract import Agent, State
from moorl_jax.agents.subroutine.state import SubroutineState
from moorl_jax.replay import Experience
from moorl_jax.replay.history import episode_numbers
from moorl_jax.types import Array, Transitions


def begin_pause(
    state: SubroutineState, _key: Array, _example: Transitions, *, names: tuple[str, ...]
) -> SubroutineState:
    """Begin a pause with no candidates yet, except the learner if it is one."""
    return SubroutineState(
        learner=state.learner,
        candidates={"learner": state.learner} if "learner" in names else {},
        scores=dict.fromkeys(names, jnp.zeros((), jnp.float32)),
        reward_scale=jnp.ones((), jnp.float32),
    )


def measure_scale(state: SubroutineState, _key: Array, experience: Experience) -> SubroutineState:
    """Set the reward scale to 1000 / (max - min episode return) so far, IQL's rule; it then stays fixed."""
    assert experience.ends is not None
    returns = np.bincount(episode_numbers(experience.ends), experience.online.rows.rewards[: len(experience.ends)])
    span = np.ptp(returns) if len(returns) else 0.0  # of a seed that diverged before it took a step
    return state.replace(reward_scale=jnp.asarray(1000.0 / span if span > 0 else 1.0, jnp.float32))


def begin_training(state: SubroutineState, key: Array, example: Transitions, *, agent: Agent) -> SubroutineState:
    """Begin an offline training from scratch."""
    return state.replace(offline=agent.init(key, example))


def keep(state: SubroutineState, _key: Array, _example: Transitions, *, name: str) -> SubroutineState:
    """Save the current offline state as a candidate."""
    return state.replace(candidates=state.candidates | {name: state.offline})


def leave_pause(state: SubroutineState, _key: Array, _example: Transitions) -> SubroutineState:
    """Go on with the learner alone."""
    return SubroutineState(learner=state.learner)


def take_over(
    state: SubroutineState, _key: Array, _example: Transitions, *, preferred: tuple[str, ...]
) -> SubroutineState:
    """Go on with the chosen candidate."""
    candidates = [state.candidates[name] for name in preferred]
    chosen = jax.tree.map(lambda *leaves: jnp.stack(leaves)[state.choice], *candidates)
    return SubroutineState(tuned=chosen, reward_scale=state.reward_scale)


def change_tuned(
    state: SubroutineState, key: Array, example: Transitions, *, change: Callable[..., State]
) -> SubroutineState:
    """Apply a `Switch` of the algorithm's own recipe to the tuned part."""
    return state.replace(tuned=change(state.tuned, key, example))
