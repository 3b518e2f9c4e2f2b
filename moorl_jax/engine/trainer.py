"""One driver for every recipe of phases, for all seeds at once: offline, online, and what lies between."""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from moorl_jax.agents import Agent
from moorl_jax.agents.contract import State, Update
from moorl_jax.data import Normalizer, Prepared
from moorl_jax.engine.devices import Lane, lanes, require_room
from moorl_jax.engine.rehearsal import rehearse
from moorl_jax.engine.simulators import Simulators
from moorl_jax.errors import MoorlError
from moorl_jax.footage import Footage
from moorl_jax.phases import Collect, Instant, Judge, Offline, Online, Pause, Phase, Pretrain, Review, Switch
from moorl_jax.replay import Balanced, Buffer, Experience, FrameBuffer, Sampling
from moorl_jax.tasks import Task
from moorl_jax.types import Array, Metrics, NStep, Params, ReturnsToGo, Transitions

# Streams of a seed's key, each its own fold.
INITIAL, UPDATES, ACTIONS, SWITCHES, RULES = range(5)
SUMMED = 100  #: env steps whose metrics are summed in float32: the mean keeps six digits, the host is seldom asked


class Carry(struct.PyTreeNode):
    """What an update changes of a seed. On a device every leaf has a leading axis over a group of seeds."""

    state: State  #: the agent's
    memory: Any  #: the sampling rule's state
    totals: Metrics  #: sums of an online phase's metrics since they were last taken


class Inputs(struct.PyTreeNode):
    """What a phase's programs read and do not change."""

    agent: Agent
    sampling: Any  #: a Sampling; None in a phase without updates
    data: Transitions | Footage | None
    update_key: Array  #: (group,)
    action_key: Array  #: (group,)


@dataclass
class Group:
    """Some seeds on a device."""

    positions: tuple[int, ...]
    carry: Carry
    buffer: Any  #: a Buffer with a leading axis too; None in a recipe without env steps
    inputs: Inputs
    simulators: Any  #: Simulators; None in a recipe without env steps
    actions: Any = None  #: (group, action size), chosen and not taken yet
    metrics: Metrics = field(default_factory=dict)  #: while env steps are taken their sums so far, in float64


@dataclass
class Clock:
    """Wall-clock seconds of one lane, by use."""

    compile: float = 0.0  #: the first call of each env-step program, its one step included
    simulate: float = 0.0
    update: float = 0.0  #: in compiled calls, or waiting for them
    total: float = 0.0

    def add(self, use: str, seconds: float) -> None:
        """Count seconds towards a use."""
        setattr(self, use, getattr(self, use) + seconds)


