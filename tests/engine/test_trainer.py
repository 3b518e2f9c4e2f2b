import dataclasses
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import (
    AWAC,
    BC,
    CQL,
    EDAC,
    FQL,
    IFQL,
    IQL,
    MOORL,
    OPT,
    PEX,
    QC,
    QCFQL,
    RLPD,
    SAC,
    SACN,
    SPOT,
    TD3BC,
    WSRL,
    CalQL,
    ReBRAC,
    Subroutine,
    TuneCalQL,
    TuneIQL,
)
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.subroutine import Candidate
from moorl_jax.config import static
from moorl_jax.data import Normalizer, Preparation, Prepared
from moorl_jax.engine import programs
from moorl_jax.engine.devices import placements
from moorl_jax.engine.recipes import final_state, needs_chunks, needs_data, needs_next_actions, returns_rule
from moorl_jax.engine.trainer import Trainer
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Collect, Offline, Online, Pause, Pretrain, Switch
from moorl_jax.replay import Balanced, Both, FromBuffer, History, Mixed, OneSource, Union
from moorl_jax.tasks import InTurn

SMALL = {"hidden": (16, 16), "batch_size": 32}
FEW = {"actions_per_state": 2, "blocks": 2}
OFFLINE = {
    "bc": BC(**SMALL),
    "td3_bc": TD3BC(**SMALL),
    "iql": IQL(**SMALL),
    "cql": CQL(**SMALL, **FEW),
}
# Every agent through all of its phases; 20 updates, 40 env steps.
RECIPES = {
    "td3_bc": OFFLINE["td3_bc"].phases(20, 40),
    "rebrac": ReBRAC(**SMALL).phases(20, 40),
    "awac": AWAC(**SMALL).phases(20, 40),
    "sac_n": SACN(**SMALL, members=3).phases(20, 0),
    "edac": EDAC(**SMALL, members=3).phases(20, 0),
    "spot": SPOT(**SMALL, vae_hidden=(16,), vae_updates=10, dropout=0.1).phases(20, 40),
    "iql": OFFLINE["iql"].phases(20, 40),
    "fql": FQL(**SMALL, flow_steps=3).phases(20, 40),
    "ifql": IFQL(**SMALL, flow_steps=3, samples=4).phases(20, 40),
    "qc": QC(**SMALL, horizon=3, flow_steps=3, samples=4, collect_steps=10).phases(20, 40),
    "qc_fql": QCFQL(**SMALL, horizon=3, flow_steps=3, collect_steps=10).phases(20, 40),
    "joint_iql": IQL(**SMALL, joint=True, learn_std=False, actor_objective="ddpgbc").phases(20, 40),
    "joint_rebrac": ReBRAC(**SMALL, joint=True, glorot=True).phases(20, 40),
    "cql": OFFLINE["cql"].phases(20, 40),
    "wsrl": WSRL(
        backbone=CalQL(**SMALL, **FEW, members=3, actor_layer_norm=True, critic_layer_norm=True),
        batch_size=32,
        utd=2,
        warmup_steps=10,
    ).phases(20, 40),
    "pex": PEX(**SMALL, collect_steps=10).phases(20, 40),
    "cal_ql": CalQL(**SMALL, **FEW).phases(20, 40),
    "sac": SAC(**SMALL, random_steps=10).phases(20, 40),
    "rlpd": RLPD(**SMALL, members=3, utd=3, random_steps=10).phases(20, 40),
    "moorl": MOORL(**SMALL, utd=2, random_steps=10).phases(20, 40),
    # Collect, pre-training on both, balanced replay, switches.
    "opt": OPT(
        backbone=OFFLINE["td3_bc"],
        batch_size=32,
        replay=Balanced(hidden=(8,), density_batch=16, updated_numerator=True, online_fraction=None),
        utd=1,
        collect_steps=10,
        pretrain_updates=10,
    ).phases(20, 40),
}
# Offline RL on one's own history. Each has some thirty phases, and a program of its own for many of them.
SUBROUTINES = {
    # Two datasets, validated by episodes, then fine-tuning.
    "tune_cal_ql": TuneCalQL(
        learner=SAC(**SMALL),
        offline=CalQL(**SMALL, **FEW),
        pauses=(0.75,),
        first_steps=10,
        datasets=("best", "fresh"),
        fresh_share=0.25,
        validated=("dataset",),
        validation_share=0.25,
    ).phases(10, 80),
    # The learner and two checkpoints, validated by fitted values; then the learner goes on.
    "subroutine": Subroutine(
        learner=OFFLINE["td3_bc"],
        offline=OFFLINE["iql"],
        pauses=(0.5,),
        first_steps=10,
        validated=("policy",),
        validation="offline",
        validation_updates=10,
        normalize_returns=True,
    ).phases(20, 40),
}


