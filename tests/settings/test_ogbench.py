"""OGBench's page, on tasks as the catalogue would have them."""

import dataclasses

import pytest

from moorl_jax.agents import AGENTS
from moorl_jax.config import require_bounds
from moorl_jax.data import Preparation
from moorl_jax.settings import Settings, changes, ogbench, settings, suits
from moorl_jax.tasks import find

OURS = ("pointmaze-medium", "antmaze-medium", "humanoidmaze-giant", "antsoccer-medium", "cube-quadruple", "puzzle-4x6")


def task(subject):
    return dataclasses.replace(find("pen-human-v1"), name=f"ogbench-{subject}", family="ogbench", subject=subject)


@pytest.mark.parametrize(
    ("subject", "discount", "target_value", "alpha", "temperature", "penalties", "samples"),
    [
        ("scene", 0.99, "mean", 300, 10, (0.1, 0.01), 32),
        ("puzzle-3x3", 0.99, "mean", 1000, 10, (0.3, 0.01), 32),
        ("cube-double", 0.99, "mean", 300, 0.3, (0.1, 0), 32),
        ("cube-triple", 0.995, "mean", 300, 10, (0.03, 0), 32),
        ("antmaze-large", 0.99, "min", 10, 10, (0.003, 0.01), 32),
        ("antsoccer-arena", 0.995, "mean", 10, 1, (0.01, 0.01), 64),
    ],
)
def test_an_environment_has_its_values(subject, discount, target_value, alpha, temperature, penalties, samples):
    """seohongpark/fql's README, and its paper's of the baselines."""
    fql, ifql, iql, rebrac = (
        settings(name, task(subject), 1_000_000, 0).agent for name in ("fql", "ifql", "iql", "rebrac")
    )
    assert {each.discount for each in (fql, ifql, iql, rebrac)} == {discount}
    assert (fql.target_value, fql.alpha) == (target_value, alpha)
    assert iql.temperature == temperature
    assert (rebrac.actor_penalty, rebrac.critic_penalty) == penalties
    assert ifql.samples == samples


@pytest.mark.parametrize("name", ["fql", "ifql", "iql", "rebrac"])
def test_all_have_the_networks_and_the_optimizer_of_one_code(name):
    chosen = settings(name, task("scene"), 1_000_000, 0)
    agent = chosen.agent
    assert (agent.hidden, agent.activation, agent.batch_size) == ((512,) * 4, "gelu", 256)
    norms = {field: getattr(agent, field) for field in vars(agent) if field.endswith("layer_norm")}
    assert norms.pop("actor_layer_norm") is False
    assert list(norms.values()) == [True]
    assert {value for field, value in vars(agent).items() if field.endswith("learning_rate")} == {3e-4}
    assert agent.tau == 0.005
    assert chosen.preparation == Preparation(action_limit=1 - 1e-5)
    if name in ("iql", "rebrac"):
        assert agent.joint
        assert agent.glorot


@pytest.mark.parametrize("name", ["qc", "qc_fql"])
@pytest.mark.parametrize(("subject", "horizon", "discount"), [("scene", 5, 0.99), ("antmaze-giant", 1, 0.995)])
def test_chunks_are_of_five_steps_where_arms_manipulate(name, subject, horizon, discount):
    """ColinQiyangLi/qc's main.py, and ColinQiyangLi/qam's experiments/reproduce.py for the mazes."""
    agent = settings(name, task(subject), 1_000_000, 1_000_000).agent
    assert (agent.horizon, agent.discount, agent.collect_steps) == (horizon, discount, 5000)


def test_iqls_rate_does_not_fall():
    assert settings("iql", task("scene"), 1_000_000, 0).agent.actor_decay_updates is None


@pytest.mark.parametrize("subject", OURS)
def test_what_no_author_ran_is_set_as_the_nearest_and_said_to_be_ours(subject):
    for name in ("fql", "ifql", "iql", "rebrac"):
        said = {change.name: change.source for page, change in changes(name, task(subject)) if page is ogbench}
        assert said["discount"].startswith("ours: as for ")


@pytest.mark.parametrize("name", ["cal_ql", "moorl", "opt", "sac", "td3_bc", "wsrl"])
def test_agents_that_nobody_ran_here_have_the_networks_of_those_that_were_and_say_that_it_is_ours(name):
    said = [change.source for page, change in changes(name, task("scene")) if page is ogbench]
    assert said
    assert all(source.startswith("ours") for source in said)
    agent = settings(name, task("cube-triple"), 1_000_000, 1_000_000).agent
    agent = getattr(agent, "backbone", agent)
    assert (agent.hidden, agent.discount) == ((512,) * 4, 0.995)


@pytest.mark.parametrize("subject", [*ogbench.ENVIRONMENTS, *OURS])
def test_every_agent_is_set_within_its_bounds(subject):
    for name in AGENTS:
        if suits(name, task(subject)):
            require_bounds(settings(name, task(subject), 1000, 12_000).agent)


def test_the_page_repeats_no_value():
    """Each is another than the one in force before, for some environment, and has a source."""
    news = {}
    for name in ("cal_ql", "fql", "ifql", "iql", "moorl", "opt", "qc", "qc_fql", "rebrac", "rlpd", "sac", "td3_bc"):
        for subject in ogbench.ENVIRONMENTS:
            chosen = Settings(AGENTS[name](), Preparation())
            for _, change in changes(name, task(subject)):
                is_news = chosen.value(change.name) != change.value
                news[name, change.name] = news.get((name, change.name), False) or is_news
                assert change.source
                chosen = chosen.changed(change)
    assert [said for said, is_news in news.items() if not is_news] == []