class Trainer:
    """Takes all seeds through a recipe of phases.

    A seed's result depends on the seed, the recipe and the data alone: each update's randomness is folded from the
    seed's key and the update's number, each action's from the env step's, so neither the other seeds nor how the way
    is cut into calls changes it.
    """

    def __init__(self, phases: tuple[Phase, ...], task: Task, prepared: Prepared, seeds: tuple[int, ...]):
        self.phases = _walked(phases)
        self.phase = 0  #: number of the current phase
        self.done = 0  #: updates or env steps of it
        self.updates = 0  #: critic updates of each seed so far, those of phases that only prepare left out
        self.env_steps = 0  #: of each seed so far
        self._drawn = 0  # all updates so far; it numbers their randomness
        self._seeds = seeds
        self._lanes = lanes(len(seeds), images=task.pixels)
        self.clocks = [Clock() for _ in self._lanes]
        self._pool = ThreadPoolExecutor(len(self._lanes))
        self._compiled: dict[Any, list[Any]] = {}
        self._warm: set[Any] = set()
        self._returns = returns_rule(self.phases)
        rules = [phase.sampling for phase in self.phases if isinstance(phase, Pretrain | Online)]
        if self._returns and any(isinstance(rule, Balanced) for rule in rules):
            raise MoorlError("balanced replay and Monte-Carlo returns cannot be combined")
        self._example = _example(prepared, task, self._returns)
        rehearse(phases, self._example)
        self._keys = [jax.random.key(seed) for seed in seeds]
        env_steps = sum(phase.env_steps for phase in self.phases if isinstance(phase, Collect | Online))
        # Room for all there will be, and for one whole episode, which is written before it is finished.
        self._capacity = max(env_steps, task.horizon) if env_steps else 0

        first = _first_agent(phases)
        # One seed after another, so that initial values are the same in any company. Not compiled, here and wherever
        # networks are made: several QR decompositions of orthogonal initializers in one program can wait for each
        # other for ever in XLA's CPU thread pool.
        require_room(
            [jax.eval_shape(first.init, key, self._example) for key in self._keys[:1]] * len(seeds),
            self._lanes[0].device,
            "the networks of all seeds",
        )
        states = [first.init(jax.random.fold_in(key, INITIAL), self._example) for key in self._keys]
        self._groups: list[list[Group]] = []
        for lane in self._lanes:
            require_room(prepared.transitions, lane.device, "the data", held=True)
            data = jax.device_put(prepared.transitions, lane.device)
            self._groups.append([])
            for positions in lane.groups:
                group_seeds = tuple(seeds[position] for position in positions)
                carry = Carry(_stack([states[p] for p in positions]), None, {})
                inputs = Inputs(
                    agent=first,
                    sampling=None,
                    data=data,
                    update_key=jnp.stack([jax.random.fold_in(self._keys[p], UPDATES) for p in positions]),
                    action_key=jnp.stack([jax.random.fold_in(self._keys[p], ACTIONS) for p in positions]),
                )
                simulators = Simulators(task, prepared, group_seeds, self._returns, env_steps) if env_steps else None
                carry, inputs = jax.device_put((carry, inputs), lane.device)
                buffer = self._buffers(env_steps, task, lane.device, len(positions)) if env_steps else None
                self._groups[-1].append(Group(positions, carry, buffer, inputs, simulators))
        self._enter()

    @property
    def current(self) -> Phase:
        """The phase that goes on."""
        return self.phases[self.phase]

    @property
    def finished(self) -> bool:
        """Whether the last phase is over."""
        return self.phase == len(self.phases) - 1 and self.done >= length(self.current)

    @property
    def progress(self) -> int:
        """A number that grows with everything done; an evaluation alone is a phase of its own."""
        return self._drawn + self.env_steps + self.phase

    @property
    def agent(self) -> Agent:
        """The agent whose states these are."""
        return _agents(self.phases[: self.phase + 1])[-1]

    def next_phase(self) -> None:
        """Go on to the next phase once the current one is over."""
        self.phase += 1
        self.done = 0
        self._enter()

    def start(self, count: int) -> Callable[[], Metrics]:
        """Start `count` updates or env steps of the current phase and return at once; a Judge is over with its one.

        Call the result to wait for the end; it returns the metrics with a leading seed axis, means over the updates
        that end a cycle.
        Updates without env steps are rounded up to whole cycles of the agent.
        """
        phase, cycle = self.current, len(self.agent.cycle())
        if isinstance(phase, Judge):
            self.done += count
            return dict
        if isinstance(phase, Collect | Online):
            utd = phase.utd if isinstance(phase, Online) else 0
            work = partial(self._interact_lane, steps=count, done=self.done, step=self.env_steps, drawn=self._drawn)
            updates = count * utd
            self.env_steps += count
        elif isinstance(phase, Offline | Pretrain):
            count = -(-count // cycle) * cycle
            work = partial(self._learn_lane, programs=self._compile(count // cycle), drawn=self._drawn)
            updates = count
        else:
            raise TypeError(f"a {type(phase).__name__} has no length")
        self._drawn += updates
        self.updates += updates if getattr(phase, "judged", True) else 0
        self.done += count
        running: list[Future[None]] = [self._pool.submit(work, lane) for lane in range(len(self._lanes))]

        def wait() -> Metrics:
            for lane in running:
                lane.result()
            return self.gather([[group.metrics for group in groups] for groups in self._groups])

        return wait

    def policies(self) -> Params:
        """Return what acting and evaluation need of all seeds' states, on the host."""
        policy = self.agent.policy
        return self.gather([[jax.vmap(policy)(group.carry.state) for group in groups] for groups in self._groups])

    def states(self) -> State:
        """Return all seeds' states on the host, with a leading seed axis."""
        return self.gather([[group.carry.state for group in groups] for groups in self._groups])

    def carries(self) -> Carry:
        """Return the same with all else that updates change, the sampling rules' memories."""
        return self.gather([[group.carry for group in groups] for groups in self._groups])

    def gather(self, parts: list[list[Any]]) -> Any:
        """Return the groups' pytrees as one on the host, the seed axis in the seeds' order."""
        order = np.argsort([position for lane in self._lanes for position in lane.positions])
        host = jax.device_get(list(itertools.chain.from_iterable(parts)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *host)

    def save(self) -> dict[str, np.ndarray]:
        """Return all that decides how training goes on, by name; leaves have a leading seed axis.

        A buffer is left out while it is empty, for that may be a gigabyte of zeros.
        """
        changed = self.gather([[self._changed(group) for group in groups] for groups in self._groups])
        saved = {
            f"changed{jax.tree_util.keystr(path)}": leaf for path, leaf in jax.tree_util.tree_leaves_with_path(changed)
        }
        for name in ("phase", "done", "updates", "env_steps", "_drawn"):
            saved[name] = np.array(getattr(self, name))
        if self._capacity:
            by_seed = {
                p: seed for g in self._all_groups() for p, seed in zip(g.positions, g.simulators.save(), strict=True)
            }
            simulators = jax.tree.map(lambda *leaves: np.stack(leaves), *(by_seed[p] for p in range(len(self._seeds))))
            saved |= {f"simulator.{name}": leaf for name, leaf in simulators.items()}
        if isinstance(self.current, Collect | Online):
            saved["actions"] = self.gather([[group.actions for group in groups] for groups in self._groups])
        return saved

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """Go on from where `save` was called on a trainer made like this one, which has not begun yet.

        Raises KeyError, IndexError or ValueError where it was made otherwise.
        """
        while self.phase < saved["phase"]:
            self.next_phase()  # the states take on their later shape; their values come next
        for name in ("done", "updates", "env_steps", "_drawn"):
            setattr(self, name, int(saved[name]))
        for lane, groups in zip(self._lanes, self._groups, strict=True):
            for group in groups:
                rows = np.array(group.positions)
                paths, structure = jax.tree_util.tree_flatten_with_path(self._changed(group))
                leaves = [saved[f"changed{jax.tree_util.keystr(path)}"][rows] for path, _ in paths]
                for (path, mine), leaf in zip(paths, leaves, strict=True):
                    if (mine.shape, mine.dtype) != (leaf.shape, leaf.dtype):
                        raise ValueError(f"{jax.tree_util.keystr(path)} is of another shape or type")
                group.carry, buffer = jax.device_put(jax.tree.unflatten(structure, leaves), lane.device)
                group.buffer = buffer if self.env_steps else group.buffer
                if group.simulators:
                    names = [name for name in saved if name.startswith("simulator.")]
                    group.simulators.restore([{n.removeprefix("simulator."): saved[n][p] for n in names} for p in rows])
                if "actions" in saved:
                    group.actions = jax.device_put(saved["actions"][rows], lane.device)

    def close(self) -> None:
        """Close all simulators."""
        self._pool.shutdown()
        for group in self._all_groups():
            if group.simulators:
                group.simulators.close()

    def _buffers(self, env_steps: int, task: Task, device: jax.Device, seeds: int) -> Any:
        """Return the empty buffers of so many seeds, made on the device; raise MoorlError where it has no room."""

        def buffers() -> Any:
            one = self._buffer(env_steps, task)
            return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (seeds, *leaf.shape)), one)

        require_room(jax.eval_shape(buffers), device, "experience to come")
        with jax.default_device(device):
            return jax.device_put(jax.jit(buffers)(), device)  # compiled, no buffer is made only to be copied

    def _buffer(self, env_steps: int, task: Task) -> Buffer:
        """Return a seed's empty buffer."""
        if not task.pixels:
            return Buffer.create(self._capacity, self._example)
        pauses = sum(isinstance(phase, Pause) for phase in self.phases)
        episodes = env_steps // task.horizon + 1 + pauses  # they never end early
        return FrameBuffer.create_for(env_steps, episodes, self._example, span_rule(self.phases))

    def _changed(self, group: Group) -> tuple[Carry, Any]:
        """Return what training has changed of a group."""
        return group.carry, group.buffer if self.env_steps else None

    def _all_groups(self) -> list[Group]:
        return list(itertools.chain.from_iterable(self._groups))

    def _enter(self) -> None:
        """Make ready for the current phase; an instant is over at once."""
        phase = self.current
        for lane, groups in zip(self._lanes, self._groups, strict=True):
            for group in groups:
                if isinstance(phase, Pause):
                    self._pause(group)
                elif isinstance(phase, Switch | Review):
                    self._change(phase, lane, group)
                else:
                    self._prepare(phase, lane, group)
        if isinstance(phase, Instant) and self.phase < len(self.phases) - 1:
            self.next_phase()

    def _pause(self, group: Group) -> None:
        returns, lengths = group.simulators.pause()
        if lengths.any():
            group.buffer = _finish_episodes(group.buffer, returns, lengths)

    def _change(self, phase: Switch | Review, lane: Lane, group: Group) -> None:
        states = []
        for place, position in enumerate(group.positions):
            key = jax.random.fold_in(jax.random.fold_in(self._keys[position], SWITCHES), self.phase)
            state = jax.tree.map(lambda leaf, place=place: leaf[place], group.carry.state)
            if isinstance(phase, Switch):
                state = phase.change(state, key, self._example)
            elif self.env_steps:  # not on the way to where a checkpoint is restored
                state = phase.change(state, key, jax.device_get(self._experience(group, place)))
            states.append(state)
        group.carry = group.carry.replace(state=jax.device_put(_stack(states), lane.device))

    def _experience(self, group: Group, place: int) -> Experience:
        """Return what one seed of a group may draw from; this copies its buffer."""
        buffer = jax.tree.map(lambda leaf: leaf[place], group.buffer)
        if not group.simulators:
            return Experience(group.inputs.data, buffer)
        return Experience(group.inputs.data, buffer, group.simulators.ends(place), group.simulators.diverged[place])

    def _prepare(self, phase: Offline | Pretrain | Collect | Online | Judge, lane: Lane, group: Group) -> None:
        sampling = None if isinstance(phase, Collect | Judge) else phase.sampling
        agent, sampling = jax.device_put((phase.agent, sampling), lane.device)
        group.inputs = group.inputs.replace(agent=agent, sampling=sampling)
        memory = None
        if sampling is not None and type(sampling).init is not Sampling.init:
            keys = [jax.random.fold_in(jax.random.fold_in(self._keys[p], RULES), self.phase) for p in group.positions]
            memories = []
            for place, key in enumerate(keys):
                seen = sampling.begins_with_experience
                experience = self._experience(group, place) if seen else Experience(None, None)
                memories.append(sampling.init(key, experience, phase.agent.batch_size))
            memory = _stack(memories)
        group.carry = group.carry.replace(memory=jax.device_put(memory, lane.device), totals={})
        if isinstance(phase, Collect | Online):
            observations = jax.device_put(group.simulators.observations, lane.device)
            random = isinstance(phase, Collect) and phase.random
            group.actions = _first_actions(
                group.carry.state, group.inputs, observations, np.int32(self.env_steps), random=random
            )
        if isinstance(phase, Online):
            metrics = jax.eval_shape(_last_metrics, group.carry, group.buffer, group.inputs)
            totals = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metrics)
            group.carry = group.carry.replace(totals=jax.device_put(totals, lane.device))

    def _compile(self, cycles: int) -> list[Any]:
        group = self._groups[0][0]
        leaves, structure = jax.tree.flatten((group.carry, group.buffer, group.inputs))
        key = (cycles, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))  # phases may share a program
        if key not in self._compiled:
            started = time.perf_counter()

            def compile_lane(lane: int) -> Any:
                group = self._groups[lane][0]
                return _learn.lower(group.carry, group.buffer, group.inputs, np.int32(0), cycles=cycles).compile()

            self._compiled[key] = list(self._pool.map(compile_lane, range(len(self._lanes))))
            for clock in self.clocks:
                clock.add("compile", time.perf_counter() - started)
                clock.add("total", time.perf_counter() - started)
        return self._compiled[key]

    def _learn_lane(self, lane: int, programs: list[Any], drawn: int) -> None:
        """Take one lane through updates without env steps."""
        started = time.perf_counter()
        for group in self._groups[lane]:
            group.carry, group.metrics = programs[lane](group.carry, group.buffer, group.inputs, np.int32(drawn))
            jax.block_until_ready(group.metrics)
        self.clocks[lane].add("update", time.perf_counter() - started)
        self.clocks[lane].add("total", time.perf_counter() - started)

    def _interact_lane(self, lane: int, steps: int, done: int, step: int, drawn: int) -> None:
        """Take one lane through env steps, each followed by the phase's number of updates.

        `done`, `step` and `drawn` count what is behind: env steps of the phase, of all phases, and updates.
        While one group's updates run its device is busy and the host free to step another group's simulators.
        """
        phase, clock, groups = self.current, self.clocks[lane], self._groups[lane]
        device = self._lanes[lane].device
        random, utd = isinstance(phase, Collect) and phase.random, phase.utd if isinstance(phase, Online) else 0
        cycle = len(self.agent.cycle())
        began = time.perf_counter()
        for group in groups:
            group.metrics = jax.tree.map(np.zeros_like, _take_totals(group, device))
        for number in range(steps):
            # The next action belongs to the step after this one.
            scalars = {
                "step": np.int32(step + number + 1),
                "drawn": np.int32(drawn + number * utd),
                "turn": np.int32((done + number) * utd % cycle),  # a phase begins with a whole cycle
            }
            for group in groups:
                mark = time.perf_counter()
                actions = np.asarray(group.actions)
                if number % SUMMED == 0:
                    group.metrics = jax.tree.map(np.add, group.metrics, _take_totals(group, device))
                waited = time.perf_counter()
                outcome = group.simulators.step(actions)
                stepped = time.perf_counter()
                group.buffer = _store(
                    group.buffer, outcome.transitions, outcome.taken, outcome.begins, delayed=bool(self._returns)
                )
                if outcome.lengths.any():
                    group.buffer = _finish_episodes(group.buffer, outcome.returns, outcome.lengths)
                group.carry, group.actions = _env_step(
                    group.carry, group.buffer, group.inputs, outcome.observations, **scalars, utd=utd, random=random
                )
                use = "update"
                if (self.phase, lane) not in self._warm:
                    self._warm.add((self.phase, lane))
                    jax.block_until_ready(group.actions)
                    use = "compile"
                clock.add(use, time.perf_counter() - stepped)
                clock.add("update", waited - mark)
                clock.add("simulate", stepped - waited)
        # A cycle's metrics are those of its last update.
        readings = (done + steps) * utd // cycle - done * utd // cycle
        for group in groups:
            mark = time.perf_counter()
            group.actions.block_until_ready()
            clock.add("update", time.perf_counter() - mark)
            sums = jax.tree.map(np.add, group.metrics, _take_totals(group, device))
            # NaN, not zero, where no cycle ended; in NumPy, for JAX may have been told to stop at a NaN.
            group.metrics = jax.tree.map(lambda total: total / (readings or np.nan), sums)
        clock.add("total", time.perf_counter() - began)


