"""What holds for every agent's recipe."""

import pytest

from moorl_jax.agents import AGENTS, BC, SACN, Subroutine
from moorl_jax.errors import MoorlError

ONLINE = [name for name, agent in AGENTS.items() if not issubclass(agent, BC | SACN | Subroutine)]


@pytest.mark.parametrize("name", ONLINE)
def test_a_recipe_ends_with_the_phase_that_the_agent_says_it_learns_online_in(name):
    agent = AGENTS[name]()
    last, online = agent.phases(10, 60_000)[-1], agent.online(10)
    assert (last.agent, last.sampling, last.utd) == (online.agent, online.sampling, online.utd)
    assert online.env_steps == 10
    assert 0 < last.env_steps <= 60_000


@pytest.mark.parametrize("name", sorted(set(AGENTS) - set(ONLINE)))
def test_the_others_say_that_they_do_not_learn_online_by_themselves(name):
    with pytest.raises(MoorlError, match=r"does not learn online|cannot be the learner of another"):
        AGENTS[name]().online(10)


@pytest.mark.parametrize("name", sorted(set(AGENTS) - set(ONLINE)))
def test_without_env_steps_those_that_learn_offline_alone_do(name):
    if issubclass(AGENTS[name], BC | SACN):
        assert [phase.length for phase in AGENTS[name]().phases(10, 0)] == [10]
