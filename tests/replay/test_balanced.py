"""Balanced replay against the numbers of Off2OnRL, and against a plain NumPy rendering of its rule."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from moorl_jax.nets import Learner
from moorl_jax.replay import Balanced, Buffer, Experience
from moorl_jax.replay.balanced import BRANCHES, BalancedState, SumTree
from moorl_jax.types import Transitions
from tests.recordings import Recording, recordings


class TestSumTree:
    @pytest.mark.parametrize("count", [1, 5, 13, 128, 300, 20_000])
    def test_every_node_is_the_sum_of_its_children(self, count, rng):
        tree = SumTree.create(jnp.asarray(rng.random(count), jnp.float32), count + 3)
        tree = tree.set(jnp.array([0, count - 1]), jnp.array([2.5, 2.5], jnp.float32))
        assert len(tree.levels) == math.ceil(math.log(count + 3, BRANCHES))
        for above, below in itertools.pairwise(tree.levels):
            sums = np.zeros(above.size, np.float32)
            sums[: len(below)] = below.sum(axis=1)
            np.testing.assert_allclose(np.ravel(above), sums, rtol=1e-6)
        assert tree.total == pytest.approx(float(tree.leaves.sum()), rel=1e-6)

    def test_a_leaf_is_found_where_the_running_sum_reaches_the_mass(self, rng):
        priorities = rng.integers(1, 9, 500).astype(np.float32)
        priorities[[3, 17, 128, 499]] = 0.0
        tree = SumTree.create(jnp.asarray(priorities), 500)
        mass = np.linspace(0.5, priorities.sum() - 0.25, 2000).astype(np.float32)
        np.testing.assert_array_equal(tree.find(jnp.asarray(mass)), np.searchsorted(np.cumsum(priorities), mass))

    def test_a_mass_that_rounding_carried_too_far_finds_the_last_row_there_is(self):
        tree = SumTree.create(jnp.ones(300), 20_000)
        assert tree.find(jnp.array([300.0, 300.5])).tolist() == [299, 299]


def hidden(z):
    """Widths of the recorded density network's hidden layers."""
    net = z.net("density")
    return tuple(len(net[f"layer{i}"]["bias"]) for i in range(len(net) - 1))


def assert_gradients(before, after, z, k):
    """Adam's first moment is 0.9 m + 0.1 g: the density network's gradient of draw k can be read off it."""
    gradient = jax.tree.map(lambda new, old: (new - 0.9 * old) / 0.1, after.moments.mu, before.moments.mu)
    for position, name in enumerate(z.hparams["grad_norm_names"]):
        if name.startswith("density/"):
            _, layer, leaf = name.split("/")
            norm = float(jnp.linalg.norm(gradient[layer][leaf]))
            assert norm == pytest.approx(z.arrays["grad_norms"][k, position], rel=1e-10, abs=1e-13), name


OF_THE_AGENT = dict.fromkeys(
    (
        "ensemble",
        "discount",
        "tau",
        "policy_lr",
        "qf_lr",
        "alpha_lr",
        "init_alpha",
        "reward_scale",
        "target_entropy",
        "log_std_clip",
        "mixture",
    ),
    "of Off2OnRL's agent, which is not among ours",
)
NOT_USED = OF_THE_AGENT | {
    "density_batch": "a shape",
    "density_hidden": "a shape",
    "data": "it says what the arrays hold",
    "tree": "likewise",
    "tree_size": "of the reference's binary tree",
    "f32_run_sampled_same_indices": "of the reference in float32",
}