def length(phase: Phase) -> int:
    """Return how many updates or env steps a phase takes; 1 for an evaluation, 0 for an instant."""
    if isinstance(phase, Instant | Judge):
        return int(isinstance(phase, Judge))
    return phase.env_steps if isinstance(phase, Collect | Online) else phase.updates


def needs_data(phases: tuple[Phase, ...]) -> bool:
    """Tell whether a recipe draws from a dataset."""
    rules = [phase.sampling for phase in phases if isinstance(phase, Offline | Pretrain | Online) and length(phase)]
    return any(rule.needs_dataset for rule in rules)


def returns_rule(phases: tuple[Phase, ...]) -> ReturnsToGo | None:
    """Return the returns to go that a recipe's agents need, None where they need none."""
    rules = {agent.returns_to_go() for agent in _agents(phases)} - {None}
    if len(rules) > 1:
        raise MoorlError(f"the phases' agents ask for different returns to go: {rules}")
    return next(iter(rules), None)


def span_rule(phases: tuple[Phase, ...]) -> NStep:
    """Return how many steps the transitions of a recipe's batches span, where observations are images."""
    rules = {agent.n_step_returns() for agent in _agents(phases)}
    if len(rules) > 1:
        raise MoorlError(f"the phases' agents ask for transitions over different steps: {rules}")
    return rules.pop()