def quickest(names, quick):
    """Mark all but the `quick` ones as slow: each trains its recipe several times, and some compile for a minute."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


class LastHalf(Agent):
    """Two updates, of which the first has a metric more."""

    def init(self, key, example):
        return {"updates": jnp.zeros(()), "action": jnp.zeros(example.actions.shape[-1])}

    def cycle(self):
        return (self.both, self.one)

    def both(self, state, batch, draws):
        state, metrics = self.one(state, batch, draws)
        return state, metrics | {"of the first": metrics["of each"]}

    def one(self, state, batch, draws):
        return state | {"updates": state["updates"] + 1}, {"of each": state["updates"]}

    def policy(self, state):
        return state["action"]

    def greedy(self, params, observations):
        return jnp.broadcast_to(params, (*observations.shape[:-1], *params.shape))


class Numbering(Agent):
    """Two updates that count, then one that reports its number."""

    def init(self, key, example):
        return {"moved": jnp.zeros(2, jnp.int32), "action": jnp.zeros(example.actions.shape[-1])}

    def cycle(self):
        return (self.count, self.count, self.update)

    def count(self, state, batch, draws):
        return state | {"moved": state["moved"].at[0].add(1)}, {}

    def update(self, state, batch, draws):
        number = state["moved"].sum().astype(jnp.float32)
        return state | {"moved": state["moved"].at[1].add(1)}, {"number": number}

    def policy(self, state):
        return state["action"]

    def greedy(self, params, observations):
        return jnp.broadcast_to(params, (*observations.shape[:-1], *params.shape))


CALL = 7  #: updates or env steps; it cuts every phase of every recipe


@pytest.fixture
def make(hopper, hopper_data):
    """Make a trainer of a recipe on the small dataset."""
    made = []

    def one(phases, seeds=(0,)):
        prepared = Preparation().apply(
            hopper_data,
            returns_rule(phases),
            next_actions=needs_next_actions(phases),
            chunks=needs_chunks(phases),
        )
        if not needs_data(phases):
            prepared = Prepared(None, Normalizer.identity((11,)))
        made.append(Trainer([phases], hopper, prepared, seeds))
        return made[-1]

    yield one
    for trainer in made:
        trainer.close()


def walk(trainer, *calls):
    """Go through all phases, each cut into calls of the given lengths, repeated as needed."""
    metrics, calls = [], calls or (10**6,)
    while True:
        for number in range(10**6):
            if trainer.left <= 0:
                break
            metrics.append(trainer.start(min(trainer.left, calls[number % len(calls)]))())
        if trainer.finished:
            return trainer.states(), metrics
        trainer.next_phase()


def walk_saving(trainer):
    """Go through all phases in calls and return what was saved in the middle of each."""
    saves = []
    while True:
        while trainer.left > 0:
            if 0 < trainer.progress.done <= CALL + 1:  # a call of updates ends with a whole cycle
                saves.append(trainer.save())
            trainer.start(min(trainer.left, CALL))()
        if trainer.finished:
            return saves
        trainer.next_phase()


def assert_same(left, right):
    jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("name", quickest(RECIPES, ("sac",)))
def test_a_seeds_result_does_not_depend_on_the_other_seeds(name, make):
    """Bit for bit, offline and online: alone, beside others, first or last, on this device or that."""
    seeds = (5, 0, 7)
    states, metrics = walk(make(RECIPES[name], seeds))
    for position, seed in ((0, 5), (2, 7)):
        alone, metrics_alone = walk(make(RECIPES[name], (seed,)))
        assert_same(jax.tree.map(lambda leaf, p=position: leaf[p], states), jax.tree.map(lambda leaf: leaf[0], alone))
        for together, apart in zip(metrics, metrics_alone, strict=True):
            assert_same({key: value[position] for key, value in together.items()}, {k: v[0] for k, v in apart.items()})


def test_seeds_differ(make):
    states, _ = walk(make((Offline(OFFLINE["bc"], 5),), (0, 1)))
    kernel = states.actor.params["layer0"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01


@pytest.mark.parametrize("name", quickest(RECIPES | SUBROUTINES, ("sac",)))
def test_cut_into_calls_or_resumed_it_ends_the_same(name, make):
    """Bit for bit the same end, in one call a phase, in several, or restored into a new trainer amid any phase."""
    phases = (RECIPES | SUBROUTINES)[name]
    straight, _ = walk(make(phases, (3, 1)))
    trainer = make(phases, (3, 1))
    saves = walk_saving(trainer)
    assert_same(trainer.states(), straight)
    assert len(saves) == sum(phase.length > 1 for phase in trainer.phases)  # all but evaluations
    for saved in saves:
        resumed = make(phases, (3, 1))
        resumed.restore(saved)
        states, _ = walk(resumed, CALL)
        assert_same(states, straight)
        assert resumed.progress == trainer.progress


@pytest.mark.slow
def test_resumed_amid_a_pause_it_ends_the_same(make):
    """While the second candidate is validated, after which the better of two datasets' policies is tuned."""
    agent = TuneIQL(
        learner=OFFLINE["td3_bc"],
        offline=OFFLINE["iql"],
        first_steps=10,
        datasets=("last", "best"),
        validated=("dataset",),
        validation_share=0.25,
    )
    phases = agent.phases(10, 80)
    trainer = make(phases)
    saves = walk_saving(trainer)
    validated = [saved for saved in saves if saved["progress.env_steps"] < 40 and saved["progress.phase"] > 5]
    resumed = make(phases)
    resumed.restore(validated[-1])
    assert isinstance(resumed.agents[0], Candidate)
    assert_same(walk(resumed, CALL)[0], trainer.states())
    assert resumed.progress.env_steps == 80


