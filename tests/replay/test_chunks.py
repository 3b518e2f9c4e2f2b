import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.agents import QC, SAC
from moorl_jax.agents.subroutine import Subroutine
from moorl_jax.engine.recipes import needs_chunks, seen_by
from moorl_jax.errors import MoorlError
from moorl_jax.phases import Offline, Online
from moorl_jax.replay import Balanced, Buffer, Chunks, Experience, FromBuffer, Union
from moorl_jax.types import Transitions


def numbered(count, ends=(), terminals=()):
    numbers = jnp.arange(count, dtype=jnp.float32)
    flags = [jnp.zeros(count).at[jnp.array(rows, int)].set(1.0) for rows in (terminals, ends)]
    column = numbers[:, None]
    return Transitions(column, -column, 10.0**-numbers, column + 1, flags[0], ends=flags[1])


def test_a_chunk_is_valid_up_to_its_episodes_end():
    chunks = Chunks(numbered(8, ends=[3, 7], terminals=[3]), 3, 0.5).take(jnp.array([0, 1, 2, 3, 7]))
    np.testing.assert_array_equal(chunks.valid, [[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(-chunks.actions[:, :, 0], [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [7, 0, 1]])
    np.testing.assert_array_equal(chunks.observations[:, 0], [0, 1, 2, 3, 7])
    np.testing.assert_array_equal(chunks.next_observations[:3, 0], [3, 4, 5])
    np.testing.assert_array_equal(chunks.terminals[:2], [0, 1])
    np.testing.assert_allclose(chunks.rewards[:2], [1.0525, 0.10525], rtol=1e-6)


def test_an_episode_that_goes_on_after_its_goal_stays_valid():
    """OGBench's: the success is terminal, so that nothing bootstraps past it, but it cuts no chunk."""
    chunks = Chunks(numbered(6, ends=[5], terminals=[1]), 3, 1.0).take(jnp.array([0, 1, 2]))
    np.testing.assert_array_equal(chunks.valid, np.ones((3, 3)))
    np.testing.assert_array_equal(chunks.terminals, [1, 1, 0])


@pytest.mark.parametrize(("stored", "begin"), [(2, []), (3, [0]), (5, [0, 1, 2]), (7, [2, 3, 4])])
def test_a_chunk_of_the_buffer_is_drawn_once_it_is_whole(stored, begin):
    """A ring of 5: after 7 transitions those from 2 to 6 are left."""
    rows = numbered(8)
    buffer = Buffer.create(5, rows)
    for number in range(stored):
        buffer = buffer.store(jax.tree.map(lambda leaf, n=number: leaf[n], rows))
    seen = seen_by(QC(horizon=3), Experience(rows, buffer)).online
    assert int(seen.size) == len(begin)
    if begin:
        batch = seen.rows.take(seen.slots(jax.random.key(0), 64))
        assert set(np.asarray(batch.observations[:, 0])) == set(begin)
        np.testing.assert_array_equal(batch.actions[:, :, 0], -(batch.observations + jnp.arange(3)))


def test_a_batch_of_dataset_and_buffer_holds_chunks_of_both():
    rows = numbered(8, ends=[7])
    buffer = Buffer.create(8, rows)
    for number in range(6):
        buffer = buffer.store(jax.tree.map(lambda leaf, n=number: leaf[n] + 100, rows))
    experience = seen_by(QC(horizon=3), Experience(rows, buffer))
    batch = Union().sample(None, jax.random.key(0), experience, 256)[1]
    assert batch.actions.shape == (256, 3, 1)
    assert set(np.asarray(batch.observations[:, 0])) == {*range(8), *range(100, 104)}


def test_agents_that_do_not_ask_see_transitions():
    rows = numbered(8)
    seen = seen_by(SAC(), Experience(rows, Buffer.create(4, rows)))
    assert seen.offline.ends is seen.online.rows.ends is None


@pytest.mark.parametrize(
    ("phases", "says"),
    [
        ((Offline(QC(), 4), Online(QC(), 4, Balanced())), "learns from chunks, which Balanced does not draw"),
        (Subroutine(offline=QC(), learner=SAC(), first_steps=10).phases(10, 80), "chunks, which History does not draw"),
    ],
)
def test_a_recipe_that_cannot_have_chunks_is_refused(phases, says):
    with pytest.raises(MoorlError, match=says):
        needs_chunks(phases)


def test_a_recipe_without_agents_that_ask_needs_none():
    assert not needs_chunks((Offline(SAC(), 4), Online(SAC(), 4, FromBuffer())))
    assert needs_chunks((Offline(SAC(), 4), Online(QC(), 4, FromBuffer())))