def final_state(phases: tuple[Phase, ...], task: Task, seeds: int) -> tuple[Agent, State]:
    """Return the last phase's agent, and shapes and types of the states a recipe ends with, seed axis first."""
    key = jax.random.key(0)
    example = _example(Prepared(None, Normalizer.identity(task.observation_shape)), task, returns_rule(phases))
    state = jax.eval_shape(_first_agent(phases).init, key, example)
    for phase in _walked(phases):
        if isinstance(phase, Switch):
            state = jax.eval_shape(phase.change, state, key, example)
    return _agents(phases)[-1], jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((seeds, *leaf.shape), leaf.dtype), state)


def _walked(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Leave out the phases that a budget leaves no room for, and the instants that lead to nothing else."""
    walked = [phase for phase in phases if length(phase) > 0 or isinstance(phase, Instant)]
    while walked and isinstance(walked[-1], Instant) and walked[-1] is not phases[-1]:
        walked.pop()
    return tuple(walked)


def _agents(phases: tuple[Phase, ...]) -> list[Agent]:
    """Return the agent of each phase that has a length, in order."""
    return [phase.agent for phase in _walked(phases) if not isinstance(phase, Instant)]


def _first_agent(phases: tuple[Phase, ...]) -> Agent:
    """Return the agent whose state a recipe begins with, though its phase may have no length: a switch follows."""
    return next(phase.agent for phase in phases if not isinstance(phase, Instant))


def _example(prepared: Prepared, task: Task, returns: ReturnsToGo | None) -> Transitions:
    """Return a batch of one, for shapes and types."""
    if isinstance(prepared.transitions, Transitions):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf[:1]), prepared.transitions)
    observation = jnp.zeros((1, *task.observation_shape), jnp.uint8 if task.pixels else jnp.float32)
    scalar = jnp.zeros(1, jnp.float32)
    action = jnp.zeros((1, task.action_size), jnp.float32)
    return Transitions(observation, action, scalar, observation, scalar, scalar if returns else None)


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _take_totals(group: Group, device: jax.Device) -> Any:
    """Return what a group's metrics add up to since this was last called, in float64 on the host."""
    totals = group.carry.totals
    # In one call: a call for each of a dozen metrics takes as long as an env step.
    zeros = jax.device_put(jax.tree.map(lambda total: np.zeros(total.shape, total.dtype), totals), device)
    group.carry = group.carry.replace(totals=zeros)
    return jax.tree.map(lambda total: np.asarray(total, np.float64), totals)


def _over_seeds(function: Callable[..., Any], *grouped: Any) -> Any:
    """Apply a function of one seed to a group: as it is to a single one, batched to several."""
    if jax.tree.leaves(grouped)[0].shape[0] == 1:
        # By reshaping, which is free: an index would copy the buffer at every step.
        alone = function(*jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), grouped))
        return jax.tree.map(lambda leaf: jnp.reshape(leaf, (1, *jnp.shape(leaf))), alone)
    return jax.vmap(function)(*grouped)


