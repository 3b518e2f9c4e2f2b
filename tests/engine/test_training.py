import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from moorl_jax.agents import BC, PEX, SAC, SPOT, TD3BC, BestBC, CalQL
from moorl_jax.cores import usable_cores
from moorl_jax.data import Normalizer, Preparation
from moorl_jax.data.trajectories import best_trajectories
from moorl_jax.engine import provenance, trainer
from moorl_jax.engine.checkpoints import Checkpoints
from moorl_jax.engine.evaluation import Evaluator
from moorl_jax.engine.keys import INITIAL, stream
from moorl_jax.engine.training import evaluate, train
from moorl_jax.errors import CheckpointsError, MoorlError, NotAvailableError, UnknownNameError
from moorl_jax.phases import Evaluate, Offline
from moorl_jax.tasks import find, together
from moorl_jax.types import Transitions


class StoppedError(Exception):
    """How these tests end a training amid."""


SMALL = TD3BC(hidden=(16, 16), batch_size=32)


@pytest.fixture(scope="module")
def run(hopper, hopper_data):
    reports = []
    run = train(
        SMALL,
        hopper,
        seeds=[3, 1],
        updates=20,
        evaluate_every=8,
        episodes=2,
        dataset=hopper_data,
        preparation=Preparation(normalize_observations=True),
        callback=reports.append,
    )
    assert [report.done for report in reports] == [8, 16, 20]
    assert all(report.total == 20 and report.unit == "updates" and report.rate > 0 for report in reports)
    return run


def test_curves_hold_one_row_per_seed_and_evaluation(run):
    assert list(run.curves["seed"]) == [3, 1] * 3
    assert list(run.curves["updates"]) == [8, 8, 16, 16, 20, 20]
    assert (run.curves["env_steps"] == 0).all()
    assert run.curves["seconds"].is_monotonic_increasing
    np.testing.assert_allclose(run.curves["score"], [run.task.score(value) for value in run.curves["return"]])
    assert {"critic_loss", "actor_loss"} <= set(run.curves)
    assert (run.curves["phase"] == "offline").all()
    assert np.isfinite(run.curves.drop(columns="phase").to_numpy(float)).all()


def test_wall_clock_is_accounted_for(run):
    parts = [run.seconds[use] for use in ("compile", "update", "evaluate")]
    assert all(part > 0 for part in parts)
    assert sum(parts) <= run.seconds["total"]


def test_a_seeds_curve_does_not_depend_on_the_other_seeds(run, hopper, hopper_data):
    alone = train(
        SMALL,
        hopper,
        seeds=[1],
        updates=20,
        evaluate_every=8,
        episodes=2,
        dataset=hopper_data,
        preparation=Preparation(normalize_observations=True),
    )
    theirs = run.curves[run.curves["seed"] == 1]
    np.testing.assert_array_equal(alone.curves["return"], theirs["return"])


@pytest.mark.slow
def test_evaluating_more_often_does_not_change_the_training(run, hopper, hopper_data):
    often = train(
        SMALL,
        hopper,
        seeds=[3, 1],
        updates=20,
        evaluate_every=2,
        episodes=1,
        dataset=hopper_data,
        preparation=Preparation(normalize_observations=True),
    )
    np.testing.assert_array_equal(
        often.states.actor.params["layer0"]["kernel"], run.states.actor.params["layer0"]["kernel"]
    )


@pytest.mark.parametrize(
    ("task", "tells"),
    [
        pytest.param("sawyer-lift", True, marks=pytest.mark.slow),
        pytest.param("franka-kitchen", True, marks=pytest.mark.slow),
        ("hopper", False),
    ],
)
def test_success_is_recorded_where_the_environment_tells(task, tells):
    learner = SAC(hidden=(4,), batch_size=4, random_steps=4)
    curves = train(learner, task, seeds=2, updates=0, env_steps=6, evaluate_every_steps=6, episodes=2).curves
    assert ("success" in curves) == tells
    if tells:
        assert curves["success"].between(0.0, 1.0).all()


def test_an_agent_gets_the_next_actions_that_it_asks_for(hopper, hopper_data):
    """One's own; another's batches have none."""
    seen = {}

    class Asking(BC):
        def update(self, state, batch, draws):
            seen[type(self)] = batch.next_actions
            return super().update(state, batch, draws)

        def needs_next_actions(self):
            return True

    class NotAsking(Asking):
        def needs_next_actions(self):
            return False

    for kind in (Asking, NotAsking):
        train(kind(hidden=(4,), batch_size=8), hopper, seeds=1, updates=1, episodes=1, dataset=hopper_data)
    assert seen[Asking].shape == (8, 3)
    assert seen[NotAsking] is None


