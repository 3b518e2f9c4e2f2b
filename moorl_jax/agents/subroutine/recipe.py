"""Offline RL as a subroutine of online RL (arXiv 2512.00383); what the paper leaves open is our choice, marked so.

An online learner pauses, and its own history becomes the dataset of an offline algorithm. The resulting policy is
recommended, or fine-tuned online by that algorithm's own recipe. Datasets and policies may be selected by validation:
by episodes, whose env steps count towards the same budget, or by fitted values, which cost none.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

from moorl_jax.agents.contract import Agent
from moorl_jax.agents.iql import IQL
from moorl_jax.agents.sac import SAC
from moorl_jax.agents.subroutine.changes import (
    begin_pause,
    begin_training,
    change_tuned,
    keep,
    leave_pause,
    measure_scale,
    take_over,
)
from moorl_jax.agents.subroutine.parts import Candidate, Part, PartName, Recommended
from moorl_jax.agents.subroutine.state import SubroutineState
from moorl_jax.agents.subroutine.validation import FittedValue, choose, score_episodes
from moorl_jax.config import Bounds, Count, Share, Steps, static
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Collect, Evaluate, Offline, Online, Pause, Phase, Pretrain, Review, Switch
from moorl_jax.replay import FromBuffer, History, Mixed, Sampling, Union
from moorl_jax.replay.history import Selected
from moorl_jax.types import Array, Transitions

DatasetName = Selected | Literal["fresh"]  #: History's datasets, or one collected at the pause, by the learner's policy
PauseShare = Annotated[float, Bounds(above=0.0, at_most=1.0)]


@dataclass(frozen=True)
class Stretch:
    """How the env steps up to a pause's end are spent."""

    online: int  #: in which the learner learns
    fresh: int  #: in which its policy collects a dataset
    validation: int  #: of each candidate
    ends: int  #: total env steps at the end of the pause


