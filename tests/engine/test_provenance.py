import json

import pytest

from moorl_jax.agents import AGENTS, OPT, OPTSPOT, SPOT, TD3BC
from moorl_jax.engine.provenance import agent_fields, agent_name, rebuild_agent
from moorl_jax.errors import MoorlError
from moorl_jax.replay import Balanced, Mixed
from moorl_jax.settings import FAMILIES, settings
from moorl_jax.tasks import find


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_is_made_again_from_what_was_written(name):
    task = "vd4rl-cheetah_run-medium" if hasattr(FAMILIES["vd4rl"], name) else "hopper-medium-v2"
    agent = settings(name, find(task), 1000, 1000).agent
    written = json.loads(json.dumps(agent_fields(agent)))
    assert rebuild_agent(agent_name(agent), written) == agent


def test_agents_and_rules_within_an_agent_keep_their_class():
    for agent in (OPT(backbone=SPOT(beta=0.25), replay=Mixed(0.3)), OPTSPOT(replay=Balanced(hidden=(7,)))):
        assert rebuild_agent(agent_name(agent), json.loads(json.dumps(agent_fields(agent)))) == agent


def test_what_cannot_be_written_is_named():
    with pytest.raises(MoorlError, match=r"TD3BC\.alpha"):
        agent_fields(TD3BC(alpha=float("nan")))
    with pytest.raises(MoorlError, match=r"TD3BC\.alpha"):
        agent_fields(OPT(backbone=TD3BC(alpha=float("nan"))))