def test_ten_percent_bc_learns_from_its_share_of_the_episodes(hopper, hopper_data):
    agent, preparation = BestBC(hidden=(4,), share=0.3), Preparation(normalize_observations=True)
    run = train(agent, hopper, seeds=1, updates=1, episodes=1, dataset=hopper_data, preparation=preparation)
    best = dataclasses.replace(hopper_data, rows=best_trajectories(hopper_data.rows, hopper, 0.3))
    assert len(best.transitions) < len(hopper_data.transitions)
    np.testing.assert_array_equal(run.normalizer.mean, preparation.apply(best).normalizer.mean)
    whole = preparation.apply(hopper_data).normalizer
    assert (run.normalizer.mean != whole.mean).all()


def test_a_success_at_any_step_counts(monkeypatch):
    """Of two episodes one succeeds at its second step and not after."""
    successes = iter([0.0, 0.0, 1.0, 0.0] + [0.0] * 996)
    monkeypatch.setattr(together, "usable_cores", lambda: 1)  # in this process
    evaluator = Evaluator(find("sawyer-push"), Normalizer.identity((39,)), (0,), 2)
    for simulator in evaluator._simulators.simulators:
        step = simulator.step
        monkeypatch.setattr(
            simulator, "step", lambda action, step=step: (*step(action)[:4], {"success": next(successes)})
        )
    agent = BC(hidden=(4,))
    example = Transitions(np.zeros((1, 39)), np.zeros((1, 4)), np.zeros(1), np.zeros((1, 39)), np.zeros(1))
    state = agent.init(jax.random.key(0), example)
    played = evaluator.evaluate(agent, jax.tree.map(lambda leaf: leaf[None], agent.policy(state)), 0)
    evaluator.close()
    np.testing.assert_array_equal(played.successes, [[1.0, 0.0]])


def test_evaluation_starts_depend_on_seed_round_and_episode(run):
    evaluator = Evaluator(run.task, run.normalizer, run.seeds, 2)
    policies = evaluator.snapshot(run.states.actor.params)
    first, again, other = (evaluator.evaluate(run.agent, policies, round_).returns for round_ in (0, 0, 1))
    evaluator.close()
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    assert first[0, 0] != first[0, 1]


def test_evaluation_returns_are_those_of_the_environment(hopper, hopper_data):
    """A policy of zeros, against the same episodes played by hand."""
    agent = BC(hidden=(4,))
    run = train(agent, hopper, seeds=1, updates=1, episodes=1, dataset=hopper_data)
    zeros = {layer: {leaf: 0 * value for leaf, value in net.items()} for layer, net in run.states.actor.params.items()}
    evaluator = Evaluator(hopper, run.normalizer, (0,), 1)
    (played,) = evaluator.evaluate(agent, evaluator.snapshot(zeros), 0).returns
    evaluator.close()
    (environment,) = evaluator._simulators.simulators
    start = np.random.SeedSequence([0x6576616C, 0, 0, 0]).generate_state(1)[0]
    environment.reset(seed=int(start))
    total, ended = 0.0, False
    while not ended:
        _, reward, terminal, timeout, _ = environment.step(np.zeros(3, np.float32))
        total, ended = total + reward, terminal or timeout
    assert played[0] == pytest.approx(total, rel=1e-9)


def online(agent, hopper, hopper_data, seeds=2, **how):
    return train(
        agent,
        hopper,
        seeds=seeds,
        updates=10,
        env_steps=30,
        evaluate_every=5,
        evaluate_every_steps=12,
        episodes=1,
        dataset=hopper_data,
        **how,
    )


def test_online_curves_go_on_after_the_offline_ones(hopper, hopper_data):
    reports = []
    run = online(SMALL, hopper, hopper_data, callback=reports.append)
    first = run.curves[run.curves["seed"] == 0]
    assert list(first["phase"]) == ["offline"] * 2 + ["online"] * 3
    assert list(first["env_steps"]) == [0, 0, 12, 24, 30]
    assert list(first["updates"]) == [6, 10, 22, 34, 40]
    assert [report.unit for report in reports] == ["updates"] * 2 + ["env steps"] * 3
    assert np.isfinite(run.curves[["critic_loss", "actor_loss", "return"]].to_numpy()).all()
    assert run.seconds["simulate"] > 0


