import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.data.frames import Frames
from moorl_jax.replay import Experience, FrameBuffer, Mixed, OneSource, Union
from moorl_jax.types import NStep, Transitions

LENGTHS = (5, 2, 4)  #: env steps of the episodes


def logged():
    """Episodes as a file holds them; each frame is filled with its row's number."""
    firsts = np.concatenate([np.arange(length + 1) == 0 for length in LENGTHS])
    count = len(firsts)
    rng = np.random.default_rng(0)
    return Frames(
        frames=np.tile(np.arange(1, count + 1, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 3)),
        actions=np.where(firsts[:, None], 0, rng.uniform(-1, 1, (count, 2))).astype(np.float32),
        rewards=np.where(firsts, 0, rng.normal(size=count)).astype(np.float32),
        discounts=np.where(np.append(firsts[1:], True) & (np.cumsum(firsts) == 2), 0, 1).astype(np.float32),
        firsts=firsts,
    )


def env_steps(rows):
    """The env steps that would log these frames: (transition, whether it begins an episode)."""
    begins = rows.begins()

    def stack(row):
        return np.concatenate([rows.frames[max(row - back, begins[row])] for back in (2, 1, 0)], axis=-1)

    for row in np.flatnonzero(~rows.firsts):
        fields = (stack(row - 1), rows.actions[row], rows.rewards[row], stack(row), 1 - rows.discounts[row])
        yield Transitions(*map(np.asarray, fields)), bool(rows.firsts[row - 1])


def filled(span, standing=0):
    """The buffer of all env steps, before each of which a seed stood still for some."""
    steps = list(env_steps(logged()))
    example = jax.tree.map(lambda leaf: leaf[None], steps[0][0])
    buffer = FrameBuffer.create_for(len(steps), len(LENGTHS), example, span)
    for transition, begins in steps:
        for _ in range(standing):
            lost = jax.tree.map(lambda leaf: np.full_like(leaf, 99), transition)
            buffer = buffer.store(lost, taken=jnp.asarray(False), begins=jnp.asarray(False))
        buffer = buffer.store(transition, begins=jnp.asarray(begins))
    return buffer


@pytest.mark.parametrize("standing", [0, 2])
@pytest.mark.parametrize("steps", [1, 3])
def test_what_is_stored_online_is_what_a_file_of_the_same_episodes_holds(steps, standing):
    """And env steps that were not taken are no part of it."""
    span = NStep(steps, 0.9)
    buffer, footage = filled(span, standing), jax.device_put(logged().footage(span))
    assert int(buffer.size) == len(footage) == sum(max(0, length + 1 - steps) for length in LENGTHS)
    for name in ("frames", "actions", "rewards", "terminals", "begins"):
        np.testing.assert_array_equal(getattr(buffer.rows, name), getattr(footage, name), err_msg=name)
    numbers = jnp.arange(len(footage))
    for ours, theirs in zip(*(jax.tree.leaves(each.take(numbers)) for each in (buffer.rows, footage)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert footage.take(numbers).terminals.sum() == (1 if steps == 1 else 0)  # the one that ends has two env steps


def test_frames_are_kept_once():
    assert filled(NStep(3, 0.9)).rows.frames.shape[0] == sum(LENGTHS) + len(LENGTHS)


@pytest.mark.parametrize("rule", [Union(), Mixed(0.5), OneSource(0.5)])
def test_rules_draw_from_footage_as_from_transitions(rule):
    span = NStep(3, 0.9)
    experience = Experience(jax.device_put(logged().footage(span)), filled(span))
    _, batch = rule.sample(rule.init(jax.random.key(0), experience, 8), jax.random.key(1), experience, 8)
    assert batch.observations.shape == batch.next_observations.shape == (8, 2, 2, 9)
    assert batch.observations.dtype == jnp.uint8
    stacks = np.asarray(batch.observations)[:, 0, 0, ::3].astype(int)
    assert (stacks > 0).all()
    assert (np.diff(stacks) >= 0).all()  # oldest first, none from another episode or a row not yet written
    assert (np.asarray(batch.next_observations)[:, 0, 0, -1] == stacks[:, -1] + 3).all()
