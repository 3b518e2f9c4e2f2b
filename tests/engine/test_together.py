"""Trainings that differ in numbers alone, trained together."""

import dataclasses
import functools

import jax
import numpy as np
import pandas as pd
import pytest

from moorl_jax.agents import BC, IQL, OPT, RLPD, SPOT, TD3BC, CalQL
from moorl_jax.data import Preparation
from moorl_jax.engine import trainer
from moorl_jax.engine.devices import Placement
from moorl_jax.engine.recipes import alike
from moorl_jax.engine.together import Shared, Training, train_together
from moorl_jax.engine.training_loop import Plan
from moorl_jax.replay import Mixed

RATES = (1e-3, 3e-4, 0.1)
SMALL = {"hidden": (8, 8), "batch_size": 8}


class StopError(Exception):
    """The training is killed."""


def bc(rate):
    return BC(learning_rate=rate, **SMALL)


def spot(rate):
    """One whose recipe has a switch, which depends on its numbers."""
    return SPOT(critic_learning_rate=rate, vae_learning_rate=rate, vae_hidden=(8,), vae_updates=2, **SMALL)


@pytest.fixture
def train(hopper, hopper_data):
    """Train an agent with some learning rates, two seeds each; with `stop` killed after as many parts."""
    task = dataclasses.replace(hopper, horizon=3)
    shared = Shared(task, hopper_data, Preparation(), (3, 1), Plan(6, 0, 2, 1, 1))

    def run(rates, checkpoints=None, stop=99, make=bc):
        parts = []

        def callback(news):
            parts.append(news)
            if len(parts) == stop:
                raise StopError

        places = {rate: checkpoints and checkpoints / str(rate) for rate in rates}
        trainings = [Training(make(rate), (), place) for rate, place in places.items()]
        how = {"callback": callback, "warn": lambda _: None, "checkpoint_seconds": 0.0}
        return train_together(trainings, shared, **how)

    return run


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.states, other.states)
    pd.testing.assert_frame_equal(one.curves.drop(columns="seconds"), other.curves.drop(columns="seconds"))


@pytest.mark.slow
def test_each_is_what_it_is_alone_and_is_resumed_alone_or_with_others(train, tmp_path):
    """Bit for bit, though one was killed later than the other two, and one is new."""
    straight = [train([rate])[0] for rate in RATES]
    for one, other in zip(train(RATES), straight, strict=True):
        assert_same(one, other)
        assert one.together == 3
    with pytest.raises(StopError):
        train(RATES[:1], tmp_path, stop=3)
    with pytest.raises(StopError):
        train(RATES[1:2], tmp_path, stop=2)
    for one, other in zip(train(RATES, tmp_path), straight, strict=True):
        assert_same(one, other)
        assert one.together == 1


@pytest.mark.slow
@pytest.mark.parametrize("make", [bc, spot])
def test_of_one_batch_each_is_close_to_what_it_is_alone(train, monkeypatch, make):
    """As on an accelerator: numbers are an axis of the program, sums may be rounded otherwise."""
    train = functools.partial(train, make=make)
    straight = [train([rate])[0] for rate in RATES[:2]]
    device = jax.local_devices()[0]
    monkeypatch.setattr(trainer, "placements", lambda seeds, images: (Placement(device, (tuple(range(seeds)),)),))
    for one, other in zip(train(RATES[:2]), straight, strict=True):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), one.states, other.states)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (IQL(), IQL(expectile=0.9, discount=0.9), True),
        (IQL(), IQL(dropout=0.1), False),
        (IQL(), IQL(actor_decay_updates=9.0), False),
        (IQL(), TD3BC(), False),
        (CalQL(), CalQL(penalty_weight=1.0), True),
        (CalQL(), CalQL(discount=0.9), False),  # the data's returns to go
        (RLPD(), RLPD(offline_share=0.1), True),  # of its rule of sampling
        (RLPD(), RLPD(utd=3), False),
        (SPOT(), SPOT(tau=0.1), True),  # with a switch
        (OPT(), OPT(backbone=TD3BC(tau=0.1)), True),
        (OPT(), OPT(replay=Mixed(0.5)), False),
    ],
)
def test_recipes_are_alike_where_numbers_differ_alone(one, other, expected):
    assert alike(one.phases(100, 50_000), other.phases(100, 50_000)) is expected
