import pytest

from moorl_jax.agents import BC, CQL, IQL, OPT, TD3BC, RecommendIQL, TuneIQL
from moorl_jax.agents.overrides import override
from moorl_jax.data import Preparation
from moorl_jax.errors import MoorlError
from moorl_jax.replay import Balanced, FromBuffer, Mixed


def test_fields_are_replaced():
    assert override(BC(), ["learning_rate=1e-3", "hidden=(8, 8)"]) == BC(learning_rate=1e-3, hidden=(8, 8))
    assert override(IQL(), ["actor_decay_updates=100"]).actor_decay_updates == 100
    assert override(IQL(actor_decay_updates=9.0), ["actor_decay_updates=None"]).actor_decay_updates is None
    assert override(CQL(), ["critic_hidden=(8, 8)"]).critic_hidden == (8, 8)
    assert override(TuneIQL(), ["pauses=(0.5, 1)"]).pauses == (0.5, 1)
    assert override(Preparation(), ["reward_scale=2.0"]) == Preparation(reward_scale=2.0)


def test_a_whole_number_is_a_float_where_the_field_is_one():
    """So that a sweep over 0.5 and 1 is of one program."""
    changed = override(IQL(), ["temperature=1", "actor_decay_updates=9", "batch_size=8"])
    kinds = [type(getattr(changed, name)) for name in ("temperature", "actor_decay_updates", "batch_size")]
    assert kinds == [float, float, int]


def test_rules_and_agents_within():
    assert override(OPT(), ["replay=Mixed(0.25)"]).replay == Mixed(0.25)
    assert override(OPT(), ["replay=Balanced(hidden=(8,))"]).replay == Balanced(hidden=(8,))
    assert override(OPT(), ["replay=FromBuffer()"]).replay == FromBuffer()
    assert override(RecommendIQL(), ["learner=TD3BC(tau=0.01)"]).learner == TD3BC(tau=0.01)
    assert override(OPT(), ["backbone.alpha=1.5"]).backbone == TD3BC(alpha=1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch_size", "NAME=VALUE"),
        ("hiden=(8,)", "did you mean hidden"),
        ("hidden=8 8", "not a Python literal"),
        ("hidden=8", "TD3BC.hidden must be a tuple, each of it a whole number at least 1"),
        ("alpha='x'", "TD3BC.alpha must be a finite number at least 0.0, not 'x'"),
        ("alpha=True", "must be a finite number"),
        ("alpha=print(1)", "called with literals"),
        ("alpha=Mixed(0.5)", "must be a finite number"),
        ("alpha=BC()", "must be a finite number"),
        ("alpha.beta=1", "has no fields"),
    ],
)
def test_wrong_changes_are_named(change, message):
    with pytest.raises(MoorlError, match=message):
        override(TD3BC(), [change])


def test_a_rule_that_does_not_exist_is_named():
    with pytest.raises(MoorlError, match="Balanced"):
        override(OPT(), ["replay=Mixd(0.5)"])
