"""One device at work: its groups of seeds one after another, and what their time goes to."""

from typing import Any

import jax
import numpy as np

from moorl_jax.engine import programs
from moorl_jax.engine.clock import Clock
from moorl_jax.engine.groups import Group
from moorl_jax.engine.snapshots import Progress
from moorl_jax.phases import Phase

SUMMED = 100  #: env steps whose metrics are summed in float32: the mean keeps six digits, the host is seldom asked


class Lane:
    """A device and its groups of seeds. Lanes run side by side, each in a thread of its own."""

    def __init__(self, groups: list[Group]):
        self.groups = groups
        self.clock = Clock()
        self._compiled: dict[Any, Any] = {}
        self._stepped = False  # whether the phase has taken an env step, which compiles

    def enter(self, progress: Progress) -> None:
        """Make all groups ready for the phase that starts at `progress`."""
        self._stepped = False
        for group in self.groups:
            group.enter(progress)

    def learn(self, count: int, first: int) -> None:
        """Perform `count` updates without env steps, `first` the number of the first."""
        with self.clock.counting("total"):
            with self.clock.counting("compile"):
                program = self._learning(count)
            with self.clock.counting("update"):
                for group in self.groups:
                    group.learn(program, first)

    def interact(self, phase: Phase, count: int, progress: Progress) -> None:
        """Take `count` env steps, each followed by the phase's updates, from `progress` on.

        While one group's updates run its device is busy and the host free to step another group's simulators.
        """
        cycle = len(phase.agent.cycle())
        with self.clock.counting("total"):
            for group in self.groups:
                group.begin_metrics()
            for number in range(count):
                numbers = {
                    "step": np.int32(progress.env_steps + number + 1),  # that of the action which is chosen
                    "first": np.int32(progress.drawn + number * phase.utd),
                    "turn": np.int32((progress.done + number) * phase.utd % cycle),  # a phase begins a cycle
                }
                for group in self.groups:
                    if number % SUMMED == 0:
                        with self.clock.counting("update"):
                            group.add_metrics()
                    group.env_step(phase, numbers, self.clock, "update" if self._stepped else "compile")
                    self._stepped = True
            updates = range(progress.done * phase.utd, (progress.done + count) * phase.utd)
            for group in self.groups:
                with self.clock.counting("update"):
                    group.end_metrics(updates, cycle)

    def _learning(self, count: int) -> Any:
        """Return the program of `count` updates, compiled once for all phases that may share it."""
        group = self.groups[0]
        leaves, structure = jax.tree.flatten((group.carry, group.buffer, group.inputs))
        key = (count, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._compiled:
            lowered = programs.learn.lower(group.carry, group.buffer, group.inputs, np.int32(0), count=count)
            self._compiled[key] = lowered.compile()
        return self._compiled[key]