def test_resumed_amid_learning_from_history_it_ends_the_same(make):
    """What the sampling rule remembers is as long as the history was; a new trainer has none."""
    agent = OFFLINE["bc"]
    phases = (Collect(agent, 20, random=True), Pretrain(agent, 8, History(dataset="last")))
    trainer, resumed = make(phases), make(phases)
    trainer.start(20)()
    trainer.next_phase()
    trainer.start(4)()
    resumed.restore(trainer.save())
    assert_same(walk(resumed)[0], walk(trainer)[0])


@pytest.mark.parametrize("name", quickest(("td3_bc", "opt", "cal_ql"), ()))
def test_groups_of_several_seeds_as_an_accelerator_has_them(name, make, monkeypatch):
    """Batched over seeds, online too: the same up to rounding, and resumed bit for bit."""
    seeds = (3, 1, 0)
    alone, _ = walk(make(RECIPES[name], seeds))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    batched = make(RECIPES[name], seeds)
    assert max(len(group.positions) for group in batched._groups) == 2
    saves = walk_saving(batched)
    together = batched.states()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3), together, alone)
    resumed = make(RECIPES[name], seeds)
    resumed.restore(saves[len(saves) // 2])
    assert_same(walk(resumed, CALL)[0], together)


def test_updates_are_rounded_up_to_whole_cycles(make):
    trainer = make((Offline(OFFLINE["td3_bc"], 4),))
    trainer.start(3)()
    assert trainer.progress.updates == 4
    state = trainer.states()
    assert state.critic.moments.count == 4
    assert state.actor.moments.count == 2


class TestNextActions:
    """The data's, for agents that ask for them: others' batches have none, nor have buffers."""

    def test_batches_have_them_in_the_phases_whose_agent_asks(self, make):
        seen = {}

        class Asking(Numbering):
            asks: bool = static(True)

            def count(self, state, batch, draws):
                seen[self.asks] = batch.next_actions
                return super().count(state, batch, draws)

            def needs_next_actions(self):
                return self.asks

        trainer = make((Offline(Asking(), 6), Online(Asking(asks=False), 6, Union())))
        walk(trainer)
        assert seen[True].shape == (256, 3)
        assert seen[False] is None
        assert trainer._groups[0].buffer.rows.next_actions is None

    def test_online_experience_has_none(self):
        agent = ReBRAC(**SMALL)
        with pytest.raises(MoorlError, match=r"'online' needs next actions.*draws by Mixed"):
            needs_next_actions((Offline(agent, 4), Online(agent, 6, Mixed(0.5))))
        with pytest.raises(MoorlError, match=r"needs next actions.*draws by History"):
            needs_next_actions(Subroutine(offline=agent, learner=SAC(**SMALL), first_steps=10).phases(10, 80))


class TestOnline:
    def test_counts_and_metrics(self, make):
        """utd 3 with a cycle of 2: of five env steps' 15 updates, 7 move the actor."""
        agent = OFFLINE["td3_bc"]
        trainer = make((Collect(agent, 6), Online(agent, 5, Union(), utd=3), Collect(agent, 4)))
        _, metrics = walk(trainer)
        assert (trainer.progress.updates, trainer.progress.env_steps) == (15, 15)
        assert metrics[0] == metrics[2] == {}  # also after a phase that had metrics
        assert np.isfinite(metrics[1]["actor_loss"]).all()
        state = trainer.states()
        assert state.critic.moments.count == 15
        assert state.actor.moments.count == 7

    def test_time_outs_bootstrap_and_are_kept(self, make):
        """Every episode of a simulator that only times out: no terminal is stored, and no transition is lost."""
        trainer = make((Collect(OFFLINE["td3_bc"], 23, random=True),))
        trainer._groups[0].simulators._environments = InTurn([timing_out(5)])
        walk(trainer)
        buffer = jax.tree.map(lambda leaf: leaf[0], trainer._groups[0].buffer)
        assert int(buffer.size) == 23
        assert (buffer.rows.terminals == 0).all()
        clock = np.asarray(buffer.rows.observations)[:23, 0]
        np.testing.assert_array_equal(clock[1:], [step % 5 for step in range(1, 23)])
        np.testing.assert_array_equal(np.asarray(buffer.rows.next_observations)[:23, 0], [s % 5 + 1 for s in range(23)])

    def test_terminals_are_stored(self, make):
        trainer = make((Collect(OFFLINE["td3_bc"], 200, random=True),))
        walk(trainer)
        buffer = jax.tree.map(lambda leaf: np.asarray(leaf[0]), trainer._groups[0].buffer)
        ends = np.flatnonzero(buffer.rows.terminals[:200])
        assert len(ends) > 3, "random Hopper falls within 200 steps"
        jumps = np.abs(buffer.rows.observations[1:200] - buffer.rows.next_observations[:199]).max(axis=1) > 0
        np.testing.assert_array_equal(np.flatnonzero(jumps), ends[ends < 199])

    @pytest.mark.slow
    @pytest.mark.parametrize("agent", [OFFLINE["iql"], CalQL(**SMALL, **FEW)])
    def test_env_steps_that_a_diverged_policy_does_not_take_are_nothing_to_learn_from(self, make, agent):
        """They are in no buffer, and episodes end at steps that were taken; where returns are waited for too."""

        class Faltering(type(agent)):
            def act(self, params, observations, key):
                return jnp.where(jax.random.bernoulli(key, 0.3), jnp.nan, super().act(params, observations, key))

        lost = Faltering(**{field.name: getattr(agent, field.name) for field in dataclasses.fields(agent)})
        phases = (
            Collect(agent, 20, random=True),
            Pause(),
            Collect(lost, 40),
            Pause(),
            Pretrain(agent, 6, History()),
            Online(agent, 6, FromBuffer()),
        )
        trainer = make(phases, (0, 1))
        _, metrics = walk(trainer)
        assert all(np.isfinite(value).all() for each in metrics for value in each.values())
        group = trainer._groups[0]
        for place in range(len(group.positions)):
            experience = jax.device_get(group.experience(place))
            count, ends = int(experience.buffer.written), experience.ends
            assert 26 < count < 66
            assert len(ends) == count
            rows = jax.tree.map(lambda leaf, count=count: leaf[:count], experience.buffer.rows)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(rows))
            jumps = (rows.observations[1:] != rows.next_observations[:-1]).any(axis=1)
            np.testing.assert_array_equal(jumps, ends[:-1] != 0)

    def test_metrics_are_means_over_the_updates_that_end_a_cycle(self, make):
        """Cycles of three over env steps of two updates: of 14 updates the numbers 2, 5, 8 and 11 report."""
        trainer = make((Online(Numbering(), 7, Union(), utd=2),))
        metrics = trainer.start(7)()
        assert metrics["number"] == pytest.approx(6.5)
        assert trainer.states()["moved"].tolist() == [[10, 4]]
        np.testing.assert_array_equal(make((Online(Numbering(), 1, Union(), utd=2),)).start(1)()["number"], np.nan)

    def test_a_metric_is_that_of_the_last_update_of_the_cycle_that_has_it(self, make):
        """Offline, and online in any turn: of updates 0 to 4 the first of a cycle are 0, 2 and 4, the last 1 and 3."""
        offline, online = make((Offline(LastHalf(), 6),)), make((Online(LastHalf(), 5, Union()),))
        ended = offline.start(6)()
        assert (ended["of the first"], ended["of each"]) == (2.0, 3.0)
        ended = online.start(5)()
        assert (ended["of the first"], ended["of each"]) == (2.0, 2.0)
        one = make((Online(LastHalf(), 2, Union()),)).start(1)()
        assert one["of the first"] == 0.0
        np.testing.assert_array_equal(one["of each"], np.nan)

    def test_metrics_keep_their_digits_over_however_many_env_steps(self, make):
        """Three thousand times 0.1, one after the other, are 300.009 in float32."""

        class Constant(Numbering):
            def cycle(self):
                return (self.update,)

            def update(self, state, batch, draws):
                return state, {"number": jnp.float32(0.1)}

        trainer = make((Online(Constant(batch_size=1), 3_000, Union()),))
        trainer._groups[0].simulators._environments = InTurn([timing_out(5)])
        assert trainer.start(3_000)()["number"] == pytest.approx(0.1, rel=1e-6)

    @pytest.mark.parametrize(
        "rule",
        [
            pytest.param(Mixed(0.5), marks=pytest.mark.slow),
            pytest.param(OneSource(draws=2), marks=pytest.mark.slow),
            pytest.param(Balanced(hidden=(8,), density_batch=16), marks=pytest.mark.slow),
        ],
    )
    def test_a_phase_is_compiled_once(self, make, rule):
        """Neither another turn of the cycle, nor an episode's end, nor what a rule remembers asks for a new program."""
        trainer = make((Collect(OFFLINE["td3_bc"], 20), Online(OFFLINE["td3_bc"], 300, rule)), (0, 1))
        trainer.start(20)()
        trainer.next_phase()
        trainer.start(1)()
        before = programs.env_step._cache_size(), programs.store._cache_size()
        trainer.start(290)()
        assert (programs.env_step._cache_size(), programs.store._cache_size()) == before
        assert sum(group.simulators._episodes[0] for group in trainer._groups) > 4

    def test_cal_ql_gets_the_returns_of_finished_episodes(self, make):
        agent = CalQL(**SMALL, **FEW)
        trainer = make((Collect(agent, 150, random=True),))
        walk(trainer)
        buffer = jax.tree.map(lambda leaf: np.asarray(leaf[0]), trainer._groups[0].buffer)
        ends = np.flatnonzero(buffer.rows.terminals[:150])
        assert buffer.finished == ends[-1] + 1 <= 150
        following = 0.0
        for step in reversed(range(ends[-1] + 1)):
            following = buffer.rows.rewards[step] + 0.99 * (0 if step in ends else following)
            assert buffer.rows.mc_returns[step] == pytest.approx(following, rel=1e-5)

    def test_random_steps_are_uniform_and_then_the_policy_acts(self, make):
        trainer = make((Collect(OFFLINE["td3_bc"], 300, random=True), Collect(OFFLINE["td3_bc"], 50)))
        walk(trainer)
        actions = np.asarray(trainer._groups[0].buffer.rows.actions)[0]
        assert np.abs(actions[:300]).mean() == pytest.approx(0.5, abs=0.05)
        policy = OFFLINE["td3_bc"].greedy(
            jax.tree.map(lambda leaf: leaf[0], trainer.policies()),
            trainer._groups[0].buffer.rows.observations[0, 300:350],
        )
        assert (actions[300:350] - policy).std() == pytest.approx(0.1, abs=0.03)  # exploration noise

    def test_a_switch_changes_the_state_and_nothing_else(self, make):
        agent = OFFLINE["iql"]
        halve = Switch(lambda state, key, example: jax.tree.map(lambda leaf: leaf / 2, state))
        before, _ = walk(make((Offline(agent, 6),)))
        after, _ = walk(make((Offline(agent, 6), halve)))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a / 2, b), before, after)

    @pytest.mark.parametrize(
        "agent", [PEX(**SMALL), pytest.param(SPOT(**SMALL, vae_hidden=(16,), vae_updates=2), marks=pytest.mark.slow)]
    )
    def test_a_switch_to_phases_without_length_is_not_taken(self, agent, make, hopper):
        """Offline alone, what comes out is what was trained and evaluated."""
        phases = agent.phases(4, 0)
        trainer = make(phases)
        states, _ = walk(trainer)
        assert isinstance(trainer.current, Offline)
        last, shapes = final_state(phases, hopper, 1)
        assert type(last) is type(trainer.agents[0])
        assert jax.tree.map(np.shape, states) == jax.tree.map(np.shape, shapes)

    def test_what_cannot_be_combined_is_named(self, make):
        with pytest.raises(MoorlError, match="cannot be combined"):
            make((Online(CalQL(**SMALL), 5, Balanced()),))
        with pytest.raises(MoorlError, match="needs a buffer"):
            make((Pretrain(OFFLINE["iql"], 5, Both()),)).start(5)()


