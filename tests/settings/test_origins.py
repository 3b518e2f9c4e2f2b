import dataclasses

import pytest

from moorl_jax.agents import AGENTS, Agent
from moorl_jax.agents.overrides import override
from moorl_jax.errors import MoorlError
from moorl_jax.settings import settings, suits
from moorl_jax.settings.origins import Setting, explain
from moorl_jax.tasks import find

TASKS = ("hopper-medium-v2", "antmaze-large-diverse-v2", "kitchen-mixed-v0", "vd4rl-cheetah_run-medium")
IQL = "ikostrikov/implicit_q_learning"


def explained(agent, task, updates=1000, env_steps=1200, overrides=()):
    return {setting.name: setting for setting in explain(agent, find(task), updates, env_steps, overrides)}


def fields(part, prefix=""):
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        yield prefix + field.name, type(value).__name__ if isinstance(value, Agent) else value
        if isinstance(value, Agent):
            yield from fields(value, f"{prefix}{field.name}.")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("agent", AGENTS)
def test_every_value_in_force_is_there_with_its_source(agent, task):
    if not suits(agent, find(task)):
        return
    chosen = settings(agent, find(task), 1000, 1200)
    listed = explain(agent, find(task), 1000, 1200)
    assert [(setting.name, setting.value) for setting in listed] == [
        *fields(chosen.agent),
        *fields(chosen.preparation, "preparation."),
    ]
    assert all(setting.source for setting in listed if setting.where != "data/preparation.py")


@pytest.mark.parametrize(
    ("agent", "task", "expected"),
    [
        ("iql", "hopper-medium-v2", Setting("expectile", 0.7, "agents/iql.py", f"{IQL} configs/mujoco_config.py")),
        ("iql", "antmaze-umaze-v2", Setting("expectile", 0.9, "settings/antmaze.py", f"{IQL} configs/antmaze")),
        ("iql", "antmaze-umaze-v2", Setting("preparation.action_limit", 1 - 1e-5, "settings/everywhere.py", IQL)),
        ("iql", "antmaze-umaze-v2", Setting("preparation.reward_scale", 1.0, "data/preparation.py", "")),
        ("pex", "hopper-medium-v2", Setting("collect_steps", 120, "settings/proportions.py", "at most a tenth")),
        ("rebrac", "hopper-medium-v2", Setting("critic_penalty", 0.01, "settings/locomotion.py", "DT6A/ReBRAC")),
        ("rebrac", "ant", Setting("critic_penalty", 0.01, "settings/locomotion.py", "ours: as for hopper")),
        ("edac", "pen-human-v1", Setting("diversity_weight", 1000.0, "settings/manipulation.py", "corl-team/CORL")),
        ("bc_10", "hopper-medium-v2", Setting("share", 0.1, "agents/bc.py", "corl-team/CORL")),
        ("rlpd", "hopper-medium-v2", Setting("tau", 0.005, "agents/sac.py", "ikostrikov/rlpd")),
        ("opt", "hopper-random-v2", Setting("kappa_start", 1.0, "settings/locomotion.py", "arXiv 2507.08387")),
        ("opt", "hopper-random-v2", Setting("backbone", "TD3BC", "agents/opt.py", "arXiv 2507.08387")),
        ("opt", "hopper-random-v2", Setting("backbone.alpha", 2.5, "agents/td3_bc.py", "sfujim/TD3_BC")),
        ("opt_spot", "hopper-medium-v2", Setting("backbone.q_epsilon", 1e-10, "agents/opt.py", "arXiv 2507.08387")),
        ("rlpd", "sawyer-push", Setting("hidden", (256,) * 3, "settings/manipulation.py", "ours: as Adroit")),
        ("tune_iql", "pen-human-v1", Setting("offline.temperature", 0.5, "settings/manipulation.py", IQL)),
        ("tune_iql", "hopper", Setting("normalize_returns", True, "settings/locomotion.py", IQL)),
    ],
)
def test_a_value_comes_from_where_it_stands(agent, task, expected):
    found = explained(agent, task)[expected.name]
    assert found[:3] == expected[:3]
    assert found.source.startswith(expected.source)


def test_what_the_budget_leaves_alone_comes_from_elsewhere():
    assert explained("rlpd", "hopper-medium-v2", 0, 250_000)["random_steps"].where == "agents/sac.py"
    assert explained("rlpd", "hopper-medium-v2", 0, 1200)["random_steps"].where == "settings/proportions.py"


def test_what_is_set_by_hand_comes_from_there():
    task, changed = "antmaze-umaze-v2", ("backbone.dropout=0.3", "utd=2")
    found = explained("opt_spot", task, overrides=changed)
    by_hand = {name: setting.value for name, setting in found.items() if setting.where == "--set"}
    assert by_hand == {"backbone.dropout": 0.3, "utd": 2}
    found = explained("opt_spot", task, overrides=("backbone=SPOT(beta=0.3)",))
    assert {name for name, setting in found.items() if setting.where == "--set"} == {"backbone", "backbone.beta"}
    trained = override(settings("opt_spot", find(task), 1000, 1200).agent, ("backbone=SPOT(beta=0.3)",))
    assert found["backbone.support_weight"].value == trained.backbone.support_weight
    assert found["backbone.support_weight"].where == "agents/spot.py"
    with pytest.raises(MoorlError, match="unknown field of IQL"):
        explained("iql", task, overrides=("expectil=0.5",))


def test_a_users_own_value_has_no_source_of_others(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from moorl_jax.agents import IQL\n\n\nclass Mine(IQL):\n    expectile: float = 0.6\n", encoding="utf-8"
    )
    found = explained(f"{file}:Mine", "hopper-medium-v2")
    assert found["expectile"].value == 0.6
    assert found["expectile"].where.endswith("mine.py")
    assert found["expectile"].source == ""
    assert found["tau"].where == "agents/iql.py"
    assert found["tau"].source.startswith(IQL)