def _drawing(buffer: Any, inputs: Inputs, key: Array) -> Callable[[Carry, Array], tuple[Carry, Any, Any]]:
    """Return what draws the batch and the randomness of an update, given its number."""
    if buffer is not None and inputs.agent.returns_to_go() is None:  # it need not wait for an episode's end
        buffer = buffer.replace(finished=buffer.written)
    experience = Experience(inputs.data, buffer)

    def drawn(carry: Carry, number: Array) -> tuple[Carry, Any, Any]:
        sample_key, draw_key = jax.random.split(jax.random.fold_in(key, number))
        memory, batch = inputs.sampling.sample(carry.memory, sample_key, experience, inputs.agent.batch_size)
        return carry.replace(memory=memory), batch, inputs.agent.draw(draw_key, batch)

    return drawn


def _cycles(
    carry: Carry, buffer: Any, inputs: Inputs, key: Array, first: Array, *, cycles: int
) -> tuple[Carry, Metrics]:
    """Perform whole cycles of updates, `first` the number of the first; the metrics are those of each cycle's last."""
    drawn, cycle = _drawing(buffer, inputs, key), inputs.agent.cycle()

    def one(carry: Carry, number: Array, update: Update) -> tuple[Carry, Metrics]:
        carry, batch, draws = drawn(carry, number)
        state, metrics = update(carry.state, batch, draws)
        return carry.replace(state=state), metrics

    def one_cycle(carry: Carry, number: Array) -> tuple[Carry, Metrics]:
        metrics: Metrics = {}
        # Equal updates in a row are scanned: unrolled, twenty of them would take a minute to compile.
        for _, run in itertools.groupby(cycle):
            same = list(run)
            if len(same) == 1:
                carry, metrics = one(carry, number, same[0])
            else:
                carry, each = jax.lax.scan(partial(one, update=same[0]), carry, number + jnp.arange(len(same)))
                metrics = jax.tree.map(lambda values: values[-1], each)
            number = number + len(same)
        return carry, metrics

    return jax.lax.scan(one_cycle, carry, first + len(cycle) * jnp.arange(cycles))


