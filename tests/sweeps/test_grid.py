import pytest

from moorl_jax.errors import MoorlError
from moorl_jax.sweeps.grid import combinations


def test_every_combination_is_there_once():
    assert combinations(["expectile=0.5,0.7", "temperature=1,3"]) == [
        ("expectile=0.5", "temperature=1"),
        ("expectile=0.5", "temperature=3"),
        ("expectile=0.7", "temperature=1"),
        ("expectile=0.7", "temperature=3"),
    ]


def test_commas_within_a_value_separate_nothing():
    assert combinations(["hidden=(16,16),(32,)", "replay=Mixed(0.25, 1),Union()"]) == [
        ("hidden=(16, 16)", "replay=Mixed(0.25, 1)"),
        ("hidden=(16, 16)", "replay=Union()"),
        ("hidden=(32,)", "replay=Mixed(0.25, 1)"),
        ("hidden=(32,)", "replay=Union()"),
    ]
    assert combinations(["name='a,b'", "tau=None"]) == [("name='a,b'", "tau=None")]


@pytest.mark.parametrize(
    ("swept", "told"),
    [
        (["expectile"], "NAME=VALUE,VALUE"),
        (["expectile="], "a value at least"),
        (["expectile=0.5,0.5"], "a value is there twice"),
        (["expectile=0.5", "expectile=0.7"], "swept twice"),
        (["expectile=0.5]+[0.7"], "not Python literals"),
        (["expectile=(0.5"], "not Python literals"),
        ([f"a={','.join(map(str, range(40)))}", f"b={','.join(map(str, range(40)))}"], "more than 1,000"),
    ],
)
def test_what_is_no_sweep_is_named(swept, told):
    with pytest.raises(MoorlError, match=told):
        combinations(swept)
