"""The driver of every recipe of phases, for all seeds at once: offline, online, and what lies between."""

import dataclasses
import itertools
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Prepared
from moorl_jax.engine import recipes, snapshots
from moorl_jax.engine.devices import placements, require_memory
from moorl_jax.engine.groups import Group
from moorl_jax.engine.lanes import Lane
from moorl_jax.engine.programs import Carry
from moorl_jax.engine.rehearsal import rehearse
from moorl_jax.engine.snapshots import Progress
from moorl_jax.phases import Instant, Phase
from moorl_jax.tasks import Task
from moorl_jax.types import Metrics, Params


class Trainer:
    """Takes all seeds through a recipe of phases; `engine/plain.py` shows for one seed what that is.

    A seed's result depends on the seed, the recipe and the data alone: each update's randomness is folded from the
    seed's key and the update's number, each action's from the env step's. Neither the other seeds nor the lengths of
    the calls change it.
    """

    def __init__(self, phases: tuple[Phase, ...], task: Task, prepared: Prepared, seeds: tuple[int, ...]):
        self.phases = recipes.taken(phases)
        self.progress = Progress()
        example = recipes.example(task, prepared, recipes.returns_rule(phases))
        rehearse(phases, example)
        placed = placements(len(seeds), images=task.pixels)
        networks = jax.eval_shape(recipes.first_agent(phases).init, jax.random.key(0), example)
        require_memory([networks] * len(seeds), placed[0].device, "the networks of all seeds")
        self._lanes = []
        for placement in placed:
            require_memory(prepared.transitions, placement.device, "the data", held=True)
            data = dataclasses.replace(prepared, transitions=jax.device_put(prepared.transitions, placement.device))
            groups = [
                Group(positions, tuple(seeds[p] for p in positions), placement.device, phases, task, data, example)
                for positions in placement.groups
            ]
            self._lanes.append(Lane(groups))
        self._groups = [group for lane in self._lanes for group in lane.groups]
        self.clocks = [lane.clock for lane in self._lanes]
        self._pool = ThreadPoolExecutor(len(self._lanes))
        self._enter()

    @property
    def current(self) -> Phase:
        """The phase that goes on."""
        return self.phases[self.progress.phase]

    @property
    def left(self) -> int:
        """What is left of the current phase, in its unit."""
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
    def agent(self) -> Agent:
        """The agent whose states these are."""
        return recipes.agents(self.phases[: self.progress.phase + 1])[-1]

    def next_phase(self) -> None:
        """Go on to the next phase once the current one is over, and past the instants before it."""
        self.progress = self.progress._replace(phase=self.progress.phase + 1, done=0)
        self._enter()

    def start(self, count: int) -> Callable[[], Metrics]:
        """Start `count` updates or env steps of the current phase and return at once; an evaluation alone is nothing.

        Call the result to wait for the end; it returns the metrics with a leading seed axis, means over the updates
        that end a cycle.
        Updates without env steps are rounded up to whole cycles of the agent.
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
        """Return what acting and evaluation need of all seeds' states, on the host."""
        return self._gather([jax.vmap(self.agent.policy)(group.carry.state) for group in self._groups])

    def states(self) -> State:
        """Return all seeds' states on the host, with a leading seed axis."""
        return self._gather([group.carry.state for group in self._groups])

    def carries(self) -> Carry:
        """Return the same with all else that updates change, the sampling rules' memories."""
        return self._gather([group.carry for group in self._groups])

    def save(self) -> dict[str, np.ndarray]:
        """Return all that decides how training goes on, by name."""
        seeds = self._gather([group.save(self.current, self.progress) for group in self._groups])
        return snapshots.pack(self.progress, seeds)

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Go on from where `save` was called on a trainer made like this one, which has not begun yet.

        Raises KeyError, IndexError or ValueError where it was made otherwise.
        """
        progress = snapshots.progress_of(saved)
        while self.progress.phase < progress.phase:
            self.next_phase()  # the states take on their later shape; their values come next
        self.progress = progress
        for group in self._groups:
            group.restore(snapshots.seeds_of(saved, group.save(self.current, progress), group.positions))

    def close(self) -> None:
        """Close all simulators."""
        self._pool.shutdown()
        for group in self._groups:
            group.close()

    def _enter(self) -> None:
        """Make ready for the current phase; an instant is over at once."""
        for lane in self._lanes:
            lane.enter(self.current, self.progress)
        if isinstance(self.current, Instant) and not self.in_last_phase:
            self.next_phase()

    def _gather(self, parts: list[Any]) -> Any:
        """Return the groups' pytrees as one on the host, the seed axis in the seeds' order."""
        order = np.argsort(list(itertools.chain.from_iterable(group.positions for group in self._groups)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *jax.device_get(parts))