@pytest.mark.parametrize("path", recordings("balanced_replay"))
def test_parity_with_off2onrl(path):
    """Five consecutive draws: density losses and gradients, the rows drawn, their priorities, the tree."""
    with jax.enable_x64(True):
        recording = Recording(path, jnp.float64)
        z, h = recording.arrays, recording.hparams
        wide = {
            name: jnp.asarray(z[f"data/{name}"], float)
            for name in Transitions.__dataclass_fields__
            if f"data/{name}" in z
        }
        offline, online = h["offline_size"], h["online_size"]
        data = jax.tree.map(lambda leaf: leaf[:offline], Transitions(**wide))
        rows = jax.tree.map(lambda leaf: leaf[offline:], Transitions(**wide))
        experience = Experience(data, Buffer(rows, jnp.int32(online), jnp.int32(online)))
        rule = Balanced(
            hidden=hidden(recording),
            learning_rate=h["weight_net_lr"],
            temperature=h["temperature"],
            online_fraction=h["init_online_fraction"],
        )
        size = len(z["batch_0/indices"])
        state = rule.init(jax.random.key(0), experience, size)
        np.testing.assert_allclose(state.largest, z["tree/max_after_init"], rtol=1e-6)
        leaves = jnp.asarray(z["tree/leaves_before_update_0"], jnp.float32)
        np.testing.assert_allclose(state.tree.leaves[: offline + online], leaves, rtol=1e-6)
        # The reference's tree is float32 even where all else is float64.
        tree = SumTree.create(leaves, offline + online)
        state = BalancedState(
            Learner.create(recording.net("density")),
            tree,
            jnp.float32(z["tree/max_after_init"]),
            state.rows,
            jnp.full(size, leaves[0]),
        )
        names = {
            "weight_loss": "density_loss",
            "offline_weights_mean": "offline_density",
            "online_weights_mean": "online_density",
            "rl_samples_weights_mean": "batch_density",
        }
        for k in range(5):
            rows_of = {name: z[f"batch_{k}/{name}_indices"].astype(int) for name in ("offline", "online")}
            batches = [taken(data, rows_of["offline"]), taken(rows, rows_of["online"] - offline)]
            before = state.density
            state, batch, metrics = rule.draw(
                state, experience, *batches, jnp.asarray(z[f"draws_{k}/uniform_in_segment"])
            )
            np.testing.assert_array_equal(state.rows, z[f"batch_{k}/indices"])
            np.testing.assert_allclose(batch.observations, z[f"batch_{k}/observations"])
            np.testing.assert_allclose(state.priorities, z[f"out_{k}/aux/new_priorities"], rtol=1e-6)
            np.testing.assert_allclose(
                state.current_tree().leaves[: offline + online], z[f"out_{k}/aux/tree_leaves_after"], rtol=1e-6
            )
            np.testing.assert_allclose(state.current_tree().total, z[f"out_{k}/aux/tree_total_after"], rtol=1e-6)
            np.testing.assert_allclose(state.largest, z[f"out_{k}/aux/tree_max_after"], rtol=1e-6)
            for theirs, ours in names.items():
                assert float(metrics[ours]) == pytest.approx(float(z[f"out_{k}/losses/{theirs}"]), rel=1e-10), theirs
            assert_gradients(before, state.density, recording, k)
            if k in (0, 4):
                after = recording.net("density", f"out_{k}/params")
                jax.tree.map(
                    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10, rtol=0), state.density.params, after
                )
    assert h.overlooked(NOT_USED) == []


@pytest.mark.parametrize("path", recordings("opt_finetune"))
def test_parity_with_opt(path):
    """Five consecutive draws as OPT makes them: priorities by the new network, over the old one's mean.

    The reference keeps all rows in one ring, in which online ones may have overwritten the dataset's first: its slots
    count here, of which the first stand for the dataset. What else was recorded tests/agents/test_parity.py reads.
    """
    with jax.enable_x64(True):
        recording = Recording(path, jnp.float64)
        z, h = recording.arrays, recording.hparams
        leaves = recording.array("tree/leaves_before_update_0")
        count, slots, size = h["n_offline"], len(leaves), len(z["batch_0/indices"])
        assert slots == min(count + h["n_online"], h["priority_capacity"])
        rule = Balanced(
            hidden=hidden(recording),
            updated_numerator=True,
            learning_rate=h["density_lr"],
            temperature=h["priority_temperature"],
            online_fraction=None,
        )
        state = BalancedState(
            density=Learner.create(recording.net("density")),
            tree=SumTree.create(leaves, slots),
            largest=jnp.asarray(z["tree/max_priority_before_update_0"], float),
            rows=jnp.zeros(size, jnp.int32),
            priorities=jnp.full(size, leaves[0]),
        )
        for k in range(5):
            drawn = z[f"batch_{k}/indices"].astype(int)
            batch = recording.batch(k)
            # Of the buffer's rows only those that are drawn were recorded.
            rows = jax.tree.map(
                lambda leaf, drawn=drawn: jnp.zeros((slots, *leaf.shape[1:])).at[drawn].set(leaf), batch
            )
            data, ring = (
                jax.tree.map(lambda leaf, part=part: leaf[part], rows) for part in (np.s_[:count], np.s_[count:])
            )
            experience = Experience(data, Buffer(ring, jnp.int32(slots - count), jnp.int32(slots - count)))
            kinds = [recording.batch(k, f"density_{kind}_") for kind in ("offline", "online")]
            before = state.density
            uniform = jnp.asarray(z[f"draws_{k}/uniform_in_segment"], float)
            state, ours, metrics = rule.draw(state, experience, *kinds, uniform)
            np.testing.assert_array_equal(state.rows, drawn)
            np.testing.assert_allclose(ours.observations, batch.observations)
            for name in ("density_loss", "offline_density", "online_density"):
                assert float(metrics[name]) == pytest.approx(float(z[f"out_{k}/losses/{name}"]), rel=1e-10), name
            assert float(metrics["priority"]) == pytest.approx(float(z[f"out_{k}/losses/priority_mean"]), rel=1e-10)
            np.testing.assert_allclose(state.priorities, z[f"out_{k}/aux/new_priorities"], rtol=1e-10)
            np.testing.assert_allclose(
                state.current_tree().leaves[:slots], z[f"out_{k}/aux/tree_leaves_after"], rtol=1e-10
            )
            np.testing.assert_allclose(state.largest, z[f"out_{k}/aux/max_priority_after"], rtol=1e-10)
            assert_gradients(before, state.density, recording, k)


