"""Depth, activation and normalization are settings of every agent's networks."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from moorl_jax.agents import AGENTS, Agent
from moorl_jax.agents.spot import BehaviourVAE
from moorl_jax.nets import LAYER_NORMS
from moorl_jax.types import Transitions

SMALL = {"hidden": (4, 4, 4), "batch_size": 2}
WITHIN = [name for name, kind in AGENTS.items() if any(isinstance(value, Agent) for value in vars(kind()).values())]
FROM_IMAGES = [name for name in AGENTS if "drq" in name or "pixel" in name]
ALONE = [name for name in AGENTS if name not in (*WITHIN, *FROM_IMAGES)]

QUICK = ("td3_bc", "cql")


def batch(images, span=None):
    observations = jnp.zeros((2, 84, 84, 9), jnp.uint8) if images else jnp.zeros((2, 5))
    actions = jnp.zeros((2, 2))
    scalars = jnp.zeros(2)
    more = {"mc_returns": scalars, "next_actions": actions}
    if span:
        more = {"valid": jnp.ones((2, span.steps))}
        actions = jnp.zeros((2, span.steps, 2))
    return Transitions(observations, actions, scalars, observations, scalars, **more)


def started(agent, images):
    """The shapes of an agent's first state, and a batch."""
    given = batch(images, agent.chunks())
    example = given.replace(actions=given.actions[:, 0]) if given.actions.ndim == 3 else given
    return jax.eval_shape(agent.init, jax.random.key(0), jax.tree.map(lambda leaf: leaf[:1], example)), given


@pytest.mark.parametrize(
    ("name", "activation"),
    [
        ("bc", "relu"),
        *((name, "gelu") for name in ("vae", *QUICK)),
        *(pytest.param(name, "gelu", marks=pytest.mark.slow) for name in ALONE if name not in QUICK),
    ],
)
def test_an_activation_is_that_of_all_networks(name, activation):
    """Of updates and of actions; a gelu has no relu in it."""
    agent = (BehaviourVAE if name == "vae" else AGENTS[name])(**SMALL, activation=activation)
    state, given = started(agent, images=False)
    draws = jax.eval_shape(agent.draw, jax.random.key(0), given)
    programs = [jax.make_jaxpr(update)(state, given, draws) for update in dict.fromkeys(agent.cycle())]
    programs.append(jax.make_jaxpr(agent.greedy)(jax.eval_shape(agent.policy, state), given.observations))
    assert {"name=relu" in str(program) for program in programs} == {activation == "relu"}


@pytest.mark.parametrize("name", [*ALONE, *FROM_IMAGES])
def test_layers_can_be_normalized_and_are_as_many_as_asked(name):
    kind = AGENTS[name]
    switches = [field.name for field in dataclasses.fields(kind) if field.name.endswith("layer_norm")]
    state, _ = started(kind(**SMALL, **dict.fromkeys(switches, True)), name in FROM_IMAGES)
    paths = ["".join(map(str, path)) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    marks = [f"['{mark}0']" for mark, _ in LAYER_NORMS.values()]
    for part in {"actor", "critic"} & set(vars(state)):
        assert any(f".{part}." in path and mark in path for path in paths for mark in marks), part
        assert any(f".{part}." in path and "['layer3']" in path for path in paths), part
