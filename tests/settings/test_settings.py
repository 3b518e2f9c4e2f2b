import pytest

from moorl_jax.agents import AGENTS
from moorl_jax.data import Preparation
from moorl_jax.settings import FAMILIES, settings
from moorl_jax.tasks import find

HOPPER = find("hopper-medium-v2")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_page_sets_every_agent(family):
    assert set(FAMILIES[family]) == set(AGENTS)


@pytest.mark.parametrize(
    ("agent", "preparation"),
    [
        ("bc", Preparation(normalize_observations=True)),
        ("td3_bc", Preparation(normalize_observations=True)),
        ("iql", Preparation(normalize_returns=True, action_limit=1 - 1e-5)),
        ("cql", Preparation(action_limit=0.999)),
    ],
)
def test_locomotions_data_is_prepared_as_each_author_did(agent, preparation):
    chosen = settings(agent, HOPPER, 1000)
    assert type(chosen.agent) is AGENTS[agent]
    assert chosen.preparation == preparation


def test_iqls_actor_rate_falls_over_the_budget():
    assert settings("iql", HOPPER, 1234).agent.actor_decay_updates == 1234


def test_a_users_agent_gets_its_defaults_and_the_data_as_it_is(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from moorl_jax.agents import BC\n\n\nclass Mine(BC):\n    learning_rate: float = 0.5\n")
    chosen = settings(f"{file}:Mine", HOPPER, 10)
    assert chosen.agent.learning_rate == 0.5
    assert chosen.preparation == Preparation()