def _turns(
    carry: Carry, buffer: Any, inputs: Inputs, key: Array, first: Array, turn: Array, *, updates: int
) -> tuple[Carry, Metrics]:
    """Perform `updates` from number `turn` of the agent's cycle on; the metrics are 0 but for each cycle's last.

    Which update it is is decided as the program runs. On a CPU a program for each turn, all updates unrolled, is no
    faster, and OPT's took half a minute to compile.
    """
    drawn, cycle = _drawing(buffer, inputs, key), inputs.agent.cycle()
    kinds = [update for place, update in enumerate(cycle) if update not in cycle[:place]]
    kind = jnp.array([kinds.index(update) for update in cycle])

    def one(carry: Carry, number: Array) -> tuple[Carry, Metrics]:
        carry, batch, draws = drawn(carry, number)
        nothing = jax.tree.map(jnp.zeros_like, jax.eval_shape(cycle[-1], carry.state, batch, draws)[1])

        def reporting(update: Update) -> Update:
            return lambda *given: update(*given) if update == cycle[-1] else (update(*given)[0], nothing)

        place = (turn + number - first) % len(cycle)
        state, metrics = jax.lax.switch(kind[place], list(map(reporting, kinds)), carry.state, batch, draws)
        ends = place == len(cycle) - 1
        return carry.replace(state=state), jax.tree.map(lambda value: jnp.where(ends, value, 0), metrics)

    return jax.lax.scan(one, carry, first + jnp.arange(updates))


