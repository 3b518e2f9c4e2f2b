"""Offline RL as a subroutine of online RL (arXiv 2512.00383; what it leaves open to us is ours, and named).

An online learner pauses, and its own history becomes the dataset of an offline algorithm. What comes of it is
recommended, or goes on learning online as that algorithm's own recipe has it. Datasets and policies may be selected by
validation: by episodes, which are env steps of the same budget, or without any, by fitted values.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents.cal_ql import CalQL
from moorl_jax.agents.contract import Agent, Batch, Draws, State, Update
from moorl_jax.agents.cql import CQL
from moorl_jax.agents.iql import IQL
from moorl_jax.agents.pex import PEX
from moorl_jax.agents.sac import SAC
from moorl_jax.config import Bounds, Count, NotNegative, Share, Steps, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import MLP, Learner, critics, init_critics, polyak
from moorl_jax.phases import Collect, Evaluate, Offline, Online, Pause, Phase, Pretrain, Review, Switch
from moorl_jax.replay import Experience, FromBuffer, History, Mixed, Sampling, Union
from moorl_jax.replay.buffer import ENDED
from moorl_jax.replay.history import Selected, episode_numbers
from moorl_jax.types import Array, Metrics, Params, ReturnsToGo, Transitions

Learned = Selected | Literal["fresh"]  #: History's datasets, or one collected at the pause, by the learner's policy
PauseShare = Annotated[float, Bounds(above=0.0, at_most=1.0)]


class Subroutine(Agent):
    """An online learner that pauses for offline RL.

    At each pause the offline algorithm is trained from scratch, on the first of `datasets`, or on each of them where
    "dataset" is `validated`. Candidates are what it ends with; where "policy" is `validated`, earlier checkpoints too,
    and the learner itself. The best by validation is recommended, and judged at the pause.

    After the last pause the offline algorithm `tunes` what was chosen, by its own recipe, for what is left of the
    budget. The learner, which it cannot tune, is no candidate then.

    All that acts takes from the same env steps, and what it saw joins the history: fresh datasets and validation are
    over when a pause is.
    """

    source = "ours: arXiv 2512.00383 leaves it open to us"

    learner: Agent = SAC()
    offline: Agent = IQL()
    tunes: bool = static(False)  #: whether learning goes on online after the last pause
    pauses: tuple[PauseShare, ...] = static((1.0,))  #: shares of the env steps; with none it is the learner alone
    first_steps: Steps = static(5000)  #: random env steps before the learner's first update
    datasets: tuple[Learned, ...] = static(("all", "last", "best"))
    share: Share = static(0.5)  #: of the history, that "last" and "best" take
    fresh_share: Share = static(0.1)  #: of the env steps up to the pause's end, that "fresh" takes
    checkpoints: Count = static(2)  #: of an offline training, evenly spaced, the last one at its end
    validated: tuple[Literal["dataset", "policy"], ...] = static(())  #: what is selected by validation
    validation: Literal["online", "offline"] = static("online")  #: by episodes, or "offline" by fitted values
    validation_share: Share = static(0.1)  #: of all env steps, for the episodes of a pause's candidates together
    validation_updates: Steps = static(20_000)  #: of each candidate's fitted values
    normalize_returns: bool = static(False)  #: scale rewards for the offline algorithm so that returns span 1000 (IQL)

    def init(self, key: Array, example: Transitions) -> State:
        """Return the learner's state, in a dictionary to which pauses add."""
        return self._learning(self.learner).init(key, example)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return the learner's env steps and its pauses, `updates` those of each offline training.

        Raises MoorlError for pauses that leave the learner no env steps of its own.
        """
        self._check(updates)
        learner = self.learner.phases(0, env_steps + 1_000_000)[-1]  # how it learns, whatever its own first steps are
        assert isinstance(learner, Online)
        learning = self._learning(learner.agent)
        phases: list[Phase] = [Collect(learning, self.first_steps, random=True)]
        taken = self.first_steps
        if taken > env_steps:
            raise MoorlError(f"{taken:,} random env steps come first, and the budget is {env_steps:,}")
        for number, share in enumerate(self.pauses):
            ends = round(share * env_steps)
            fresh = round(self.fresh_share * ends) if "fresh" in self._datasets else 0
            each = self._episodes_of(env_steps)
            cost = fresh + each * len(self._candidates)
            steps = ends - taken - cost
            if steps <= 0:
                raise MoorlError(
                    f"pause {number + 1} of {len(self.pauses)} ends at env step {ends:,} of {env_steps:,} and costs "
                    f"{cost:,}: no env step is left to the learner before it"
                )
            if number:
                phases.append(Switch(_forget))
            phases += [Online(learning, steps, FromBuffer(), learner.utd), Pause(), Collect(learning, fresh), Pause()]
            phases += self._pause(updates, fresh, each)
            if not self.tunes or share < self.pauses[-1]:
                phases.append(Evaluate(Recommended(candidates=self._candidates)))
            taken = ends
        if not self.tunes:
            last = Online(learning, env_steps - taken, FromBuffer(), learner.utd)
            return (*phases, Switch(_forget), last) if taken < env_steps else tuple(phases)
        return (*phases, *self._tuning(updates, env_steps - taken))

    def _learning(self, learner: Agent) -> "Part":
        return Part(agent=learner, name="learner", batch_size=learner.batch_size)

    def validation_cost(self, env_steps: int) -> int:
        """Return how many env steps of a budget the validation of its pauses takes."""
        return len(self.pauses) * len(self._candidates) * self._episodes_of(env_steps)

    def _episodes_of(self, env_steps: int) -> int:
        """Return the env steps of each candidate's validation."""
        candidates = len(self._candidates)
        if candidates == 1 or self.validation == "offline":
            return 0
        return max(1, round(self.validation_share * env_steps) // candidates)

    @property
    def _datasets(self) -> tuple[Learned, ...]:
        return self.datasets if "dataset" in self.validated else self.datasets[:1]

    @property
    def _checkpoints(self) -> int:
        return self.checkpoints if "policy" in self.validated else 1

    @property
    def _candidates(self) -> tuple[Agent, ...]:
        """The candidates' agents, in the order of their states; the learner, where it is one, comes first."""
        return (self.learner,) * self._learner_too + (self._offline.agent,) * self._trained

    @property
    def _learner_too(self) -> bool:
        """Whether the learner itself is a candidate."""
        return "policy" in self.validated and not self.tunes

    @property
    def _trained(self) -> int:
        """How many candidates a pause's offline trainings make."""
        return len(self._datasets) * self._checkpoints

    @property
    def _preference(self) -> tuple[int, ...]:
        """All candidates: what would be recommended without validation first, the learner last."""
        learner = int(self._learner_too)
        ends = range(learner + self._checkpoints - 1, learner + self._trained, self._checkpoints)
        return (*(end - back for end in ends for back in range(self._checkpoints)), *range(learner))

    @property
    def _offline(self) -> Offline:
        first = self.offline.phases(1, 1)[0]
        if not isinstance(first, Offline) or not first.evaluated:
            raise MoorlError(f"{type(self.offline).__name__} does not begin with its own offline updates")
        return first

    def _pause(self, updates: int, fresh: int, each: int) -> list[Phase]:
        """Return a pause's offline trainings and its choice; `each` are the env steps of a candidate's validation."""
        offline, candidates = self._offline.agent, self._candidates
        part = Part(agent=offline, name="offline", batch_size=offline.batch_size)
        phases: list[Phase] = [Switch(partial(_begin, candidates=len(candidates), learner=self._learner_too))]
        if self.normalize_returns:
            phases.append(Review(_scale))
        for dataset in self._datasets:
            if dataset == "fresh":
                history = History(dataset="last", count=fresh)
            else:
                history = History(dataset=dataset, share=self.share)
            phases.append(Switch(partial(_add, agent=offline)))
            training = Pretrain(part, updates // self._checkpoints, history, evaluated=False)
            phases += [training, Switch(_keep)] * self._checkpoints
        for number, agent in enumerate(candidates if len(candidates) > 1 else ()):
            candidate = Candidate(agent=agent, number=number)
            if self.validation == "online":
                scored = partial(_score_episodes, number=number, env_steps=each)
                phases += [Collect(candidate, each, evaluated=False), Pause(), Review(scored)]
            else:
                values = FittedValue(candidate=candidate)
                fitting = Pretrain(values, self.validation_updates, History(), evaluated=False)
                phases += [Switch(values.begin), fitting, Review(values.score)]
        return [*phases, Switch(partial(_choose, preference=self._preference))]

    def _tuning(self, updates: int, env_steps: int) -> list[Phase]:
        """Return what the offline algorithm's own recipe has after its offline phase, all history for its dataset."""
        offline = self._offline.agent
        made = Part(agent=offline, name="tuned", batch_size=offline.batch_size)
        phases: list[Phase] = [Switch(_take_over), Evaluate(made)]  # where fine-tuning sets out from
        for phase in self.offline.phases(updates, env_steps)[1:]:
            if isinstance(phase, Switch):
                phases.append(Switch(partial(_change_tuned, change=phase.change)))
                continue
            if not isinstance(phase, Collect | Online):
                raise MoorlError(f"{type(offline).__name__} cannot tune: it goes through {type(phase).__name__} first")
            part = Part(agent=phase.agent, name="tuned", batch_size=phase.agent.batch_size)
            if isinstance(phase, Collect):
                phases.append(replace(phase, agent=part))
            else:
                phases.append(replace(phase, agent=part, sampling=_of_history(phase.sampling)))
        return phases

    def _check(self, updates: int) -> None:
        """Raise MoorlError for a choice there is not."""
        if self.pauses and updates < self._checkpoints:
            raise MoorlError(f"{type(self).__name__} trains offline at its pauses: {updates} updates are too few")
        if not self.datasets or list(self.pauses) != sorted(set(self.pauses)):
            raise MoorlError(
                f"there must be a dataset, and pauses in rising order, not {self.datasets} and {self.pauses}"
            )
        if self.tunes and self.pauses[-1:] in ((), (1.0,)):
            raise MoorlError(f"tuning needs a last pause that leaves env steps to it, not {self.pauses}")


class RecommendIQL(Subroutine):
    """IQL on all that was seen, at the end."""

    offline: Agent = IQL()


class RecommendCQL(Subroutine):
    """CQL on all that was seen, at the end."""

    offline: Agent = CQL()


class RecommendCalQL(Subroutine):
    """Cal-QL on all that was seen, at the end."""

    offline: Agent = CalQL()


class TuneIQL(Subroutine):
    """IQL halfway, which then goes on learning online."""

    offline: Agent = IQL()
    tunes: bool = static(True)
    pauses: tuple[PauseShare, ...] = static((0.5,))


class TunePEX(TuneIQL):
    """IQL halfway, its policy then expanded and learning online."""

    offline: Agent = PEX()


class TuneCalQL(TuneIQL):
    """Cal-QL halfway, which then goes on learning online."""

    offline: Agent = CalQL()


class Part(Agent):
    """An agent whose state is part of a larger one, under a name."""

    agent: Agent = SAC()
    name: str = static("learner")

    def init(self, key: Array, example: Transitions) -> State:
        """Return a state of this part alone."""
        return {self.name: self.agent.init(key, example)}

    def draw(self, key: Array, batch: Batch) -> Draws:
        """Draw what the agent draws."""
        return self.agent.draw(key, batch)

    def cycle(self) -> tuple[Update, ...]:
        """Return the agent's updates, of its part of the state."""
        return tuple(_PartialUpdate(update, self.name) for update in self.agent.cycle())

    def policy(self, state: State) -> Params:
        """Return the agent's policy."""
        return self.agent.policy(state[self.name])

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the agent's greedy actions."""
        return self.agent.greedy(params, observations)

    def act(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the agent's exploratory actions."""
        return self.agent.act(params, observations, key)

    def judged(self, params: Params, observations: Array, key: Array) -> Array:
        """Return the agent's actions for evaluation."""
        return self.agent.judged(params, observations, key)

    def returns_to_go(self) -> ReturnsToGo | None:
        """Ask for what the agent asks for."""
        return self.agent.returns_to_go()


@dataclass(frozen=True)
class _PartialUpdate:
    """An update of a part of the state. Two of the same update are equal, so that they are scanned."""

    update: Update
    name: str

    def __call__(self, state: State, batch: Batch, draws: Draws) -> tuple[State, Metrics]:
        if "reward_scale" in state:  # from a pause on; the learner learns before and from rewards as they are
            to_go = None if batch.mc_returns is None else batch.mc_returns * state["reward_scale"]
            batch = batch.replace(rewards=batch.rewards * state["reward_scale"], mc_returns=to_go)
        part, metrics = self.update(state[self.name], batch, draws)
        return state | {self.name: part}, metrics


class Candidate(Agent):
    """One of a pause's candidates, acting greedily."""

    agent: Agent = SAC()
    number: Steps = static(0)

    def policy(self, state: State) -> Params:
        """Return the candidate's policy."""
        return self.agent.policy(state["trained"][self.number])

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return its greedy actions."""
        return self.agent.greedy(params, observations)


class Recommended(Agent):
    """The candidate that was chosen, each seed its own."""

    candidates: tuple[Agent, ...] = (SAC(),)

    def policy(self, state: State) -> Params:
        """Return all candidates' policies and the number of the chosen one."""
        pairs = zip(self.candidates, state["trained"], strict=True)
        return {"policies": tuple(agent.policy(trained) for agent, trained in pairs), "choice": state["choice"]}

    def greedy(self, params: Params, observations: Array) -> Array:
        """Return the chosen candidate's greedy actions."""
        pairs = zip(self.candidates, params["policies"], strict=True)
        actions = jnp.stack([agent.greedy(policy, observations) for agent, policy in pairs])
        return actions[params["choice"]]


class FittedValue(Agent):
    """Fitted Q evaluation of a candidate on all history (Le, Voloshin and Yue 2019, arXiv 1903.08738)."""

    candidate: Candidate = Candidate()
    hidden: Widths = static((256, 256))
    learning_rate: NotNegative = 3e-4
    discount: Share = 0.99
    tau: Share = 0.005

    def begin(self, state: State, key: Array, example: Transitions) -> State:
        """Put a fresh critic into the state."""
        inputs = jnp.concatenate([example.observations, example.actions], axis=-1)
        critic = init_critics(key, MLP((*self.hidden, 1)), inputs, members=1)
        return state | {"values": {"critic": Learner.create(critic), "target": critic}}

    def update(self, state: State, batch: Transitions, draws: Draws) -> tuple[State, Metrics]:  # noqa: ARG002
        """Regress Q(s, a) on r + (1 - d) discount Qbar(s', pi(s'))."""
        values = state["values"]
        actions = self.candidate.greedy(self.candidate.policy(state), batch.next_observations)
        next_q = critics(values["target"], batch.next_observations, actions)[0]
        target = batch.rewards + (1.0 - batch.terminals) * self.discount * next_q

        def loss(critic: Params) -> Array:
            return jnp.mean((critics(critic, batch.observations, batch.actions)[0] - target) ** 2)

        error, gradients = jax.value_and_grad(loss)(values["critic"].params)
        critic = values["critic"].descend(gradients, self.learning_rate)
        fitted = {"critic": critic, "target": polyak(values["target"], critic.params, self.tau)}
        return state | {"values": fitted}, {"value_loss": error}

    def policy(self, state: State) -> Params:
        """Return the candidate's policy."""
        return self.candidate.policy(state)

    def score(self, state: State, key: Array, experience: Experience) -> State:  # noqa: ARG002
        """Note the mean of Q(s, pi(s)) over the first observations of all episodes."""
        assert experience.ends is not None
        _, begin = np.unique(episode_numbers(experience.ends), return_index=True)
        firsts = jnp.asarray(experience.online.rows.observations[begin])
        actions = self.candidate.greedy(self.candidate.policy(state), firsts)
        value = critics(state["values"]["critic"].params, firsts, actions).mean()
        return _noted(state, self.candidate.number, value)


def _begin(state: State, key: Array, example: Transitions, *, candidates: int, learner: bool) -> State:  # noqa: ARG001
    """Begin a pause, with no candidates yet but the learner, where it is one."""
    trained = (state["learner"],) if learner else ()
    scores, scale = jnp.zeros(candidates, jnp.float32), jnp.ones((), jnp.float32)
    return {"learner": state["learner"], "trained": trained, "scores": scores, "reward_scale": scale}


def _scale(state: State, key: Array, experience: Experience) -> State:  # noqa: ARG001
    """Note 1000 / (largest - smallest return) over the episodes so far; IQL's rule, from here on kept as it is."""
    assert experience.ends is not None
    returns = np.bincount(episode_numbers(experience.ends), experience.online.rows.rewards[: len(experience.ends)])
    span = np.ptp(returns) if len(returns) else 0.0  # of a seed that diverged before it took a step
    return state | {"reward_scale": jnp.asarray(1000.0 / span if span > 0 else 1.0, jnp.float32)}


def _add(state: State, key: Array, example: Transitions, *, agent: Agent) -> State:
    """Begin an offline training."""
    return state | {"offline": agent.init(key, example)}


def _keep(state: State, key: Array, example: Transitions) -> State:  # noqa: ARG001
    """Make the offline training as it stands a candidate."""
    return state | {"trained": (*state["trained"], state["offline"])}


def _score_episodes(state: State, key: Array, experience: Experience, *, number: int, env_steps: int) -> State:  # noqa: ARG001
    """Note a candidate's return an episode over the latest env steps, which were its own.

    All rewards, divided by how many episodes ended: where they are cut short by the end of validation, as those of a
    policy that does not fall will be, their rewards count all the same. NaN where it diverged and took no more of them.
    """
    assert experience.ends is not None
    window = slice(len(experience.ends) - env_steps, len(experience.ends))
    ended = int(np.count_nonzero(experience.ends[window] == ENDED))
    score = experience.online.rows.rewards[window].sum() / max(1, ended)
    return _noted(state, number, jnp.where(experience.diverged, jnp.nan, score))


def _noted(state: State, number: int, score: Array) -> State:
    return state | {"scores": state["scores"].at[number].set(score)}


def _choose(state: State, key: Array, example: Transitions, *, preference: tuple[int, ...]) -> State:  # noqa: ARG001
    """Choose the candidate of the highest score, of equals the one that is preferred; what diverged has none."""
    scores = jnp.where(jnp.isfinite(state["scores"]), state["scores"], -jnp.inf)
    order = jnp.array(preference)
    kept = {name: state[name] for name in ("learner", "trained", "scores", "reward_scale")}
    return kept | {"choice": order[jnp.argmax(scores[order])]}


def _forget(state: State, key: Array, example: Transitions) -> State:  # noqa: ARG001
    """Leave a pause behind."""
    return {"learner": state["learner"]}


def _take_over(state: State, key: Array, example: Transitions) -> State:  # noqa: ARG001
    """Go on with the chosen candidate."""
    chosen = jax.tree.map(lambda *leaves: jnp.stack(leaves)[state["choice"]], *state["trained"])
    return {"tuned": chosen, "reward_scale": state["reward_scale"]}


def _change_tuned(state: State, key: Array, example: Transitions, *, change: Callable[..., State]) -> State:
    return state | {"tuned": change(state["tuned"], key, example)}


def _of_history(sampling: Sampling) -> Sampling:
    """Return the rule that does with history what a rule does with a dataset."""
    if isinstance(sampling, Mixed):
        return History(offline=sampling.offline)
    if isinstance(sampling, Union):
        return History(offline=None)
    raise MoorlError(f"a subroutine cannot fine-tune on batches by {type(sampling).__name__}")