class Subroutine(Agent[SubroutineState]):
    """An online learner that pauses for offline RL.

    At each pause the offline algorithm is trained from scratch, on the first of `datasets`, or on each of them where
    "dataset" is `validated`. The final policies are the candidates; if "policy" is `validated`, so are earlier
    checkpoints and the learner itself. The best by validation is recommended, and evaluated at the pause.

    If `tunes`, the offline algorithm fine-tunes the chosen candidate after the last pause, by its own recipe, for the
    rest of the budget. The learner is then not a candidate, since the algorithm cannot tune it.

    All env steps count towards one budget and join the history, including those of fresh datasets and validation, which
    end before the pause does.
    """

    source = "ours: arXiv 2512.00383 leaves it open"

    learner: Agent = SAC()
    offline: Agent = IQL()
    tunes: bool = static(False)  #: whether the chosen candidate is fine-tuned online after the last pause
    #: the ends of the pauses, as fractions of all env steps; empty: only the learner
    pauses: tuple[PauseShare, ...] = static((1.0,))
    first_steps: Steps = static(5000)  #: random env steps before the learner's first update
    datasets: tuple[DatasetName, ...] = static(("all", "last", "best"))
    share: Share = static(0.5)  #: fraction of the history that "last" and "best" select
    #: fraction of the env steps up to the pause's end that is spent on collecting "fresh"
    fresh_share: Share = static(0.1)
    #: number of checkpoints of an offline training, evenly spaced; the last one is at its end
    checkpoints: Count = static(2)
    validated: tuple[Literal["dataset", "policy"], ...] = static(())  #: what is selected by validation
    #: "online": by episodes; "offline": by fitted Q evaluation
    validation: Literal["online", "offline"] = static("online")
    #: fraction of all env steps used to validate all candidates of a pause together
    validation_share: Share = static(0.1)
    validation_updates: Steps = static(20_000)  #: updates of fitted Q evaluation per candidate
    normalize_returns: bool = static(False)  #: scale rewards for the offline algorithm so that returns span 1000 (IQL)

    def init(self, key: Array, example: Transitions) -> SubroutineState:
        """Return a state with the learner's alone."""
        return _part(self.learner, "learner").init(key, example)

    def phases(self, updates: int, env_steps: int) -> tuple[Phase, ...]:
        """Return the learner's env steps and the pauses. `updates` is the number of updates of each offline training.

        Raises MoorlError for pauses that leave the learner no env steps of its own.
        """
        self._check(updates, env_steps)
        learning = self.learner.online(env_steps)
        learning = replace(learning, agent=_part(learning.agent, "learner"), sampling=FromBuffer())
        phases: list[Phase] = [Collect(learning.agent, self.first_steps, random=True)]
        stretches = self._stretches(env_steps)
        for number, steps in enumerate(stretches, 1):
            if number > 1:
                phases.append(Switch(leave_pause))
            phases += [
                replace(learning, env_steps=steps.online),
                Pause(),
                Collect(learning.agent, steps.fresh),  # the fresh dataset; the others come from the history
                Pause(),
                *self._offline_trainings(updates, steps.fresh),
                *self._choice(steps.validation),
            ]
            if not self.tunes or number < len(stretches):
                phases.append(Evaluate(Recommended(candidates=self._preferred)))
        left = env_steps - (stretches[-1].ends if stretches else self.first_steps)
        if self.tunes:
            phases += self._tuning(updates, left)
        elif left:
            phases += [Switch(leave_pause), replace(learning, env_steps=left)]
        return tuple(phases)

    def online(self, env_steps: int) -> Online:
        """Raise MoorlError: a subroutine learns online between its pauses."""
        raise MoorlError(f"{type(self).__name__} pauses: it cannot be the learner of another agent")

    def validation_cost(self, env_steps: int) -> int:
        """Return how many env steps of a budget the validation of its pauses takes."""
        return len(self.pauses) * len(self._candidates) * self._validation_steps(env_steps)

    def _stretches(self, env_steps: int) -> list[Stretch]:
        """Return what the env steps between pauses are spent on."""
        stretches = []
        taken = self.first_steps
        for number, share in enumerate(self.pauses, 1):
            ends = round(share * env_steps)
            fresh = round(self.fresh_share * ends) if "fresh" in self._datasets else 0
            validation = self._validation_steps(env_steps)
            cost = fresh + validation * len(self._candidates)
            if ends - taken - cost <= 0:
                raise MoorlError(
                    f"pause {number} of {len(self.pauses)} ends at env step {ends:,} of {env_steps:,} and costs "
                    f"{cost:,}: no env steps are left for the learner before it"
                )
            stretches.append(Stretch(ends - taken - cost, fresh, validation, ends))
            taken = ends
        return stretches

    def _validation_steps(self, env_steps: int) -> int:
        """Return the env steps of each candidate's validation."""
        count = len(self._candidates)
        if count == 1 or self.validation == "offline":
            return 0
        return max(1, round(self.validation_share * env_steps) // count)

    def _offline_trainings(self, updates: int, fresh: int) -> list[Phase]:
        """Return a pause's offline trainings, from scratch on each dataset."""
        agent = self._algorithm
        names = tuple(candidate.name for candidate in self._candidates)
        phases: list[Phase] = [Switch(partial(begin_pause, names=names))]
        if self.normalize_returns:
            phases.append(Review(measure_scale))
        for dataset in self._datasets:
            if dataset == "fresh":
                history = History(dataset="last", count=fresh)
            else:
                history = History(dataset=dataset, share=self.share)
            training = Pretrain(_part(agent, "offline"), updates // self._checkpoints, history, evaluated=False)
            phases.append(Switch(partial(begin_training, agent=agent)))
            for checkpoint in self._trained_on(dataset):
                phases += [training, Switch(partial(keep, name=checkpoint.name))]
        return phases

    def _choice(self, validation: int) -> list[Phase]:
        """Return the validation of a pause's candidates, where there are several, and the choice of one."""
        phases: list[Phase] = []
        for candidate in self._candidates if len(self._candidates) > 1 else ():
            if self.validation == "online":
                score = partial(score_episodes, name=candidate.name, env_steps=validation)
                phases += [Collect(candidate, validation, evaluated=False), Pause(), Review(score)]
            else:
                values = FittedValue(candidate=candidate)
                fitting = Pretrain(values, self.validation_updates, History(), evaluated=False)
                phases += [Switch(values.begin), fitting, Review(values.score)]
        preferred = tuple(candidate.name for candidate in self._preferred)
        return [*phases, Switch(partial(choose, preferred=preferred))]

    def _tuning(self, updates: int, env_steps: int) -> list[Phase]:
        """Return the phases that follow the offline one in the algorithm's own recipe, with the history as dataset."""
        preferred = tuple(candidate.name for candidate in self._preferred)
        phases: list[Phase] = [
            Switch(partial(take_over, preferred=preferred)),
            Evaluate(_part(self._algorithm, "tuned")),  # the starting point of fine-tuning
        ]
        _, *own = self.offline.phases(updates, env_steps)
        for phase in own:
            if isinstance(phase, Switch):
                phases.append(Switch(partial(change_tuned, change=phase.change)))
            elif isinstance(phase, Collect):
                phases.append(replace(phase, agent=_part(phase.agent, "tuned")))
            elif isinstance(phase, Online):
                part = _part(phase.agent, "tuned")
                phases.append(replace(phase, agent=part, sampling=_of_history(phase.sampling)))
            else:
                name = type(self._algorithm).__name__
                raise MoorlError(f"{name} cannot fine-tune here: its recipe has a {type(phase).__name__} phase")
        return phases

    @property
    def _algorithm(self) -> Agent:
        """The offline algorithm, as its own recipe begins."""
        begins = self.offline.phases(1, 0)[0]
        if not isinstance(begins, Offline) or not begins.evaluated:
            raise MoorlError(f"{type(self.offline).__name__} does not begin with its own offline updates")
        return begins.agent

    @property
    def _datasets(self) -> tuple[DatasetName, ...]:
        return self.datasets if "dataset" in self.validated else self.datasets[:1]

    @property
    def _checkpoints(self) -> int:
        return self.checkpoints if "policy" in self.validated else 1

    def _trained_on(self, dataset: DatasetName) -> tuple[Candidate, ...]:
        """Return the candidates that training on a dataset makes, in order."""
        numbers = range(1, self._checkpoints + 1)
        return tuple(Candidate(agent=self._algorithm, name=f"{dataset}-{number}") for number in numbers)

    @property
    def _learner_itself(self) -> tuple[Candidate, ...]:
        return (Candidate(agent=self.learner, name="learner"),) if "policy" in self.validated and not self.tunes else ()

    @property
    def _candidates(self) -> tuple[Candidate, ...]:
        """A pause's candidates, in the order in which they are validated."""
        trained = (candidate for dataset in self._datasets for candidate in self._trained_on(dataset))
        return (*self._learner_itself, *trained)

    @property
    def _preferred(self) -> tuple[Candidate, ...]:
        """The candidates in order of preference: first the one recommended without validation, the learner last."""
        trained = (candidate for dataset in self._datasets for candidate in reversed(self._trained_on(dataset)))
        return (*trained, *self._learner_itself)

    def _check(self, updates: int, env_steps: int) -> None:
        """Raise MoorlError for settings that contradict each other or the budget."""
        if self.pauses and updates < self._checkpoints:
            raise MoorlError(f"{type(self).__name__} trains offline at its pauses: {updates} updates are too few")
        if not self.datasets or list(self.pauses) != sorted(set(self.pauses)):
            raise MoorlError(
                f"there must be a dataset, and pauses must increase, not {self.datasets} and {self.pauses}"
            )
        if len(set(self.datasets)) < len(self.datasets):
            raise MoorlError(f"each dataset may be named once, not {self.datasets}")
        if self.tunes and self.pauses[-1:] in ((), (1.0,)):
            raise MoorlError(f"fine-tuning needs a last pause below 1.0, to have env steps left, not {self.pauses}")
        if self.first_steps > env_steps:
            raise MoorlError(f"{self.first_steps:,} random env steps come first, and the budget is {env_steps:,}")


def _part(agent: Agent, name: PartName) -> Part:
    return Part(agent=agent, name=name, batch_size=agent.batch_size)


def _of_history(sampling: Sampling) -> Sampling:
    """Return the equivalent rule with the history in place of the dataset."""
    if isinstance(sampling, Mixed):
        return History(offline=sampling.offline)
    if isinstance(sampling, Union):
        return History(offline=None)
    raise MoorlError(f"a subroutine cannot fine-tune on batches by {type(sampling).__name__}")