@pytest.mark.slow
def test_what_only_prepares_is_neither_counted_nor_evaluated(hopper, hopper_data):
    agent = SPOT(hidden=(16, 16), batch_size=32, vae_hidden=(16,), vae_updates=8)
    run = online(agent, hopper, hopper_data)
    assert list(run.curves[run.curves["seed"] == 0]["updates"]) == [6, 10, 22, 34, 40]


def test_a_run_that_ends_collecting_is_evaluated_at_its_end(hopper, hopper_data):
    agent = PEX(hidden=(16, 16), batch_size=32, collect_steps=50)
    run = train(
        agent, hopper, seeds=1, updates=4, env_steps=25, evaluate_every_steps=10, dataset=hopper_data, episodes=1
    )
    assert run.curves["env_steps"].tolist()[-3:] == [10, 20, 25]


def test_losses_are_absent_where_no_cycle_ended(hopper, hopper_data):
    """TD3+BC's actor moves on every second update."""
    agent = TD3BC(hidden=(16, 16), batch_size=32)
    run = train(agent, hopper, seeds=1, updates=0, env_steps=2, evaluate_every_steps=1, dataset=hopper_data, episodes=1)
    assert run.curves["critic_loss"].isna().tolist() == [True, False]


def test_an_agent_without_data_needs_none(hopper):
    agent = SAC(hidden=(16, 16), batch_size=32, random_steps=10)
    run = train(agent, hopper, seeds=1, updates=0, env_steps=30, evaluate_every_steps=15, episodes=1)
    assert run.dataset is None
    assert list(run.curves["env_steps"]) == [15, 30]
    with pytest.raises(MoorlError, match="after 10 random env steps: it must be given more env steps than 0"):
        train(agent, hopper, updates=10)


def test_a_stopped_training_goes_on_and_ends_the_same(hopper, hopper_data, tmp_path):
    """Stopped after each of its parts in turn, in this process; a test below kills a process."""
    agent = CalQL(hidden=(16, 16), batch_size=32, actions_per_state=2, blocks=2)
    straight = online(agent, hopper, hopper_data)

    def stop(_report):
        raise StoppedError

    how = {"checkpoints": tmp_path / "run", "checkpoint_seconds": 0.0}
    stops = 0
    for _ in range(20):
        counted = []
        try:
            run = online(
                agent, hopper, hopper_data, callback=lambda r, c=counted: c.append(r) or len(c) < 2 or stop(r), **how
            )
            break
        except StoppedError:
            stops += 1
    assert stops >= 3
    columns = [column for column in straight.curves if column != "seconds"]
    pd.testing.assert_frame_equal(run.curves[columns], straight.curves[columns], check_exact=True)
    jax.tree.map(np.testing.assert_array_equal, run.states, straight.states)


class Fragile(CalQL):
    """Its seed 1 has diverged from the beginning."""

    def init(self, key, example):
        """Return a state, of that seed one of NaN."""
        lost = (jax.random.key_data(key) == jax.random.key_data(stream(1, INITIAL))).all()
        return jax.tree.map(lambda leaf: jnp.where(lost, jnp.nan, leaf).astype(leaf.dtype), super().init(key, example))


def test_a_seed_that_diverged_is_said_to_have_and_the_others_go_on_as_without_it(hopper, hopper_data, tmp_path):
    agent = Fragile(hidden=(16, 16), batch_size=32, actions_per_state=2, blocks=2)
    reports = []
    both = online(agent, hopper, hopper_data, seeds=2, callback=reports.append)
    alone = online(agent, hopper, hopper_data, seeds=1)
    lost, kept = (both.curves[both.curves["seed"] == seed].reset_index(drop=True) for seed in (1, 0))
    columns = [column for column in kept if column != "seconds"]
    pd.testing.assert_frame_equal(kept[columns], alone.curves[columns], check_exact=True)
    assert lost[["return", "score"]].isna().all(axis=None)
    assert [str(report.score) for report in reports[-2:]] == ["diverged 1/2"] * 2

    class StoppedError(Exception):
        pass

    def stop(report):
        if report.phase == "online" and report.done < report.total:
            raise StoppedError

    how = {"seeds": 2, "checkpoints": tmp_path / "run", "checkpoint_seconds": 0.0}
    with pytest.raises(StoppedError):
        online(agent, hopper, hopper_data, callback=stop, **how)
    resumed = online(agent, hopper, hopper_data, **how)
    pd.testing.assert_frame_equal(resumed.curves[columns], both.curves[columns], check_exact=True)


