import pytest

from moorl_jax.agents import BC, IQL, OPT, TD3BC, RecommendIQL
from moorl_jax.agents.overrides import override
from moorl_jax.errors import MoorlError
from moorl_jax.replay import Balanced, FromBuffer, Mixed


def test_fields_are_replaced():
    assert override(BC(), ["learning_rate=1e-3", "hidden=(8, 8)"]) == BC(learning_rate=1e-3, hidden=(8, 8))
    assert override(IQL(), ["actor_decay_updates=100"]).actor_decay_updates == 100


def test_rules_and_agents_within():
    assert override(OPT(), ["replay=Mixed(0.25)"]).replay == Mixed(0.25)
    assert override(OPT(), ["replay=Balanced(hidden=(8,))"]).replay == Balanced(hidden=(8,))
    assert override(OPT(), ["replay=FromBuffer()"]).replay == FromBuffer()
    assert override(RecommendIQL(), ["learner=TD3BC(tau=0.01)"]).learner == TD3BC(tau=0.01)
    assert override(OPT(), ["backbone.alpha=1.5"]).backbone == TD3BC(alpha=1.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("hiden=(8,)", "did you mean hidden"),
        ("hidden=8 8", "not a Python literal"),
        ("hidden=8", "another kind of value"),
        ("alpha='x'", "another kind of value"),
        ("alpha=True", "another kind of value"),
        ("alpha=print(1)", "called with literals"),
        ("alpha=Mixed(0.5)", "another kind of value"),
        ("alpha=BC()", "another kind of value"),
        ("alpha.beta=1", "has no fields"),
    ],
)
def test_wrong_changes_are_named(change, message):
    with pytest.raises(MoorlError, match=message):
        override(TD3BC(), [change])


def test_a_rule_that_does_not_exist_is_named():
    with pytest.raises(MoorlError, match="Balanced"):
        override(OPT(), ["replay=Mixd(0.5)"])