def timing_out(horizon):
    """A simulator whose observation is its clock, and whose episodes only ever time out."""

    class Clock:
        clock = 0

        def reset(self, seed):
            self.clock = 0
            return np.zeros(11), {}

        def step(self, action):
            self.clock += 1
            return np.full(11, self.clock), 1.0, False, self.clock == horizon, {}

        def close(self):
            pass

    return Clock()


def test_seeds_are_dealt_over_devices_evenly():
    assert [placed.groups for placed in placements(1)] == [((0,),)]
    assert [placed.groups for placed in placements(3)] == [((0,), (2,)), ((1,),)]
    assert len({placed.device for placed in placements(3)}) == 2
    assert [placed.groups for placed in placements(3, images=True)] == [((0,), (1,), (2,))]


def test_an_accelerator_takes_its_seeds_as_one_batch_but_images_seed_by_seed(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [placed.groups for placed in placements(3)] == [((0, 2),), ((1,),)]
    assert [placed.groups for placed in placements(3, images=True)] == [((0,), (2,)), ((1,),)]


@pytest.mark.slow
def test_one_device_gives_what_two_give(make, hopper_data, tmp_path):
    """The same seeds in a process of one device; float32 rounding is the same, for each seed is its own program."""
    states, _ = walk(make((Offline(OFFLINE["iql"], 10),), (0, 1)))
    arrays = {name: value for name, value in vars(hopper_data.transitions).items() if value is not None}
    np.savez(tmp_path / "data.npz", **arrays)
    script = f"""
import jax, numpy as np
from moorl_jax.agents import IQL
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.trainer import Trainer
from moorl_jax.phases import Offline
from moorl_jax.tasks import find
from moorl_jax.types import Transitions
assert len(jax.local_devices()) == 1
prepared = Prepared(Transitions(**np.load({str(tmp_path / "data.npz")!r})), Normalizer.identity((11,)))
phases = (Offline(IQL(hidden=(16, 16), batch_size=32), 10),)
trainer = Trainer([phases], find("hopper-medium-v2"), prepared, (0, 1))
trainer.start(10)()
np.savez({str(tmp_path / "states.npz")!r}, *jax.tree.leaves(trainer.states()))
"""
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})
    with np.load(tmp_path / "states.npz") as other:
        assert_same([other[name] for name in other.files], jax.tree.leaves(states))