@pytest.mark.parametrize(
    "name",
    [
        "hopper",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("walker-walk", "sawyer-push", "antmaze-umaze-v2", "kitchen-complete-v0")
        ),
    ],
)
def test_a_policy_that_has_diverged_has_no_score(name):
    """Of two seeds one; MuJoCo took NaN for no action, and AntMaze, Kitchen and pen paid as if nothing were wrong."""
    task, agent = dataclasses.replace(find(name), horizon=3), BC(hidden=(4,))
    size, normalizer = task.observation_shape[0], Normalizer.identity(task.observation_shape)
    example = Transitions(
        np.zeros((1, size)), np.zeros((1, task.action_size)), np.zeros(1), np.zeros((1, size)), np.zeros(1)
    )
    sound = agent.policy(agent.init(jax.random.key(0), example))
    policies = jax.tree.map(lambda leaf: np.stack([np.full_like(leaf, np.nan), leaf]), sound)
    played = evaluate(agent, task, normalizer, policies, (4, 5), 2, 0)
    alone = evaluate(agent, task, normalizer, jax.tree.map(lambda leaf: np.asarray(leaf)[None], sound), (5,), 2, 0)
    assert np.isnan(played.returns[0]).all()
    np.testing.assert_array_equal(played.returns[1], alone.returns[0])
    rates = played.success_rates()
    assert (rates is None) == (alone.success_rates() is None)
    if rates is not None:
        assert np.isnan(rates).tolist() == [True, False]


@pytest.fixture
def stopped(hopper, hopper_data, tmp_path, monkeypatch):
    """Return how to train an agent whose training has stopped after its first checkpoint."""

    def save_and_stop(*args):
        save(*args)
        raise StoppedError

    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", save_and_stop)
    monkeypatch.setattr(provenance, "code", lambda _: "older")
    how = {"seeds": 1, "updates": 4, "evaluate_every": 2, "episodes": 1, "dataset": hopper_data}
    how |= {"checkpoints": tmp_path / "run", "checkpoint_seconds": 0.0}
    with pytest.raises(StoppedError):
        train(BC(hidden=(8, 8), batch_size=8), hopper, **how)
    monkeypatch.setattr(Checkpoints, "save", save)
    monkeypatch.setattr(provenance, "code", lambda _: "newer")
    return how


def test_newer_code_goes_on_only_where_asked_to(hopper, stopped):
    agent = BC(hidden=(8, 8), batch_size=8)
    with pytest.raises(CheckpointsError, match=r"differs in code; go on from them with --resume-anyway"):
        train(agent, hopper, **stopped)
    run = train(agent, hopper, **stopped, resume_anyway=True)
    (took_over,) = run.resumed_anyway
    assert (took_over["updates"], took_over["then"], took_over["now"]) == (2, {"code": "older"}, {"code": "newer"})
    assert run.curves["updates"].tolist() == [2, 4]


def test_newer_code_of_another_form_is_told_so(hopper, stopped, monkeypatch):
    """Its networks are wider though its settings are not."""
    agent = BC(hidden=(8, 8), batch_size=8)
    init = BC.init

    def wider(self, key, example):
        return init(dataclasses.replace(self, hidden=(9, 9)), key, example)

    monkeypatch.setattr(BC, "init", wider)
    with pytest.raises(CheckpointsError, match=r"do not fit this code .*another shape or type.*; finish with the code"):
        train(agent, hopper, **stopped, resume_anyway=True)


def test_another_random_generator_does_not_go_on(hopper, stopped, monkeypatch):
    monkeypatch.setattr(provenance, "code", lambda _: "older")
    with (
        jax.default_prng_impl("rbg"),
        pytest.raises(CheckpointsError, match=r"differs in backend\.jax_default_prng_impl; finish that one by its own"),
    ):
        train(BC(hidden=(8, 8), batch_size=8), hopper, **stopped)


def test_other_cores_go_on_and_the_run_says_so(hopper, stopped, monkeypatch):
    monkeypatch.setattr(provenance, "code", lambda _: "older")
    cores, warnings = usable_cores(), []
    monkeypatch.setattr(provenance, "usable_cores", lambda: cores + 1)
    run = train(BC(hidden=(8, 8), batch_size=8), hopper, **stopped, warn=warnings.append)
    (took_over,) = run.resumed_anyway
    then, now = {"backend.cores": cores}, {"backend.cores": cores + 1}
    assert (took_over["updates"], took_over["then"], took_over["now"]) == (2, then, now)
    assert len(warnings) == 1


