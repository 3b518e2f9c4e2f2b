"""Data as D4RL, TD3+BC, IQL, Cal-QL and V-D4RL prepare it, against arrays recorded from their code."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from moorl_jax.data import Dataset, Preparation, Rows, image_files
from moorl_jax.data.frames import Frames
from moorl_jax.data.returns import returns_to_go
from moorl_jax.data.rows import to_transitions
from moorl_jax.footage import STACK
from moorl_jax.tasks import find
from moorl_jax.types import NStep, ReturnsToGo
from tests.recordings import Recording, recordings

COLUMNS = ("observations", "actions", "rewards", "terminals", "timeouts")
NOT_USED = {
    "plan_length_terminal_timeout": "the flags are recorded",
    "row_counts": "the arrays have their sizes",
    "vd4rl_raw_image": "the arrays hold them",
    "vd4rl_buffer_size": "of the reference's ring; ours holds what there is",
}


def dataset(z, kind="dense"):
    """The raw rows as a dataset."""
    task = dataclasses.replace(find("hopper-medium-v2"), horizon=z.hparams["max_episode_steps"])
    return Dataset(task, "d4rl", Rows(**{name: z.arrays[f"raw/{kind}/{name}"] for name in COLUMNS}), "")


def prepared(z, kind="dense", returns=None, **preparation):
    return Preparation(**preparation).apply(dataset(z, kind), returns)


def assert_equal(ours, z, names, **tolerance):
    """Compare fields of ours with arrays of the recording."""
    for field, name in names.items():
        theirs = z.arrays[name]
        np.testing.assert_allclose(np.reshape(getattr(ours, field), theirs.shape), theirs, err_msg=name, **tolerance)


def fields(folder, *names):
    return {name: f"{folder}/{name}" for name in names}


PAIRED = ("observations", "actions", "next_observations", "rewards", "terminals")


def d4rl(z):
    """Transitions are those of D4RL's qlearning_dataset, with time-outs and where a file has none."""
    rows, horizon = dataset(z).rows, z.hparams["max_episode_steps"]
    without = dataclasses.replace(rows, timeouts=None)
    for given, folder in ((rows, "d4rl/qlearning"), (without, "d4rl/qlearning_no_timeouts_key")):
        assert_equal(to_transitions(given, horizon), z, fields(folder, *PAIRED), rtol=0)


def td3_bc(z):
    """Observations are normalized as TD3+BC does, whose mean is a sum in float32 of numbers around 1."""
    done = prepared(z, normalize_observations=True)
    assert_equal(done.normalizer, z, fields("td3bc", "mean", "std"), rtol=1e-6, atol=1e-7)
    assert_equal(done.transitions, z, fields("td3bc", "observations", "next_observations"), rtol=1e-5, atol=1e-6)
    assert_equal(done.transitions, z, fields("td3bc", "rewards"), rtol=0)


def iql(z):
    """Rewards are scaled, or lowered, and actions clipped as IQL does."""
    data = prepared(z, normalize_returns=True, action_limit=z.hparams["clip_action_iql"]).transitions
    assert_equal(data, z, {"rewards": "iql/normalised_rewards"}, rtol=1e-6)
    assert_equal(data, z, fields("iql/dataset", "observations", "actions", "next_observations"), rtol=0)
    np.testing.assert_array_equal(1.0 - data.terminals, z.arrays["iql/dataset/masks"])
    assert_equal(prepared(z, "sparse", reward_shift=-1.0).transitions, z, {"rewards": "iql/antmaze_rewards"}, rtol=1e-6)


def cal_ql(z):
    """Returns to go are Cal-QL's, of dense rewards as they are and of sparse ones scaled and shifted."""
    h = z.hparams
    mapped = {"reward_scale": h["reward_scale"], "reward_shift": h["reward_bias"]}
    for kind, mapping, failure in (("dense", {}, None), ("sparse", mapped, h["reward_bias"])):
        rule = ReturnsToGo(h["gamma"], failure)
        data = prepared(z, kind, rule, action_limit=h["clip_action_calql"], **mapping).transitions
        assert_equal(data, z, fields(f"calql/{kind}", *PAIRED, "mc_returns"), rtol=1e-6, atol=1e-6)


def cal_ql_of_single_episodes(z):
    """Returns to go are those of Cal-QL's own function; of the sparse episodes the least reward is failure's."""
    lists = {name.split("/")[2] for name in z.arrays.files if name.startswith("calql/list/")}
    for name in sorted(lists):
        rewards, terminals, theirs = (
            z.arrays[f"calql/list/{name}/{part}"] for part in ("rewards", "terminals", "mc_returns")
        )
        failure = None if name.startswith("dense") else rewards.min(initial=np.inf)
        ours = returns_to_go(rewards, terminals, ReturnsToGo(z.hparams["gamma"], failure))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, err_msg=name)


def images(z):
    """Stacks, actions, n-step rewards and discounts are those of V-D4RL's buffer, never across an episode's edge."""
    assert z.hparams["frame_stack"] == STACK
    raw = {name: z.arrays[f"vd4rl/raw/{name}"] for name in ("observation", "action", "reward", "discount", "step_type")}
    rows = Frames(
        frames=raw["observation"].transpose(0, 2, 3, 1),
        actions=raw["action"],
        rewards=raw["reward"],
        discounts=raw["discount"],
        firsts=raw["step_type"] == image_files.FIRST,
    )
    spans = {int(match[1]) for name in z.arrays.files if (match := re.match(r"vd4rl/nstep(\d+)/", name))}
    assert spans
    for steps in sorted(spans):
        folder, gamma = f"vd4rl/nstep{steps}", z.hparams["gamma"]
        footage = jax.device_put(rows.footage(NStep(steps, gamma)))
        ours = footage.take(jnp.arange(len(footage)))
        for name in ("observations", "next_observations"):
            np.testing.assert_array_equal(getattr(ours, name).transpose(0, 3, 1, 2), z.arrays[f"{folder}/{name}"])
        assert_equal(ours, z, fields(folder, "actions"), rtol=0)
        assert_equal(ours, z, fields(folder, "rewards"), rtol=1e-6, atol=1e-7)
        discounts = gamma**steps * (1.0 - ours.terminals)
        np.testing.assert_allclose(discounts, z.arrays[f"{folder}/discounts"][:, 0], rtol=1e-6)


CONVENTIONS = (d4rl, td3_bc, iql, cal_ql, cal_ql_of_single_episodes, images)


@pytest.mark.parametrize("path", recordings("d4rl_conventions"))
class TestConventions:
    @pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda convention: convention.__name__)
    def test_of(self, convention, path):
        convention(Recording(path, jnp.float32))

    def test_every_hyper_parameter_is_used_or_named(self, path):
        z = Recording(path, jnp.float32)
        for convention in CONVENTIONS:
            convention(z)
        assert z.hparams.overlooked(NOT_USED) == []