@partial(jax.jit, donate_argnums=0, static_argnames="cycles")
def _learn(group: Carry, buffer: Any, inputs: Inputs, drawn: Array, *, cycles: int) -> tuple[Carry, Metrics]:
    """Take a group through `cycles` cycles of updates, `drawn` the number of the first update."""

    def train(carry: Carry, buffer: Any, key: Array) -> tuple[Carry, Metrics]:
        carry, metrics = _cycles(carry, buffer, inputs, key, drawn, cycles=cycles)
        return carry, jax.tree.map(lambda values: values.mean(axis=0), metrics)

    return _over_seeds(train, group, buffer, inputs.update_key)


# Storing has a program of its own. In one with the draws, the CPU's gather is a loop that carries the whole buffer, and
# the buffer would be copied at every env step because it is written too.
@partial(jax.jit, donate_argnums=0, static_argnames="delayed")
def _store(buffer: Buffer, transitions: Transitions, taken: Array, begins: Array, *, delayed: bool) -> Buffer:
    """Store each seed's transition that was taken; `delayed`, it may be drawn once its episode's returns are known."""

    def one(buffer: Buffer, transition: Transitions, taken: Array, begins: Array) -> Buffer:
        if delayed:
            transition = transition.replace(mc_returns=jnp.zeros_like(transition.rewards))
        return buffer.store(transition, taken=taken, begins=begins, finished=not delayed)

    return _over_seeds(one, buffer, transitions, taken, begins)