def test_an_agent_that_raised_may_be_corrected(hopper, stopped, tmp_path, monkeypatch):
    class Raising(BC):
        def draw(self, key, batch):
            raise ZeroDivisionError

    how = stopped | {"checkpoints": tmp_path / "corrected"}
    monkeypatch.setattr(trainer, "rehearse", lambda *_: None)  # which would find it before anything is made
    with pytest.raises(ZeroDivisionError):
        train(Raising(hidden=(8, 8), batch_size=8), hopper, **how)
    monkeypatch.setattr(provenance, "code", lambda _: "corrected")
    assert len(train(BC(hidden=(8, 8), batch_size=8), hopper, **how).curves) == 2


def test_an_evaluation_alone_has_a_checkpoint_of_its_own(hopper, hopper_data, tmp_path):
    class Twice(BC):
        def phases(self, updates, env_steps):
            return (Offline(self, updates), Evaluate(self), Offline(self, updates))

    agent = Twice(hidden=(8, 8), batch_size=8)
    how = {"seeds": 1, "updates": 2, "evaluate_every": 2, "episodes": 1, "dataset": hopper_data}
    run = train(agent, hopper, **how, checkpoints=tmp_path / "run", checkpoint_seconds=0.0)
    assert run.curves["updates"].tolist() == [2, 2, 4]


def test_on_an_accelerator_evaluation_overlaps_and_seeds_are_vmapped(run, hopper, hopper_data, monkeypatch):
    """The path an accelerator takes, on this CPU: the same curve up to rounding."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    overlapped = train(
        SMALL,
        hopper,
        seeds=[3, 1],
        updates=20,
        evaluate_every=8,
        episodes=2,
        dataset=hopper_data,
        preparation=Preparation(normalize_observations=True),
    )
    assert list(overlapped.curves["updates"]) == list(run.curves["updates"])
    np.testing.assert_allclose(overlapped.curves["critic_loss"], run.curves["critic_loss"], rtol=1e-3)
    np.testing.assert_allclose(overlapped.curves["return"], run.curves["return"], rtol=0.05)
    uses = overlapped.seconds
    assert uses["compile"] + uses["update"] <= uses["total"]


@pytest.mark.parametrize("seeds", [0, -1, 10**11, 10**30, [], [-1], [0, 0], [0, 2**32], [2**63], [2**64]])
def test_seeds_are_checked_before_anything_runs(seeds, hopper_data):
    with pytest.raises(MoorlError, match="seeds"):
        train("bc", "hopper-medium-v2", seeds=seeds, dataset=hopper_data)


def test_names_are_checked_before_anything_runs(hopper_data):
    with pytest.raises(UnknownNameError, match="did you mean iql"):
        train("iqll", "hopper-medium-v2", dataset=hopper_data)
    with pytest.raises(UnknownNameError, match="did you mean hopper-medium-v2"):
        train("iql", "hopper-mediums-v2", dataset=hopper_data)
    with pytest.raises(NotAvailableError):
        train("iql", "ant")


def test_the_guides_own_agent_trains(tmp_path, hopper, hopper_data):
    """A user's agent in her own file, exactly as the guide shows it."""
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "your-algorithm.md").read_text(encoding="utf-8")
    code = guide.split('```python title="awr.py"\n')[1].split("```")[0]
    file = tmp_path / "awr.py"
    file.write_text(code, encoding="utf-8")
    run = train(f"{file}:AWR", hopper, seeds=2, updates=10, evaluate_every=5, episodes=1, dataset=hopper_data)
    assert len(run.curves) == 4
    assert np.isfinite(run.curves["return"]).all()


@pytest.mark.parametrize(
    ("option", "agent"),
    [
        pytest.param("jax_enable_x64", SAC(random_steps=1, utd=3), marks=pytest.mark.slow),
        pytest.param("jax_debug_nans", SAC(random_steps=1, utd=3), marks=pytest.mark.slow),
        pytest.param("jax_enable_x64", CalQL(blocks=1), marks=pytest.mark.slow),
    ],
)
def test_jaxs_options_do_not_stop_a_training(option, agent, hopper, hopper_data):
    """Experience is of float32 as simulators are; where no cycle of updates ended there are no metrics, on purpose."""
    agent = agent.replace(hidden=(8,), batch_size=4)
    updates = int(isinstance(agent, CalQL))
    how = {"seeds": 1, "updates": updates, "env_steps": 2, "evaluate_every_steps": 2, "episodes": 1}
    jax.config.update(option, True)
    try:
        run = train(agent, hopper, dataset=hopper_data, **how)
    finally:
        jax.config.update(option, False)
    assert np.isfinite(run.curves["score"]).all()
