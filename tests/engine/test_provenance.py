import json

import jax
import pytest

from moorl_jax.agents import AGENTS, OPT, OPTSPOT, SPOT, TD3BC
from moorl_jax.engine import provenance
from moorl_jax.engine.provenance import agent_fields, agent_name, backend, rebuild_agent
from moorl_jax.errors import MoorlError
from moorl_jax.replay import Balanced, Mixed
from moorl_jax.settings import settings, suits
from moorl_jax.tasks import find


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_is_made_again_from_what_was_written(name):
    task = next(task for task in map(find, ("hopper-medium-v2", "vd4rl-cheetah_run-medium")) if suits(name, task))
    agent = settings(name, task, 1000, 1000).agent
    written = json.loads(json.dumps(agent_fields(agent)))
    assert rebuild_agent(agent_name(agent), written) == agent


def test_a_result_says_the_version_of_its_tasks_simulator(monkeypatch):
    """Of OGBench's package it decides what a reward is for."""
    monkeypatch.setattr(provenance.metadata, "version", lambda name: f"{name} 1.2")
    assert provenance.versions(find("ogbench-scene-play-task2"))["ogbench"] == "ogbench 1.2"
    assert provenance.versions(find("pen-human-v1"))["gymnasium-robotics"] == "gymnasium-robotics 1.2"
    assert "ogbench" not in provenance.versions(find("hopper-medium-v2"))


def test_agents_and_rules_within_an_agent_keep_their_class():
    for agent in (OPT(backbone=SPOT(beta=0.25), replay=Mixed(0.3)), OPTSPOT(replay=Balanced(hidden=(7,)))):
        assert rebuild_agent(agent_name(agent), json.loads(json.dumps(agent_fields(agent)))) == agent


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("iql", {"hidden": [-1]}, r"IQL\.hidden must be a tuple"),
        ("iql", {"hidden": "x"}, r"IQL\.hidden must be a tuple"),
        ("opt", {"backbone": 3}, r"OPT\.backbone must be"),
        ("opt", {"backbone": {"agent": 3}}, "other settings in this version"),
        ("opt", {"backbone": {"agent": "td3_bc", "alpha": "much"}}, r"TD3BC\.alpha must be"),
    ],
)
def test_an_agent_that_cannot_be_is_named(name, fields, said):
    with pytest.raises(MoorlError, match=said) as caught:
        rebuild_agent(name, fields)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_written_is_named():
    with pytest.raises(MoorlError, match=r"TD3BC\.alpha"):
        agent_fields(TD3BC(alpha=float("nan")))
    with pytest.raises(MoorlError, match=r"TD3BC\.alpha"):
        agent_fields(OPT(backbone=TD3BC(alpha=float("nan"))))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("jax_default_prng_impl", "rbg"),
        ("jax_threefry_partitionable", False),
        ("jax_enable_x64", True),
        ("jax_default_matmul_precision", "bfloat16"),
        ("jax_random_seed_offset", 1),
        ("jax_disable_most_optimizations", True),
    ],
)
def test_a_setting_of_jax_that_changes_numbers_is_told(setting, value):
    before, was = backend(), jax.config.values[setting]
    jax.config.update(setting, value)
    try:
        different = backend()
    finally:
        jax.config.update(setting, was)
    assert different != before
    assert backend() == before == json.loads(json.dumps(before))


def test_the_devices_and_cores_that_sums_are_divided_among_are_told(monkeypatch):
    monkeypatch.setattr(provenance, "usable_cores", lambda: 7)
    assert (backend()["devices"], backend()["cores"]) == (2, 7)


def test_flags_of_xla_are_told_but_those_that_only_dump(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/x --xla_cpu_enable_fast_math=true")
    assert backend()["xla_flags"] == ["--xla_cpu_enable_fast_math=true"]
