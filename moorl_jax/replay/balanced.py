"""Balanced replay: near-on-policy transitions of the dataset are drawn more often.

Lee, Seo, Lee, Abbeel and Shin 2021, "Offline-to-Online Reinforcement Learning via Balanced Replay and Pessimistic
Q-Ensemble", arXiv 2107.00591, section 3.1; details of shlee94/Off2OnRL `rlkit/torch/sac/ours.py` and
`prioritized_replay_buffer.py`.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct

from moorl_jax.config import Count, NotNegative, PartShare, Positive, Widths, static
from moorl_jax.errors import MoorlError
from moorl_jax.nets import MLP, Learner, init_mlp, mlp
from moorl_jax.replay.buffer import Experience
from moorl_jax.replay.sampling import Sampling
from moorl_jax.types import Array, Metrics, Params, Transitions

BRANCHES = 16
EPSILON = 1e-10


class SumTree(struct.PyTreeNode):
    """A tree whose nodes hold the sum of their BRANCHES children; its leaves are priorities.

    Six levels reach two million leaves. A binary tree would need twenty-one, each with a gather and a scatter to
    compile.
    """

    levels: tuple[Array, ...]  #: (groups, BRANCHES) each, from the root's children to the leaves

    @classmethod
    def create(cls, priorities: Array, capacity: int) -> "SumTree":
        """Build the tree over `priorities`, padded with zeros to at least `capacity` leaves."""
        groups = -(-capacity // BRANCHES)
        level = jnp.zeros(groups * BRANCHES, priorities.dtype).at[: len(priorities)].set(priorities)
        levels = [level.reshape(groups, BRANCHES)]
        while len(levels[0]) > 1:
            groups = -(-len(levels[0]) // BRANCHES)
            level = jnp.zeros(groups * BRANCHES, priorities.dtype).at[: len(levels[0])].set(levels[0].sum(axis=1))
            levels.insert(0, level.reshape(groups, BRANCHES))
        return cls(tuple(levels))

    @property
    def total(self) -> Array:
        """The sum of all priorities."""
        return self.levels[0].sum()

    @property
    def leaves(self) -> Array:
        """All leaves."""
        return self.levels[-1].reshape(-1)

    def set(self, rows: Array, priorities: Array) -> "SumTree":
        """Set the priorities of leaves `rows` and update the sums above; duplicate rows must have equal priorities."""
        mended: list[Array] = []
        values = priorities
        for level in reversed(self.levels):
            groups, places = jnp.divmod(rows, BRANCHES)
            level = level.at[groups, places].set(values)
            mended.insert(0, level)
            rows, values = groups, level[groups].sum(axis=1)
        return SumTree(tuple(mended))

    def find(self, mass: Array) -> Array:
        """Return the leaf where the running sum of priorities reaches `mass`, (count,) in [0, total]."""
        at = jnp.zeros(mass.shape, jnp.int32)
        for level in self.levels:
            sums = jnp.cumsum(level[at], axis=1)
            mass = jnp.minimum(mass, sums[:, -1])  # rounding may have pushed it past the sum
            child = jnp.sum(sums < mass[:, None], axis=1)
            before = jnp.where(
                child > 0, jnp.take_along_axis(sums, jnp.maximum(child - 1, 0)[:, None], axis=1)[:, 0], 0
            )
            mass, at = mass - before, at * BRANCHES + child
        return at


class BalancedState(struct.PyTreeNode):
    """What balanced replay learns and remembers."""

    density: Learner  #: the network w(s, a) that estimates d_online / d_offline
    tree: SumTree  #: a priority per row of the dataset, then per slot of the buffer
    largest: Array  #: (), the priority that new transitions get
    rows: Array  #: (batch,), of the latest draw
    priorities: Array  #: (batch,), their new priorities, not yet in the tree

    def current_tree(self) -> SumTree:
        """Return the tree with the latest draw's priorities entered.

        They are entered right before the tree is read again: in this order XLA changes it in place, while a tree that
        is read and then changed in one program is copied, at ten times the cost of the draw.
        """
        tree = self.tree.set(self.rows, self.priorities)
        return jax.lax.optimization_barrier(tree)  # or XLA would recompute the change in each read


class Balanced(Sampling):
    """Sampling in proportion to a learned density ratio, with the defaults of Off2OnRL.

    The tree has a leaf per dataset row and per buffer slot; the dataset's rows stay. (The code we follow for OPT keeps
    both in one ring of a million, whose online rows overwrite the dataset's once it is full.) Each draw first takes a
    step of the density network, then gives the drawn rows new priorities. A buffer whose transitions wait for their
    episode's end is not supported.
    """

    begins_with_experience: ClassVar[bool] = True

    hidden: Widths = static((256, 256))
    density_batch: Count = static(256)  #: dataset rows, and as many buffer rows, per density update
    updated_numerator: bool = static(False)  #: use the ratio after the density step (OPT, OEMA), not before (Off2OnRL)
    learning_rate: NotNegative = 3e-4
    temperature: Positive = 5.0  #: T, the priorities are w^(1/T)
    smallest: Positive = 1e-3  #: bounds of a priority
    greatest: Positive = 1e3
    online_fraction: PartShare | None = 0.5  #: f: new rows get priority M f / ((1 - f) 1000), M data rows; None: 1

    def init(self, key: Array, experience: Experience, size: int) -> BalancedState:
        """Give dataset rows priority 1, and rows already in the buffer the priority of new ones."""
        data, buffer = experience.offline, experience.online
        if not isinstance(data, Transitions):
            raise MoorlError("balanced replay compares densities of states: it cannot draw from images")
        inputs = jnp.concatenate([data.observations[:1], data.actions[:1]], axis=-1)
        density = init_mlp(key, MLP((*self.hidden, 1)), inputs)
        density[f"layer{len(self.hidden)}"]["bias"] = jnp.ones(1, inputs.dtype)
        count = len(data)
        entering = jnp.ones(())
        if self.online_fraction is not None:
            entering = count * self.online_fraction / ((1.0 - self.online_fraction) * 1000.0) * entering
        there = jnp.where(jnp.arange(buffer.capacity) < buffer.written, entering, 0.0)
        tree = SumTree.create(jnp.concatenate([jnp.ones(count), there]), count + buffer.capacity)
        rows = jnp.zeros(size, jnp.int32)
        return BalancedState(Learner.create(density), tree, entering, rows, jnp.ones(size))

    def stored(self, state: BalancedState, experience: Experience) -> BalancedState:
        """Enter the newest transition with the largest priority so far."""
        buffer = experience.online
        slot = len(experience.offline) + (buffer.written - 1) % buffer.capacity
        rows, priorities = jnp.full_like(state.rows, slot), jnp.full_like(state.priorities, state.largest)
        return state.replace(tree=state.current_tree(), rows=rows, priorities=priorities)

    def sample(
        self, state: BalancedState, key: Array, experience: Experience, size: int
    ) -> tuple[BalancedState, Transitions]:
        """Return a batch sampled by priority, stratified over `size` equal parts of the total, with density ratios."""
        offline_key, online_key, part_key = jax.random.split(key, 3)
        data, buffer = experience.offline, experience.online
        offline = data.take(jax.random.randint(offline_key, (self.density_batch,), 0, len(data)))
        online = buffer.rows.take(buffer.slots(online_key, self.density_batch))
        uniform = jax.random.uniform(part_key, (size,))
        state, batch, _ = self.draw(state, experience, offline, online, uniform)
        return state, batch

    def draw(
        self, state: BalancedState, experience: Experience, offline: Transitions, online: Transitions, uniform: Array
    ) -> tuple[BalancedState, Transitions, Metrics]:
        """Draw a batch, renew its rows' priorities, and step the density network.

        `offline` and `online` are the density network's batches, `uniform` (size,) the place within each part, in
        [0, 1). Returns state, batch and scalars.
        """
        before = state.density.params
        loss = jax.value_and_grad(self.density_loss, has_aux=True)
        (_, (offline_ratio, metrics)), gradients = loss(before, offline, online)
        density = state.density.descend(gradients, self.learning_rate)

        tree, size = state.current_tree(), len(uniform)
        mass = (jnp.arange(size) + uniform) * (tree.total / size)
        rows = tree.find(mass.astype(state.priorities.dtype))
        batch = experience.take(rows)

        weights = density_ratio(density.params if self.updated_numerator else before, batch)
        normalizer = jnp.mean(offline_ratio ** (1.0 / self.temperature)) + EPSILON
        priorities = jnp.clip(weights ** (1.0 / self.temperature) / normalizer, self.smallest, self.greatest)
        largest = jnp.maximum(state.largest, priorities.max()).astype(state.largest.dtype)
        metrics |= {"batch_density": weights.mean(), "priority": priorities.mean()}
        priorities = priorities.astype(state.priorities.dtype)
        state = BalancedState(density, tree, largest, rows, priorities)
        return state, batch.replace(density_ratio=weights), metrics

    def density_loss(
        self, density: Params, offline: Transitions, online: Transitions
    ) -> tuple[Array, tuple[Array, Metrics]]:
        """Return mean [-log 2/(w_offline + 1) - log 2 w_online/(w_online + 1)]: the Jensen-Shannon bound (eq. 3).

        With it come w_offline, (batch,), and scalars.
        """
        off, on = density_ratio(density, offline), density_ratio(density, online)
        loss = jnp.mean(-jnp.log(2.0 / (off + 1.0) + EPSILON) - jnp.log(2.0 * on / (on + 1.0) + EPSILON))
        metrics = {"density_loss": loss, "offline_density": off.mean(), "online_density": on.mean()}
        return loss, (off, metrics)


def density_ratio(density: Params, batch: Transitions) -> Array:
    """Return w(s, a) = relu(net(s, a)), (batch,)."""
    return jax.nn.relu(mlp(density, jnp.concatenate([batch.observations, batch.actions], axis=-1))[..., 0])
