import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from moorl_jax.agents import BC, IQL, SAC, TD3BC, CalQL
from moorl_jax.engine import results
from moorl_jax.engine.extension import unlike
from moorl_jax.engine.training import train
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Offline
from moorl_jax.replay import Balanced

CLONING = BC(hidden=(8, 8), batch_size=8)
TD3 = TD3BC(hidden=(8, 8), batch_size=8)
SCHEDULED = IQL(hidden=(8,), batch_size=8, actor_decay_updates=4.0)


class Balancing(TD3BC):
    """TD3+BC that draws by balanced replay online."""

    def online(self, env_steps):
        return dataclasses.replace(super().online(env_steps), sampling=Balanced(hidden=(8,), density_batch=8))


class Cooling(BC):
    """Its learning rate is set by the budget, in no field."""

    def phases(self, updates, env_steps):
        return (Offline(self.replace(learning_rate=1.0 / updates), updates),)


@pytest.fixture
def trained(hopper, hopper_data, tmp_path):
    """Train within a budget, and write the result, which can be extended."""

    def run(agent, updates, env_steps, name="run", **how):
        place = tmp_path / name
        run = train(
            agent,
            hopper,
            seeds=2,
            updates=updates,
            env_steps=env_steps,
            evaluate_every=4,
            evaluate_every_steps=10,
            episodes=1,
            dataset=hopper_data,
            checkpoints=results.running(place),
            extendable=True,
            **how,
        )
        results.save(run, place, "a command")
        return run

    return run


@pytest.mark.parametrize(
    ("agent", "shorter", "longer"),
    [
        (CLONING, (8, 0), (16, 0)),
        pytest.param(TD3, (8, 0), (8, 10), marks=pytest.mark.slow),
        # Its buffer, which has room for an episode at least, gets larger.
        pytest.param(SAC(hidden=(8, 8), batch_size=8, random_steps=4), (0, 1000), (0, 1010), marks=pytest.mark.slow),
        pytest.param(
            CalQL(hidden=(8, 8), batch_size=8, actions_per_state=2, blocks=2), (8, 10), (8, 20), marks=pytest.mark.slow
        ),
    ],
)
def test_what_is_extended_ends_as_if_it_had_been_asked_for_at_the_start(trained, tmp_path, agent, shorter, longer):
    straight = trained(agent, *longer, name="straight")
    trained(agent, *shorter)
    extended = trained(agent, *longer, extend=tmp_path / "run")
    columns = [column for column in straight.curves if column != "seconds"]
    pd.testing.assert_frame_equal(extended.curves[columns], straight.curves[columns], check_exact=True)
    jax.tree.map(np.testing.assert_array_equal, extended.states, straight.states)
    result = results.read(tmp_path / "run")
    assert (result.plan.updates, result.plan.env_steps) == longer
    (taken_over,) = result.provenance["resumed_anyway"]
    before = dict(zip(("plan.updates", "plan.env_steps"), shorter, strict=True))
    assert taken_over["then"].items() <= before.items()


def test_a_result_is_extended_again_and_a_killed_extension_resumes(trained, tmp_path):
    straight = trained(CLONING, 16, 0, name="straight")
    trained(CLONING, 4, 0)
    trained(CLONING, 8, 0, extend=tmp_path / "run")

    def stop(report):
        if report.done == 16:
            raise InterruptedError

    how = {"extend": tmp_path / "run", "checkpoint_seconds": 0.0}
    with pytest.raises(InterruptedError):
        trained(CLONING, 16, 0, callback=stop, **how)
    assert results.read(tmp_path / "run").plan.updates == 8
    extended = trained(CLONING, 16, 0, **how)
    jax.tree.map(np.testing.assert_array_equal, extended.states, straight.states)
    assert not results.running(tmp_path / "run").exists()


def test_what_would_have_been_another_training_is_refused(trained, tmp_path):
    trained(CLONING, 4, 0)
    for agent, budget, fault in [
        (CLONING, (4, 0), "run has 4 updates and 0 env steps: ask for more, in all, not for 4 updates and 0 env steps"),
        (CLONING, (2, 0), "run has 4 updates and 0 env steps: ask for more, in all, not for 2 updates"),
        (
            CLONING.replace(learning_rate=1e-4),
            (8, 0),
            "learning_rate was 0.0003 and within this budget is 0.0001, --set",
        ),
    ]:
        with pytest.raises(MoorlError, match=fault) as caught:
            trained(agent, *budget, extend=tmp_path / "run")
        assert "\n" not in str(caught.value)
    assert results.read(tmp_path / "run").plan.updates == 4


@pytest.mark.parametrize(
    ("agent", "shorter", "longer", "fault"),
    [
        (TD3, (4, 5), (4, 10), ""),
        (TD3, (4, 5), (8, 5), "its phase 'offline' of 4 updates would have been of 8"),
        (IQL(), (4, 0), (4, 5), ""),
        (SCHEDULED, (4, 5), (4, 10), ""),  # its online phase has no schedule
        (Cooling(), (4, 0), (8, 0), "learning_rate was 0.25 and within this budget is 0.125, --set "),
        (Balancing(), (4, 5), (4, 10), "Balanced's memory is as large as the whole budget"),
        (SAC(random_steps=5), (0, 10), (0, 20), ""),
    ],
)
def test_recipes_that_do_not_begin_alike_are_told_apart(agent, shorter, longer, fault):
    found = unlike(*(agent.phases(*budget) for budget in (shorter, longer)))
    assert found.startswith(fault) if fault else not found


def test_a_result_without_its_last_checkpoint_is_refused(hopper, tmp_path):
    with pytest.raises(MoorlError, match="nowhere cannot be extended: it has no checkpoint 'last'"):
        train(TD3, hopper, updates=8, checkpoints=tmp_path / "c", extend=tmp_path / "nowhere")