@partial(jax.jit, donate_argnums=0)
def _finish_episodes(buffer: Buffer, returns: Array, lengths: Array) -> Buffer:
    """Give the transitions of the episodes that ended their returns to go."""
    return _over_seeds(Buffer.finish, buffer, returns, lengths)


@partial(jax.jit, donate_argnums=0, static_argnames=("utd", "random"))
def _env_step(
    group: Carry,
    buffer: Buffer,
    inputs: Inputs,
    observations: Array,
    step: Array,
    drawn: Array,
    turn: Array,
    *,
    utd: int,
    random: bool,
) -> tuple[Carry, Array]:
    """Perform `utd` updates from number `turn` of the agent's cycle on, and choose the next actions."""

    def one(
        carry: Carry, buffer: Buffer, update_key: Array, action_key: Array, observation: Array
    ) -> tuple[Carry, Array]:
        if utd:
            memory = inputs.sampling.stored(carry.memory, Experience(inputs.data, buffer))
            carry = carry.replace(memory=memory)
            cycles, rest = divmod(utd, len(inputs.agent.cycle()))
            if rest:
                carry, metrics = _turns(carry, buffer, inputs, update_key, drawn, turn, updates=utd)
            else:
                carry, metrics = _cycles(carry, buffer, inputs, update_key, drawn, cycles=cycles)
            totals = jax.tree.map(lambda total, values: total + values.sum(axis=0), carry.totals, metrics)
            carry = carry.replace(totals=totals)
        return carry, _act(carry.state, inputs.agent, action_key, observation, step, random)

    return _over_seeds(one, group, buffer, inputs.update_key, inputs.action_key, observations)


@partial(jax.jit, static_argnames="random")
def _first_actions(state: State, inputs: Inputs, observations: Array, step: Array, *, random: bool) -> Array:
    """Choose the actions of a phase's first env step."""

    def one(state: State, key: Array, observation: Array) -> Array:
        return _act(state, inputs.agent, key, observation, step, random)

    return _over_seeds(one, state, inputs.action_key, observations)


def _act(state: State, agent: Agent, key: Array, observation: Array, step: Array, random: bool) -> Array:
    key = jax.random.fold_in(key, step)
    actions = agent.act(agent.policy(state), observation[None], key)[0]
    return jax.random.uniform(key, actions.shape, actions.dtype, -1.0, 1.0) if random else actions


def _last_metrics(group: Carry, buffer: Buffer, inputs: Inputs) -> Metrics:
    """Return the metrics of a cycle's last update, for their names and types."""

    def one(carry: Carry, buffer: Buffer, key: Array) -> Metrics:
        _, metrics = _cycles(carry, buffer, inputs, key, jnp.int32(0), cycles=1)
        return jax.tree.map(lambda values: values[0], metrics)

    return _over_seeds(one, group, buffer, inputs.update_key)
