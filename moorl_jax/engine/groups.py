"""The seeds that one compiled program advances together: entering a phase, learning, acting, saving, restoring."""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State
from moorl_jax.data import Prepared
from moorl_jax.engine import programs, recipes
from moorl_jax.engine.clock import Clock
from moorl_jax.engine.devices import require_memory
from moorl_jax.engine.instants import Changing, stack
from moorl_jax.engine.keys import ACTIONS, RULES, UPDATES, stream
from moorl_jax.engine.programs import Carry, Inputs
from moorl_jax.engine.simulators import Simulators
from moorl_jax.engine.snapshots import Progress, SeedArrays
from moorl_jax.phases import Instant, Phase
from moorl_jax.replay import Buffer, Experience, Sampling
from moorl_jax.tasks import Task
from moorl_jax.types import Array, Metrics, Params, Transitions


class Member(NamedTuple):
    """One of all the seeds that a trainer runs."""

    recipe: int  #: the number of the recipe that it goes through
    seed: int


class Part(NamedTuple):
    """The seeds of a group that go through the same recipe."""

    recipe: int
    places: range  #: in the group


class Group:
    """A batch of seeds on one device; every array has a leading seed axis."""

    def __init__(
        self,
        positions: tuple[int, ...],
        members: Sequence[Member],
        states: Sequence[State],
        device: jax.Device,
        alike: Sequence[tuple[Phase, ...]],
        task: Task,
        prepared: Prepared,
        example: Transitions,
    ):
        """Put the first states on the device and, where the recipes take env steps, make buffers and simulators.

        The members are sorted by their recipes, which are of those in `alike`; `prepared` is on the device.
        """
        self.positions = positions  #: of its seeds among all of the trainer's
        self.device = device
        seeds, phases = tuple(member.seed for member in members), alike[members[0].recipe]
        self._seeds, self.example = seeds, example
        self._recipes = [recipes.taken(each) for each in alike]
        each = [member.recipe for member in members]
        self._parts = [
            Part(recipe, range(each.index(recipe), each.index(recipe) + count))
            for recipe, count in collections.Counter(each).items()
        ]
        self.progress = Progress()  #: as of the start of the current phase
        first, returns, env_steps = recipes.first_agent(phases), recipes.returns_rule(phases), recipes.env_steps(phases)
        self.carry = jax.device_put(Carry(stack(states), None, {}), device)
        update_key, action_key = (jnp.stack([stream(seed, use) for seed in seeds]) for use in (UPDATES, ACTIONS))
        self.inputs = jax.device_put(Inputs(first, None, prepared.transitions, update_key, action_key), device)
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

    def enter(self, progress: Progress) -> None:
        """Set up the phase that starts at `progress`; if it is an instant, run it."""
        self.progress = progress
        phases = [self._recipes[part.recipe][progress.phase] for part in self._parts]
        phase = phases[0]
        if isinstance(phase, Instant):
            self._happen(phases)
            return
        configs = [jax.device_put((each.agent, each.sampling), self.device) for each in phases]
        own = None
        if len(configs) > 1:
            own = stack([config for config, part in zip(configs, self._parts, strict=True) for _ in part.places])
        agent, sampling = configs[0]
        self.inputs = self.inputs.replace(agent=agent, sampling=sampling, own=own)
        memory = jax.device_put(self._memory(phase, [rule for _, rule in configs]), self.device)
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

    def experience(self, place: int) -> Experience:
        """Return one seed's dataset and buffer; this copies the buffer."""
        buffer = jax.tree.map(lambda leaf: leaf[place], self.buffer)
        if not self.simulators:
            return Experience(self.inputs.data, buffer)
        return Experience(self.inputs.data, buffer, self.simulators.ends(place), self.simulators.diverged[place])

    def states(self, places: range) -> State:
        """Return the states of the seeds at some places."""
        state = self.carry.state
        if len(places) == len(self._seeds):
            return state
        return jax.tree.map(lambda leaf: leaf[places.start : places.stop], state)

    def policies(self, agents: Sequence[Agent]) -> list[Params]:
        """Return the parameters of its seeds' policies, part by part; `agents` has each recipe's."""
        return [jax.vmap(agents[part.recipe].policy)(self.states(part.places)) for part in self._parts]

    def observations(self) -> tuple[Array, Array]:
        """Return the observations in the buffers, (seeds, capacity, size), and how many of them each seed wrote."""
        assert self.buffer
        return self.buffer.rows.observations, self.buffer.written

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
            one = recipes.empty_buffer(phases, task, self.example)
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(self._seeds), *leaf.shape)), one)

        require_memory(jax.eval_shape(buffers), self.device, "the replay buffer")
        with jax.default_device(self.device):
            return jax.device_put(jax.jit(buffers)(), self.device)  # jitted, so that no copy is made on the way

    def _memory(self, phase: Phase, rules: Sequence[Any]) -> Any:
        """Return the initial state of the phase's sampling rule, of each part its own, stacked over seeds."""
        if rules[0] is None or type(rules[0]).init is Sampling.init:
            return None
        memories = []
        for part, rule in zip(self._parts, rules, strict=True):
            for place in part.places:
                experience = self.experience(place) if rule.begins_with_experience else Experience(None, None)
                memories.append(rule.init(self.key(place, RULES), experience, phase.agent.batch_size))
        return stack(memories)

    def _finish(self, returns: np.ndarray, lengths: np.ndarray) -> None:
        """Fill in the returns-to-go of the episodes that just ended, if the recipe needs them."""
        if lengths.any():
            self.buffer = programs.finish_episodes(self.buffer, returns, lengths)

    def _happen(self, phases: Sequence[Any]) -> None:
        """Run an instant: each part's own."""
        changing = [Changing(self, part.places) for part in self._parts]
        for phase, seeds in zip(phases, changing, strict=True):
            phase.happen(seeds)
        states = [seeds.state for seeds in changing]
        if len(states) > 1:
            states = [jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states)]
        self.carry = self.carry.replace(state=states[0])

    def key(self, place: int, use: int) -> Array:
        """Return a seed's key for a use in the current phase."""
        return jax.random.fold_in(stream(self._seeds[place], use), self.progress.phase)
