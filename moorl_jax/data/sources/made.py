"""Data that is made here, by the publishers' procedures: `recipe` of trained policies given, `embedded` of our own."""

import functools
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from moorl_jax.data import filming, plans, recipe
from moorl_jax.data.folders import kept_in
from moorl_jax.data.sources.source import Getter, InFiles

OR_MADE = "or make it from trained policies: --policies DIR"
_PUBLIC = {
    "random": "uniform random actions",
    "medium": "a public policy near D4RL's medium level",
    "medium-replay": "a public TRPO learner's policies up to the medium level, in equal shares",
    "full-replay": "a public TRPO learner's policies, in equal shares",
    "expert": "a public policy near D4RL's expert level",
    "medium-expert": "public policies near D4RL's medium and expert levels, half and half",
}
_LEARNED = {
    "random": "our SAC learner before its first update",
    "medium": "our SAC learner at D4RL's medium level",
    "medium-replay": "our SAC learner's policies up to the medium level, each for its share of the env steps",
    "expert": "our SAC learner that was shown an expert's episodes",
    "medium-expert": "our SAC learners at the medium level and at the expert's, half and half",
}
_HANDS = {
    "human": "the human demonstrations behind D4RL's",
    "cloned": "episodes of a clone of the human demonstrations and these again and again, half and half, as D4RL's",
}


@dataclass(frozen=True)
class Made(InFiles):
    """A task's set, made by plan: states rolled out, images filmed. It lies below MOORL_DATA_DIR."""

    ant: ClassVar[str]  #: who walks in AntMaze
    expert: ClassVar[str]  #: who acts in an expert's set of Adroit's
    robots: ClassVar[dict[str, str]]  #: who acts in a locomotion set, by its level
    seed: int = 0  #: the same makes the same data

    @abstractmethod
    def plan(self) -> list[plans.Part]:
        """Return what the set is made of; raise NotAvailableError or DatasetError where something is missing."""

    @property
    def place(self) -> Path:
        """A file, for images a folder, named after the task."""
        folder = kept_in("MOORL_DATA_DIR", ".cache", "moorl_jax") / self.name
        return folder / (self.task.name if self.task.pixels else f"{self.task.name}.hdf5")

    @property
    def made_of(self) -> str:
        """By which procedure, and of whose policies."""
        if self.task.pixels:
            random = self.task.level == "random"
            return "films of uniform random actions" if random else "films of SAC policies"
        if self.task.family == "antmaze":
            return f"{self.ant} led along waypoints as D4RL's was, rewarded by one goal a file"
        if self.task.family == "adroit":
            return _HANDS.get(self.task.level, self.expert)
        return self.robots[self.task.level]

    def is_current(self) -> bool:
        """Tell whether the data is here and was made by today's version of its recipe."""
        if not self.is_here():
            return False
        if self.task.pixels:
            return not filming.outdated(self.place)
        return not recipe.outdated(self.place, self.task.family)

    def getter(self) -> Getter:
        """Return what makes the planned parts."""
        generate = filming.generate if self.task.pixels else recipe.generate
        return functools.partial(generate, self.task, self.plan(), self.place, self.seed)


@dataclass(frozen=True)
class Recipe(Made):
    """Made of policies that the user has."""

    name = "recipe"
    ant = "D4RL's walker"
    expert = "DAPG's policy, as D4RL's"
    robots = _PUBLIC
    policies: Path | None = None  #: their directory

    @property
    def unavailable(self) -> str:
        """Say, too, why there is no recipe, where the catalogue knows."""
        return "; ".join(filter(None, (super().unavailable, self.task.no_recipe)))

    def serves(self) -> bool:
        """Tell whether the data is made already or there are policies to make it of."""
        return self.is_here() or self.policies is not None

    def plan(self) -> list[plans.Part]:
        """Plan the set of the user's policies."""
        return plans.recipe(self.task, self.policies)


class Embedded(Made):
    """Made of policies that the package carries."""

    name = "embedded"
    ant = "our ant, which learned from D4RL's walker,"
    expert = "our network, which learned from DAPG's policy"
    robots = _LEARNED

    def serves(self) -> bool:
        """Tell that it always does."""
        return True

    def plan(self) -> list[plans.Part]:
        """Plan the set of the package's policies."""
        return plans.embedded(self.task)