@pytest.mark.slow
def test_config_leaves_can_be_swept_by_vmap(hopper_data):
    """Numbers in a config are leaves: two learning rates in one program equal the runs one by one."""
    data = hopper_data.transitions
    batch = jax.tree.map(lambda leaf: leaf[:32], data)
    rates = np.array([1e-3, 1e-2], np.float32)
    agents = OFFLINE["iql"].replace(actor_learning_rate=rates)
    axes = jax.tree.map(lambda _: None, OFFLINE["iql"]).replace(actor_learning_rate=0)
    state = OFFLINE["iql"].init(jax.random.key(0), batch)
    swept, _ = jax.vmap(lambda agent: agent.update(state, batch, None), in_axes=(axes,))(agents)
    for position, rate in enumerate(rates):
        single, _ = OFFLINE["iql"].replace(actor_learning_rate=rate).update(state, batch, None)
        jax.tree.map(
            lambda many, one, p=position: np.testing.assert_allclose(many[p], one, rtol=1e-5, atol=1e-6), swept, single
        )


@pytest.mark.slow
def test_blocks_only_change_the_rounding(hopper_data):
    batch = jax.tree.map(lambda leaf: leaf[:32], hopper_data.transitions)
    whole, parts = (OFFLINE["cql"].replace(blocks=blocks) for blocks in (1, 8))
    state = whole.init(jax.random.key(0), batch)
    draws = whole.draw(jax.random.key(1), batch)
    (one, metrics), (many, metrics_many) = (agent.update(state, batch, draws) for agent in (whole, parts))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6), one.critic.params, many.critic.params
    )
    for key, value in metrics.items():
        assert float(metrics_many[key]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), key
