"""Runs recipes of phases for all seeds at once: offline, online, and everything in between."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Prepared
from moorl_jax.engine import recipes, snapshots
from moorl_jax.engine.devices import placements, require_memory
from moorl_jax.engine.groups import Group, Member
from moorl_jax.engine.initialization import initial_states
from moorl_jax.engine.lanes import Lane
from moorl_jax.engine.programs import Carry
from moorl_jax.engine.rehearsal import rehearse
from moorl_jax.engine.snapshots import Progress
from moorl_jax.phases import Instant, Phase
from moorl_jax.tasks import Task
from moorl_jax.types import Metrics, Params


class Trainer:
    """Runs all seeds through a recipe of phases; `engine/plain.py` does the same for one seed, readably.

    Of several recipes, which are `recipes.alike`, it runs all seeds through each: "all seeds" are then those of the
    first recipe, those of the second, and so on.

    A seed's result depends on the seed, the recipe and the data alone: each update's key is folded from the seed's key
    and the update's index, each action's from the env step's index. Neither the other seeds nor how the run is split
    into calls changes it.
    """

    def __init__(self, alike: Sequence[tuple[Phase, ...]], task: Task, prepared: Prepared, seeds: tuple[int, ...]):
        self._recipes = [recipes.taken(phases) for phases in alike]
        self.phases = self._recipes[0]
        self.progress = Progress()
        example = recipes.example(alike[0], task, prepared)
        rehearse(alike[0], example)
        members = [Member(recipe, seed) for recipe in range(len(alike)) for seed in seeds]
        placed = placements(len(members), images=task.pixels)
        first = [recipes.first_agent(phases) for phases in alike]
        networks = jax.eval_shape(first[0].init, jax.random.key(0), example)
        require_memory([networks] * len(members), placed[0].device, "the networks of all seeds")
        states = initial_states(first, seeds, example)
        self._lanes = []
        for placement in placed:
            require_memory(prepared.transitions, placement.device, "the data", held=True)
            data = dataclasses.replace(prepared, transitions=jax.device_put(prepared.transitions, placement.device))
            groups = [
                Group(
                    positions,
                    [members[position] for position in positions],
                    [states[position] for position in positions],
                    placement.device,
                    alike,
                    task,
                    data,
                    example,
                )
                for positions in placement.groups
            ]
            self._lanes.append(Lane(groups))
        self._groups = [group for lane in self._lanes for group in lane.groups]
        self.clocks = [lane.clock for lane in self._lanes]
        self._pool = ThreadPoolExecutor(len(self._lanes))
        self._enter()

    @property
    def current(self) -> Phase:
        """The current phase."""
        return self.phases[self.progress.phase]

    @property
    def left(self) -> int:
        """How much of the current phase remains, in its unit."""
        return self.current.length - self.progress.done

    @property
    def in_last_phase(self) -> bool:
        """Whether no phase follows the current one."""
        return self.progress.phase == len(self.phases) - 1

    @property
    def finished(self) -> bool:
        """Whether the last phase is over."""
        return self.in_last_phase and self.left <= 0

    @property
    def agents(self) -> list[Agent]:
        """The agent of each recipe that the current states belong to."""
        return [recipes.agents(phases[: self.progress.phase + 1])[-1] for phases in self._recipes]

    def next_phase(self) -> None:
        """Advance to the next phase, running any instants on the way."""
        self.progress = self.progress._replace(phase=self.progress.phase + 1, done=0)
        self._enter()

    def start(self, count: int) -> Callable[[], Metrics]:
        """Start `count` updates or env steps of the current phase and return at once; `Evaluate` runs nothing.

        Call the returned function to block until they are done; it returns metrics with a leading seed axis, averaged
        over the last updates of the cycles. Updates without env steps are rounded up to whole cycles of the agent.
        """
        phase, before = self.current, self.progress
        running: list[Future[None]] = []
        if phase.acts:
            running = [self._pool.submit(lane.interact, phase, count, before) for lane in self._lanes]
        elif phase.learns:
            cycle = len(phase.agent.cycle())
            count = -(-count // cycle) * cycle
            running = [self._pool.submit(lane.learn, count, before.drawn) for lane in self._lanes]
        updates = count * phase.utd
        self.progress = Progress(
            phase=before.phase,
            done=before.done + count,
            updates=before.updates + (updates if phase.evaluated else 0),
            env_steps=before.env_steps + (count if phase.acts else 0),
            drawn=before.drawn + updates,
        )

        def wait() -> Metrics:
            for lane in running:
                lane.result()
            return self._gather([group.metrics for group in self._groups]) if running else {}

        return wait

    def policies(self) -> Params:
        """Return all seeds' policy parameters, on the host."""
        agents = self.agents
        return self._gather([policies for group in self._groups for policies in group.policies(agents)])

    def states(self) -> State:
        """Return all seeds' states on the host, with a leading seed axis."""
        return self._gather([group.carry.state for group in self._groups])

    def observations(self) -> list[np.ndarray]:
        """Return the observations of each seed's env steps that its buffer holds, as its agent sees them."""
        rows, written = self._gather([group.observations() for group in self._groups])
        return [seen[:count] for seen, count in zip(rows, written, strict=True)]

    def carries(self) -> Carry:
        """Return all seeds' carries on the host: agent states, sampling rules' states and metric sums."""
        return self._gather([group.carry for group in self._groups])

    def save(self) -> dict[str, np.ndarray]:
        """Return everything needed to resume training, as named arrays."""
        seeds = self._gather([group.save(self.current, self.progress) for group in self._groups])
        return snapshots.pack(self.progress, seeds)

    def restore(self, saved: dict[str, np.ndarray]) -> bool:
        """Resume from what `save` returned on a trainer built like this one; this one must not have started.

        Return whether episodes under way had to end, as by a time-out, for simulators that could not be saved.
        Raises KeyError, IndexError or ValueError if the arrays do not fit.
        """
        progress = snapshots.progress_of(saved)
        while self.progress.phase < progress.phase:
            self.next_phase()  # gives the states their current structure; their values follow below
        self.progress = progress
        began = []
        for group in self._groups:
            arrays = snapshots.seeds_of(saved, group.save(self.current, progress), group.positions)
            began.append(group.restore(arrays, self.current, progress))
        return any(began)

    def close(self) -> None:
        """Close all simulators."""
        self._pool.shutdown()
        for group in self._groups:
            group.close()

    def _enter(self) -> None:
        """Set up the current phase; an instant runs and finishes here."""
        for lane in self._lanes:
            lane.enter(self.progress)
        if isinstance(self.current, Instant) and not self.in_last_phase:
            self.next_phase()

    def _gather(self, parts: list[Any]) -> Any:
        """Concatenate the groups' pytrees on the host, with the seed axis in the order of `seeds`."""
        order = np.argsort(list(itertools.chain.from_iterable(group.positions for group in self._groups)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *jax.device_get(parts))
