"""The seeds that one compiled program advances together: entering a phase, learning, acting, saving, restoring."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents.contract import State
from moorl_jax.data import Prepared
from moorl_jax.engine import programs, recipes
from moorl_jax.engine.clock import Clock
from moorl_jax.engine.devices import require_memory
from moorl_jax.engine.initialization import initial_states
from moorl_jax.engine.keys import ACTIONS, RULES, SWITCHES, UPDATES, stream
from moorl_jax.engine.programs import Carry, Inputs
from moorl_jax.engine.simulators import Simulators
from moorl_jax.engine.snapshots import Progress, SeedArrays
from moorl_jax.phases import Instant, Phase
from moorl_jax.replay import Buffer, Experience, Sampling
from moorl_jax.tasks import Task
from moorl_jax.types import Array, Metrics, Transitions


class Group:
    """A batch of seeds on one device; every array has a leading seed axis."""

    def __init__(
        self,
        positions: tuple[int, ...],
        seeds: tuple[int, ...],
        device: jax.Device,
        phases: tuple[Phase, ...],
        task: Task,
        prepared: Prepared,
        example: Transitions,
    ):
        """Make networks and, where the recipe takes env steps, buffers and simulators; `prepared` is on the device."""
        self.positions = positions  #: of its seeds among all of the training's
        self.device = device
        self._seeds, self._example = seeds, example
        self.progress = Progress()  #: as of the start of the current phase
        first, returns, env_steps = recipes.first_agent(phases), recipes.returns_rule(phases), recipes.env_steps(phases)
        self.carry = jax.device_put(Carry(_stack(initial_states(first, seeds, example)), None, {}), device)
        keys = [jnp.stack([stream(seed, use) for seed in seeds]) for use in (UPDATES, ACTIONS)]
        self.inputs = jax.device_put(Inputs(first, None, prepared.transitions, *keys), device)
        self.actions: Array | None = None  #: (seeds, [steps,] action size), chosen but not yet executed
        self.metrics: Metrics = {}  #: of the latest call; during env steps, running sums in float64
        self._places: dict[str, int] = {}  # in the cycle of the online phase, of each metric's update
        self.simulators: Simulators | None = None
        self.buffer: Buffer | None = None
        self._delayed = returns is not None  # a transition is drawn only once its episode's returns are known
        self._marked = recipes.needs_chunks(phases)  # transitions say whether they end their episode
        if env_steps:
            self.simulators = Simulators(task, prepared, seeds, returns, env_steps)
            self.buffer = self._empty_buffers(phases, task)

    def enter(self, phase: Phase, progress: Progress) -> None:
        """Set up a phase that starts at `progress`; if it is an instant, run it."""
        self.progress = progress
        if isinstance(phase, Instant):
            phase.happen(self)
            return
        agent, sampling = jax.device_put((phase.agent, phase.sampling), self.device)
        self.inputs = self.inputs.replace(agent=agent, sampling=sampling)
        memory = jax.device_put(self._memory(phase), self.device)
        self.carry, self._places = self.carry.replace(memory=memory, totals={}), {}
        if phase.acts:
            self._act_first(phase, progress)
            if phase.learns:
                each = programs.metrics_of(self.carry, self.buffer, self.inputs)
                self._places = programs.reporting_places(each)
                totals = {name: jnp.zeros_like(each[place][name]) for name, place in self._places.items()}
                self.carry = self.carry.replace(totals=jax.device_put(totals, self.device))

    def end_episodes(self) -> None:
        """Truncate the running episodes, as a time-out would."""
        if self.simulators:
            self._finish(*self.simulators.pause())

    def switch(self, change: Callable[[State, Array, Transitions], State]) -> None:
        """Replace each seed's state by `change(state, key, example)`."""
        self._replace_states(lambda state, key, _: change(state, key, self._example))

    def review(self, change: Callable[[State, Array, Experience], State]) -> None:
        """Replace each seed's state by `change(state, key, experience)`; a no-op before the first env step. This also
        skips reviews while `Trainer.restore` fast-forwards through the phases.
        """
        if self.progress.env_steps:
            self._replace_states(lambda state, key, place: change(state, key, jax.device_get(self.experience(place))))

    def experience(self, place: int) -> Experience:
        """Return one seed's dataset and buffer; this copies the buffer."""
        buffer = jax.tree.map(lambda leaf: leaf[place], self.buffer)
        if not self.simulators:
            return Experience(self.inputs.data, buffer)
        return Experience(self.inputs.data, buffer, self.simulators.ends(place), self.simulators.diverged[place])

    def learn(self, program: Any, first: int) -> None:
        """Perform the updates of a compiled program, `first` the number of the first, and wait for them."""
        self.carry, self.metrics = program(self.carry, self.buffer, self.inputs, np.int32(first))
        jax.block_until_ready(self.metrics)

    def env_step(self, phase: Phase, numbers: dict[str, np.int32], clock: Clock, use: str) -> None:
        """Step the simulators with the chosen actions; launch the updates and the choice of the next actions.

        `numbers` are the indices passed to `programs.env_step`; `use` is the clock category its time is charged to.
        """
        assert self.simulators
        at_once, queue = phase.agent.open_loop(), None
        with clock.counting("update"):
            actions = np.asarray(self.actions)
        with clock.counting("simulate"):
            outcome = self.simulators.step(actions[:, 0] if at_once > 1 else actions)
        if at_once > 1:
            queue = self.actions, self.simulators.steps % at_once == 0
        with clock.counting(use):
            transitions = outcome.transitions
            if self._marked:
                transitions = transitions.replace(ends=outcome.ended.astype(np.float32))
            self.buffer = programs.store(self.buffer, transitions, outcome.taken, outcome.begins, delayed=self._delayed)
            self._finish(outcome.returns, outcome.lengths)
            self.carry, self.actions = programs.env_step(
                self.carry,
                self.buffer,
                self.inputs,
                outcome.observations,
                queue=queue,
                **numbers,
                utd=phase.utd,
                random=phase.random,
            )
            if use == "compile":
                jax.block_until_ready(self.actions)

    def begin_metrics(self) -> None:
        """Reset the metric sums before a stretch of env steps."""
        self.metrics = jax.tree.map(lambda total: np.zeros(total.shape), self.carry.totals)

    def add_metrics(self) -> None:
        """Add the sums accumulated on the device to the metrics, and reset them there."""
        totals = self.carry.totals
        # In one call: a call for each of a dozen metrics takes as long as an env step.
        zeros = jax.device_put(jax.tree.map(lambda total: np.zeros(total.shape, total.dtype), totals), self.device)
        self.carry = self.carry.replace(totals=zeros)
        self.metrics = jax.tree.map(lambda sums, more: sums + np.asarray(more, np.float64), self.metrics, totals)

    def end_metrics(self, updates: range, cycle: int) -> None:
        """Wait for the device and divide each metric's sum by how many of the phase's `updates` reported it."""
        jax.block_until_ready(self.actions)
        self.add_metrics()
        for name, place in self._places.items():
            first = updates.start + (place - updates.start) % cycle
            count = len(range(first, updates.stop, cycle))
            # NaN, not zero, where there were none; in NumPy, for JAX may be set to stop at a NaN.
            self.metrics[name] = self.metrics[name] / (count or np.nan)

    def save(self, phase: Phase, progress: Progress) -> SeedArrays:
        """Return everything needed to resume these seeds."""
        return SeedArrays(
            self.carry,
            self.buffer if progress.env_steps else None,
            self.actions if phase.acts else None,
            self.simulators.save() if self.simulators and progress.env_steps else None,
        )

    def restore(self, arrays: SeedArrays, phase: Phase, progress: Progress) -> bool:
        """Resume from what `save` returned.

        Return whether episodes under way had to end, as by a time-out, for simulators that could not be saved.
        """
        self.carry, buffer, self.actions = jax.device_put((arrays.carry, arrays.buffer, arrays.actions), self.device)
        self.buffer = self.buffer if buffer is None else buffer
        if self.simulators and arrays.simulators:
            self.simulators.restore(arrays.simulators)
            if not self.simulators.saves:
                self._finish(*self.simulators.restart())
                if phase.acts:
                    self._act_first(phase, progress)
                return True
        return False

    def close(self) -> None:
        """Close the simulators."""
        if self.simulators:
            self.simulators.close()

    def _act_first(self, phase: Phase, progress: Progress) -> None:
        """Choose the actions of the next env step by what the simulators show."""
        assert self.simulators
        observations = jax.device_put(self.simulators.observations, self.device)
        self.actions = programs.first_actions(
            self.carry.state, self.inputs, observations, np.int32(progress.env_steps), random=phase.random
        )

    def _empty_buffers(self, phases: tuple[Phase, ...], task: Task) -> Buffer:
        """Return the buffers before the first env step, made on the device; raise MoorlError where it has no room."""

        def buffers() -> Buffer:
            one = recipes.empty_buffer(phases, task, self._example)
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(self._seeds), *leaf.shape)), one)

        require_memory(jax.eval_shape(buffers), self.device, "the replay buffer")
        with jax.default_device(self.device):
            return jax.device_put(jax.jit(buffers)(), self.device)  # jitted, so that no copy is made on the way

    def _memory(self, phase: Phase) -> Any:
        """Return the initial state of the phase's sampling rule, stacked over seeds."""
        rule = self.inputs.sampling
        if rule is None or type(rule).init is Sampling.init:
            return None
        memories = []
        for place, seed in enumerate(self._seeds):
            experience = self.experience(place) if rule.begins_with_experience else Experience(None, None)
            memories.append(rule.init(self._key(seed, RULES), experience, phase.agent.batch_size))
        return _stack(memories)

    def _finish(self, returns: np.ndarray, lengths: np.ndarray) -> None:
        """Fill in the returns-to-go of the episodes that just ended, if the recipe needs them."""
        if lengths.any():
            self.buffer = programs.finish_episodes(self.buffer, returns, lengths)

    def _replace_states(self, change: Callable[[State, Array, int], State]) -> None:
        """Replace each seed's state by `change(state, key, place)`, one seed after another."""
        states = []
        for place, seed in enumerate(self._seeds):
            state = jax.tree.map(lambda leaf, place=place: leaf[place], self.carry.state)
            states.append(change(state, self._key(seed, SWITCHES), place))
        self.carry = self.carry.replace(state=jax.device_put(_stack(states), self.device))

    def _key(self, seed: int, use: int) -> Array:
        """Return a seed's key for a use in the current phase."""
        return jax.random.fold_in(stream(seed, use), self.progress.phase)


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
