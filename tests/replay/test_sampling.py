"""Each rule's proportions and distribution. Rewards number transitions, the dataset's from 0, online ones from 1000."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from moorl_jax.errors import MoorlError
from moorl_jax.replay import Both, Buffer, Experience, FromBuffer, FromDataset, Mixed, OneSource, Union
from moorl_jax.types import Transitions

DATA, ONLINE, BATCH, DRAWS = 30, 10, 64, 400


def numbered(first, count):
    numbers = jnp.arange(first, first + count, dtype=jnp.float32)
    column = numbers[:, None]
    return Transitions(column, column, numbers, column, 0 * numbers)


def buffered(count, capacity=16):
    buffer = Buffer.create(capacity, numbered(0, 1))
    for number in range(count):
        buffer = buffer.store(jax.tree.map(lambda leaf: leaf[0], numbered(1000 + number, 1)))
    return buffer


@pytest.fixture
def experience():
    return Experience(numbered(0, DATA), buffered(ONLINE))


def draws(rule, experience, size=BATCH):
    """The numbers drawn, (draws, size)."""
    keys = jax.random.split(jax.random.key(7), DRAWS)
    return np.asarray(jax.vmap(lambda key: rule.sample(None, key, experience, size)[1].rewards)(keys)).astype(int)


def assert_uniform(numbers, over):
    counts = np.array([(numbers == number).sum() for number in over])
    assert counts.sum() == numbers.size, "something else was drawn"
    assert stats.chisquare(counts).pvalue > 1e-4


def test_the_dataset_alone(experience):
    assert_uniform(draws(FromDataset(), experience), range(DATA))


def test_the_buffer_alone(experience):
    assert_uniform(draws(FromBuffer(), experience), range(1000, 1000 + ONLINE))


def test_the_union_is_uniform_over_both(experience):
    assert_uniform(draws(Union(), experience), [*range(DATA), *range(1000, 1000 + ONLINE)])


def test_the_union_with_a_buffer_that_wrapped(experience):
    experience = experience.replace(buffer=buffered(20))
    assert_uniform(draws(Union(), experience), [*range(DATA), *range(1004, 1020)])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.3, 0.5, 0.777, 1.0])
def test_a_mixed_batch_has_its_share_exactly(experience, share):
    numbers = draws(Mixed(share), experience)
    from_data = (numbers < 1000).sum(axis=1)
    assert set(from_data) <= {int(np.floor(share * BATCH)), int(np.ceil(share * BATCH))}
    assert from_data.mean() == pytest.approx(share * BATCH, abs=0.1)
    if share > 0:
        assert_uniform(numbers[numbers < 1000], range(DATA))
    if share < 1:
        assert_uniform(numbers[numbers >= 1000], range(1000, 1000 + ONLINE))


@pytest.mark.parametrize("rule", [Union(), Mixed(0.5), Mixed(0.0)])
def test_while_the_buffer_is_empty_all_comes_from_the_dataset(rule, experience):
    experience = experience.replace(buffer=buffered(0))
    assert draws(rule, experience).max() < 1000


def test_both_gives_two_full_batches(experience):
    _, (offline, online) = Both().sample(None, jax.random.key(0), experience, BATCH)
    assert offline.rewards.shape == online.rewards.shape == (BATCH,)
    assert offline.rewards.max() < 1000 <= online.rewards.min()


def test_all_fields_of_a_transition_stay_together(experience):
    _, batch = Mixed(0.4).sample(None, jax.random.key(0), experience, BATCH)
    for leaf in (batch.observations, batch.actions, batch.next_observations):
        np.testing.assert_array_equal(leaf[:, 0], batch.rewards)


def test_a_share_can_be_swept_by_vmap(experience):
    shares = jnp.array([0.25, 0.75])
    batches = jax.vmap(lambda share: Mixed(share).sample(None, jax.random.key(0), experience, BATCH)[1].rewards)(shares)
    np.testing.assert_array_equal((batches < 1000).sum(axis=1), [16, 48])


def test_what_is_missing_is_named():
    with pytest.raises(MoorlError, match="needs a dataset"):
        Union().sample(None, jax.random.key(0), Experience(None, buffered(1)), 4)
    with pytest.raises(MoorlError, match="needs a buffer"):
        FromBuffer().sample(None, jax.random.key(0), Experience(numbered(0, 3), None), 4)


class TestOneSource:
    def test_batches_have_one_source_for_as_many_draws_as_asked(self, experience):
        rule = OneSource(0.3, draws=3)
        state, sources, batches = rule.init(jax.random.key(0), experience, BATCH), [], []
        sample = jax.jit(lambda state, key: rule.sample(state, key, experience, BATCH))
        for number in range(3 * DRAWS):
            state, batch = sample(state, jax.random.fold_in(jax.random.key(1), number))
            rewards = np.asarray(batch.rewards).astype(int)
            online = rewards >= 1000
            assert online.all() or not online.any()
            sources.append(bool(online[0]))
            batches.append(rewards)
        epochs = np.array(sources).reshape(-1, 3)
        assert (epochs == epochs[:, :1]).all()
        assert stats.binomtest(int((~epochs[:, 0]).sum()), DRAWS, 0.3).pvalue > 1e-4
        online, offline = (np.concatenate([b for b, s in zip(batches, sources, strict=True) if s == w]) for w in (1, 0))
        assert_uniform(offline, range(DATA))
        assert_uniform(online, range(1000, 1000 + ONLINE))
        assert (batches[0] != batches[1]).any(), "the draws of an epoch are different batches"

    def test_an_epochs_batch_may_be_repeated(self, experience):
        rule = OneSource(0.5, draws=2, repeated=True)
        state, batches = rule.init(jax.random.key(0), experience, BATCH), []
        for number in range(6):
            state, batch = rule.sample(state, jax.random.fold_in(jax.random.key(1), number), experience, BATCH)
            batches.append(np.asarray(batch.rewards))
        for epoch in range(3):
            np.testing.assert_array_equal(batches[2 * epoch], batches[2 * epoch + 1])
        assert (batches[1] != batches[2]).any()

    def test_an_empty_buffer_is_never_the_source(self):
        experience = Experience(numbered(0, DATA), buffered(0))
        rule = OneSource(0.0)
        _, batch = rule.sample(rule.init(jax.random.key(0), experience, BATCH), jax.random.key(1), experience, BATCH)
        assert (batch.rewards < DATA).all()
