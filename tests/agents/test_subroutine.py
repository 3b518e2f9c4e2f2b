"""Offline RL as a subroutine: what it spends, what it chooses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import (
    CQL,
    IQL,
    PEX,
    SAC,
    SPOT,
    CalQL,
    RecommendCalQL,
    RecommendCQL,
    RecommendIQL,
    Subroutine,
    TuneCalQL,
    TuneIQL,
    TunePEX,
)
from moorl_jax.agents.contract import Agent
from moorl_jax.agents.subroutine.changes import measure_scale
from moorl_jax.agents.subroutine.parts import Candidate, PartialUpdate, Recommended
from moorl_jax.agents.subroutine.state import SubroutineState
from moorl_jax.agents.subroutine.validation import FittedValue, choose, mean_return, score_episodes
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Collect, Evaluate, Offline, Online, Pretrain, Review, Switch
from moorl_jax.replay import Buffer, Experience, FromBuffer, History, Union
from moorl_jax.replay.buffer import CUT, ENDED
from moorl_jax.settings import settings
from moorl_jax.tasks import find
from tests.agents import probes

COST = {"first_steps": 100, "datasets": ("all", "best", "fresh"), "validation_share": 0.1, "share": 0.25}


class Constant(Agent):
    """A policy of one action, which is its whole state."""

    def policy(self, state):
        return state

    def greedy(self, params, observations):
        return jnp.broadcast_to(params, (*observations.shape[:-1], 1))


def env_steps(phases):
    return sum(phase.env_steps for phase in phases if isinstance(phase, Collect | Online))


@pytest.mark.parametrize("validation", ["online", "offline"])
@pytest.mark.parametrize("validated", [(), ("dataset",), ("policy",), ("dataset", "policy")])
@pytest.mark.parametrize(
    ("pauses", "tunes"), [((1.0,), False), ((0.5, 0.75), False), ((0.6,), True), ((0.4, 0.7), True)]
)
@pytest.mark.parametrize("kind", [RecommendIQL, RecommendCQL, RecommendCalQL, TunePEX])
def test_all_env_steps_come_from_the_budget(kind, pauses, tunes, validated, validation):
    """And each pause, with all it costs, is over at its share of them."""
    agent = kind(**COST, pauses=pauses, tunes=tunes, validated=validated, validation=validation)
    phases = agent.phases(30, 4_000)
    assert env_steps(phases) == 4_000
    verdicts = [number for number, phase in enumerate(phases) if isinstance(phase, Evaluate)]
    assert len(verdicts) == len(pauses)
    for share, verdict in zip(pauses, verdicts, strict=False):
        assert env_steps(phases[:verdict]) == share * 4_000


@pytest.mark.parametrize(
    ("validated", "tunes", "candidates"),
    [
        ((), False, 1),
        (("dataset",), False, 3),
        (("policy",), False, 1 + 2),
        (("dataset", "policy"), False, 1 + 3 * 2),
        (("dataset", "policy"), True, 3 * 2),  # the learner cannot be tuned
    ],
)
def test_validation_by_episodes_costs_the_same_for_each_candidate(validated, tunes, candidates):
    pauses = (0.5,) if tunes else (1.0,)
    agent = Subroutine(**COST, pauses=pauses, tunes=tunes, validated=validated)
    spent = [phase.env_steps for phase in agent.phases(30, 4_000) if isinstance(getattr(phase, "agent", 0), Candidate)]
    assert spent == [400 // candidates] * (candidates if candidates > 1 else 0)
    assert agent.validation_cost(4_000) == sum(spent)
    assert agent.replace(validation="offline").validation_cost(4_000) == 0


def test_without_updates_there_is_nothing_to_pause_for():
    with pytest.raises(MoorlError, match="0 updates are too few"):
        Subroutine(first_steps=100).phases(0, 4_000)


def test_datasets_are_what_their_names_say():
    agent = Subroutine(**COST, validated=("dataset",))
    training = [phase for phase in agent.phases(30, 4_000) if isinstance(phase, Pretrain)]
    assert [phase.updates for phase in training] == [30] * 3
    assert [phase.sampling for phase in training] == [
        History(dataset="all", share=0.25),
        History(dataset="best", share=0.25),
        History(dataset="last", count=400),
    ]
    fresh = [p for p in agent.phases(30, 4_000) if isinstance(p, Collect) and p.env_steps == 400]
    assert [phase.random for phase in fresh] == [False]


@pytest.mark.parametrize(
    ("kind", "sampling"),
    [(TuneIQL, History(offline=None)), (TunePEX, History(offline=0.5)), (TuneCalQL, History(offline=0.5))],
)
def test_fine_tuning_is_the_algorithms_own_on_history_for_a_dataset(kind, sampling):
    phases = kind(first_steps=100).phases(30, 20_000)
    assert isinstance(phases[-1], Online)
    assert phases[-1].sampling == sampling
    own = kind().offline.phases(30, 10_000)
    tuning = [phase for phase in phases if getattr(getattr(phase, "agent", None), "name", "") == "tuned"]
    assert [type(phase) for phase in tuning if not isinstance(phase, Evaluate)] == [
        type(phase) for phase in own if not isinstance(phase, Offline | Switch)
    ]
    assert tuning[-1].agent.agent == own[-1].agent


def test_the_learner_learns_from_its_buffer_alone_and_in_the_same_way_whatever_follows():
    phases = [kind(first_steps=100).phases(30, 4_000) for kind in (RecommendIQL, RecommendCQL)]
    assert phases[0][:2] == phases[1][:2]
    assert phases[0][1].sampling == FromBuffer()


def test_without_pauses_it_is_the_learner_alone():
    phases = [phase for phase in Subroutine(first_steps=100, pauses=()).phases(0, 400) if not isinstance(phase, Switch)]
    assert [(type(phase), phase.env_steps) for phase in phases] == [(Collect, 100), (Online, 300)]


class Preparing(IQL):
    """An agent that learns from other batches before it learns online."""

    def phases(self, updates, env_steps):
        return (Offline(self, updates), Pretrain(self, updates, Union()), Online(self, env_steps, Union()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pauses": (0.5, 0.5)}, "pauses must increase"),
        ({"datasets": ()}, "there must be a dataset"),
        ({"datasets": ("all", "all")}, "each dataset may be named once"),
        ({"learner": RecommendIQL()}, "cannot be the learner of another agent"),
        ({"pauses": (1.0,), "tunes": True}, "to have env steps left"),
        ({"pauses": (), "tunes": True}, "to have env steps left"),
        ({"validated": ("policy",), "validation_share": 0.99}, "costs 3,960: no env steps are left"),
        ({"offline": SPOT()}, "SPOT does not begin with"),
        (
            {"offline": Preparing(), "tunes": True, "pauses": (0.5,)},
            "cannot fine-tune here: its recipe has a Pretrain phase",
        ),
        ({"first_steps": 5_000, "pauses": ()}, "5,000 random env steps come first, and the budget is 4,000"),
    ],
)
def test_what_cannot_be_is_named(fields, message):
    with pytest.raises(MoorlError, match=message):
        Subroutine(**{"first_steps": 100} | fields).phases(30, 4_000)


def candidates(**actions):
    """A state at a pause whose candidates are policies of one action each."""
    return SubroutineState(
        learner=jnp.zeros(1),
        candidates={name: jnp.full(1, action) for name, action in actions.items()},
        scores=dict.fromkeys(actions, jnp.zeros(())),
        reward_scale=jnp.ones(()),
    )


def seen(rewards, ends, diverged=False):
    """The experience of those rewards, and of whatever came before."""
    example = jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), probes.bandit(np.random.default_rng(0), 1))
    buffer = Buffer.create(64, example)
    for reward in rewards:
        buffer = buffer.store(jax.tree.map(lambda leaf, r=reward: jnp.full(leaf.shape[1:], r), example))
    return jax.device_get(Experience(None, buffer, np.array(ends, int), diverged))


@pytest.mark.parametrize(("better", "scores"), [(0, (7.0, 2.0)), (1, (2.0, 7.0)), (1, (np.nan, -7.0))])
def test_by_episodes_the_better_candidate_is_chosen(better, scores):
    """Each plays six env steps, two episodes of three; three steps of the learner's came before.

    One that has diverged takes none, and has no score.
    """
    state, rewards, ends = candidates(first=0.0, second=1.0), [50.0, 50.0, 50.0], [0, 0, CUT]
    for name, score in zip(state.candidates, scores, strict=True):
        diverged = bool(np.isnan(score))
        rewards += [] if diverged else [score - 2.0, 0.0, 0.0, score, 1.0, 1.0]
        ends += [] if diverged else [0, 0, ENDED, 0, 0, ENDED]
        state = score_episodes(state, None, seen(rewards, ends, diverged), name=name, env_steps=6)
    np.testing.assert_array_equal(list(state.scores.values()), np.float32(scores))
    assert choose(state, None, None, preferred=("first", "second")).choice == better


@pytest.mark.parametrize(
    ("lengths", "score"),
    [
        ([165, 165], 165.0),
        ([166, 166], 166.0),
        ([167], 167.0),
        ([333], 333.0),
        ([], 333.0),  # longer than the window
        ([50], (50 + 283) / 2),  # it stood up, and did not fall again
        ([50, 200], (50 + 200) / 2),  # what is left is no longer than an episode was
    ],
)
def test_episodes_score_by_their_returns_however_many_a_window_has_room_for(lengths, score):
    """Of 333 env steps, each of which pays 1."""
    ends = np.zeros(333, int)
    ends[-1] = CUT
    ends[np.cumsum(lengths, dtype=int) - 1] = ENDED
    assert mean_return(np.ones(333), ends) == pytest.approx(score)


def test_who_stands_until_validation_is_over_is_better_than_who_falls():
    """Of eight env steps, each of which pays 1."""
    stands, falls = [0, ENDED, 0, 0, 0, 0, 0, CUT], [0, ENDED] * 4
    scores = [mean_return(np.ones(8), np.array(ends)) for ends in (stands, falls, [*[0] * 7, CUT])]
    assert scores == [4.0, 2.0, 8.0]


def test_of_equals_what_would_be_recommended_without_validation_is_chosen():
    """Two checkpoints of each of two datasets, then the learner; one that diverged is never chosen."""
    agent = Subroutine(datasets=("all", "best"), checkpoints=2, validated=("dataset", "policy"))

    def preferred(agent):
        """What the choice at the pause is made by."""
        changes = [phase.change for phase in agent.phases(30, 20_000) if isinstance(phase, Switch)]
        return next(change.keywords["preferred"] for change in changes if getattr(change, "func", None) is choose)

    names = preferred(agent)
    assert names == ("all-2", "all-1", "best-2", "best-1", "learner")
    state = candidates(**dict.fromkeys(names, 0.0))
    chosen = [
        names[int(choose(state.replace(scores=state.scores | better), None, None, preferred=names).choice)]
        for better in ({}, {"all-2": jnp.nan}, {"all-2": jnp.inf, "best-2": 1.0, "best-1": 1.0}, {"learner": 1.0})
    ]
    assert chosen == ["all-2", "all-1", "best-2", "learner"]
    assert preferred(agent.replace(tunes=True, pauses=(0.5,))) == names[:-1]


def test_rewards_are_scaled_to_the_span_of_returns_for_the_offline_algorithm_alone():
    """Returns of the history are 6 and 1; what is seen later is scaled likewise, and so are returns to go."""
    state = measure_scale(SubroutineState(), None, seen([4.0, 2.0, 1.0], [0, ENDED, CUT]))
    assert state.reward_scale == 200.0
    equal = seen([1.0, 1.0], [ENDED, ENDED])
    for same in (equal, seen([], [])):
        assert measure_scale(SubroutineState(), None, same).reward_scale == 1.0

    def update(state, batch, draws):
        return batch.rewards, batch.mc_returns

    batch = probes.bandit(np.random.default_rng(0), 2).replace(mc_returns=np.ones(2))
    for name, scale in (("offline", 200.0), ("learner", None)):
        after, to_go = PartialUpdate(update, name)(SubroutineState(reward_scale=scale), batch, None)
        np.testing.assert_allclose(getattr(after, name), (scale or 1.0) * batch.rewards)
        np.testing.assert_allclose(to_go, scale or 1.0)


def test_the_scale_is_measured_at_each_pause_where_the_settings_ask_for_it():
    def measured(agent):
        return sum(isinstance(phase, Review) and phase.change is measure_scale for phase in agent.phases(30, 4_000))

    twice = RecommendIQL(**COST, pauses=(0.5, 1.0))
    assert measured(twice) == 0
    assert measured(twice.replace(normalize_returns=True)) == 2
    assert settings("tune_pex", find("hopper"), 100, 1_000).agent.normalize_returns
    assert not settings("tune_cal_ql", find("hopper"), 100, 1_000).agent.normalize_returns


@pytest.mark.parametrize(("better", "actions"), [(0, (0.4, -0.8)), (1, (-0.8, 0.4))])
def test_by_fitted_values_the_better_candidate_is_chosen(better, actions, rng):
    """On the bandit that pays 1 - (a - 0.5)^2, whose values are the rewards."""
    data = probes.bandit(rng)
    buffer = Buffer(jax.tree.map(jnp.asarray, data), jnp.int32(len(data)), jnp.int32(len(data)))
    experience = jax.device_get(Experience(None, buffer, np.ones(len(data), np.int8)))
    state = candidates(first=actions[0], second=actions[1])
    for number, name in enumerate(state.candidates):
        agent = FittedValue(candidate=Candidate(agent=Constant(), name=name), hidden=(32, 32), learning_rate=3e-3)
        state = agent.begin(state, jax.random.key(number), jax.tree.map(lambda leaf: leaf[:1], data))

        def step(state, key, agent=agent):
            rows = jax.random.randint(key, (64,), 0, len(data))
            return agent.update(state, jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], data), None)[0], None

        state, _ = jax.lax.scan(step, state, jax.random.split(jax.random.key(2), 500))
        state = agent.score(state, None, experience)
    scores = list(state.scores.values())
    np.testing.assert_allclose(scores, [1.0 - (action - 0.5) ** 2 for action in actions], atol=0.1)
    assert choose(state, None, None, preferred=("first", "second")).choice == better


def test_values_to_come_are_the_candidates_own(rng):
    """On the chain, where the first state's value is the second's, discounted."""
    data = probes.chain(rng)
    agent = FittedValue(candidate=Candidate(agent=Constant()), hidden=(32, 32), learning_rate=3e-3, tau=0.05)
    state = agent.begin(candidates(learner=0.0), jax.random.key(0), jax.tree.map(lambda leaf: leaf[:1], data))

    def step(state, key):
        rows = jax.random.randint(key, (64,), 0, len(data))
        return agent.update(state, jax.tree.map(lambda leaf: jnp.asarray(leaf)[rows], data), None)[0], None

    state, _ = jax.lax.scan(step, state, jax.random.split(jax.random.key(2), 1000))
    first = data.observations[:, 0] == -1.0
    buffer = Buffer(jax.tree.map(lambda leaf: leaf[first], data), jnp.int32(first.sum()), jnp.int32(first.sum()))
    starts = Experience(None, buffer, np.ones(first.sum(), np.int8))
    assert agent.score(state, None, starts).scores["learner"] == pytest.approx(0.99, abs=0.05)


def test_each_seed_acts_by_its_own_choice():
    names = ("first", "second")
    agent = Recommended(candidates=tuple(Candidate(agent=Constant(), name=name) for name in names))
    scored = candidates(first=0.25, second=0.75).replace(scores={"first": jnp.asarray(1.0), "second": jnp.asarray(0.0)})
    state = choose(scored, None, None, preferred=names)
    other = state.replace(choice=jnp.asarray(1))
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), state, other)
    actions = jax.vmap(lambda state: agent.greedy(agent.policy(state), jnp.zeros((3, 2))))(both)
    np.testing.assert_array_equal(actions[..., 0], [[0.25] * 3, [0.75] * 3])


def test_the_defaults_are_the_named_algorithms():
    kinds = {
        RecommendIQL: IQL,
        RecommendCQL: CQL,
        RecommendCalQL: CalQL,
        TuneIQL: IQL,
        TunePEX: PEX,
        TuneCalQL: CalQL,
    }
    assert all(type(kind().offline) is algorithm and type(kind().learner) is SAC for kind, algorithm in kinds.items())
    assert all(kind().tunes == kind.__name__.startswith("Tune") for kind in kinds)