def taken(source, rows):
    return jax.tree.map(lambda leaf: leaf[rows], source)


@pytest.mark.parametrize(
    "updated", [pytest.param(False, id="Off2OnRL", marks=pytest.mark.slow), pytest.param(True, id="OPT")]
)
def test_against_plain_numpy(updated, rng):
    """Rows and priorities of several draws, with a row stored in between, by loops and a running sum."""
    count, capacity, size, dense = 40, 8, 16, 12
    data = transitions(rng, count)
    buffer = Buffer.create(capacity, data)
    rule = Balanced(hidden=(8,), temperature=2.0, updated_numerator=updated, density_batch=dense, online_fraction=None)
    state = rule.init(jax.random.key(0), Experience(data, buffer), size)
    priorities, largest = np.concatenate([np.ones(count), np.zeros(capacity)]), 1.0
    for draw in range(12):
        new = transitions(rng, 1)
        buffer = buffer.store(jax.tree.map(lambda leaf: leaf[0], new))
        experience = Experience(data, buffer)
        state = rule.stored(state, experience)
        priorities[count + draw % capacity] = largest

        offline, online, uniform = transitions(rng, dense), transitions(rng, dense), rng.random(size)
        before = weights_of(state.density.params)
        state, batch, metrics = rule.draw(state, experience, offline, online, jnp.asarray(uniform, jnp.float32))
        after = weights_of(state.density.params)

        mass = (np.arange(size) + uniform) * priorities.sum() / size
        rows = [next(i for i, total in enumerate(np.cumsum(priorities)) if total >= m - 1e-9) for m in mass]
        assert (np.asarray(state.rows) == rows).mean() > 0.9, "float32 may part from float64 at an edge, not more"
        rows = np.asarray(state.rows)
        ratio = (after if updated else before)(batch)
        normalizer = np.mean(before(offline) ** 0.5) + 1e-10
        expected = np.clip(ratio**0.5 / normalizer, 1e-3, 1e3)
        np.testing.assert_allclose(state.priorities, expected, rtol=1e-4)
        priorities[rows] = expected
        largest = max(largest, expected.max())
        assert float(state.largest) == pytest.approx(largest, rel=1e-5)
        np.testing.assert_allclose(state.current_tree().leaves[: count + capacity], priorities, rtol=1e-4)
        off, on = before(offline), before(online)
        loss = np.mean(-np.log(2 / (off + 1) + 1e-10) - np.log(2 * on / (on + 1) + 1e-10))
        assert float(metrics["density_loss"]) == pytest.approx(loss, rel=1e-4)


def transitions(rng, count):
    shapes = ((count, 3), (count, 2), count, (count, 3))
    return Transitions(*(jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes), jnp.zeros(count))


def weights_of(params):
    layers = jax.tree.map(np.asarray, params)

    def weights(batch):
        x = np.concatenate([batch.observations, batch.actions], axis=1)
        x = np.maximum(x @ layers["layer0"]["kernel"] + layers["layer0"]["bias"], 0)
        return np.maximum(x @ layers["layer1"]["kernel"] + layers["layer1"]["bias"], 0)[:, 0]

    return weights


@pytest.mark.slow
def test_rows_are_drawn_in_proportion_to_their_priorities(rng):
    count, size, rounds = 20, 32, 600
    data = transitions(rng, count)
    buffer = Buffer.create(4, data)
    rule = Balanced(hidden=(8,), learning_rate=0.0)
    state = rule.init(jax.random.key(0), Experience(data, buffer), size)
    priorities = np.append(rng.uniform(0.5, 3.0, count), np.zeros(4)).astype(np.float32)
    state = state.replace(
        tree=SumTree.create(jnp.asarray(priorities), count + 4), priorities=jnp.full(size, priorities[0])
    )
    keys = jax.random.split(jax.random.key(1), rounds)
    rows = jax.vmap(lambda key: rule.sample(state, key, Experience(data, buffer), size)[0].rows)(keys)
    counts = np.bincount(np.asarray(rows).ravel(), minlength=count)[:count]
    expected = priorities[:count] / priorities.sum() * counts.sum()
    assert counts.sum() == rounds * size
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-4
