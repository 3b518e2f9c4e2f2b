import numpy as np
import pandas as pd
import pytest

from benchmarks import learners
from benchmarks.learners import EPOCH, RETURNS, STATE, learn, pick, rlkit_sac
from moorl_jax.agents import SAC
from moorl_jax.data.behaviour import read_actor
from moorl_jax.phases import Collect, Pause, Pretrain
from moorl_jax.replay import FromBuffer
from moorl_jax.tasks import find

SMALL = SAC(hidden=(8, 8), batch_size=8, random_steps=0)
EPOCHS = (Collect(SMALL, 20), *(Pretrain(SMALL, 20, FromBuffer()), Pause(), Collect(SMALL, 20)) * 3)


def kept(folder):
    policies = {path.name: dict(np.load(path)) for path in sorted(folder.glob("0*.npz"))}
    return policies, pd.read_csv(folder / RETURNS)


def go(folder, task="hopper", **options):
    said = []
    learn(EPOCHS, find(task), 0, folder, every=20, episodes=1, say=said.append, **options)
    return said


def test_policies_are_kept_on_the_way_and_measured(tmp_path):
    said = go(tmp_path)
    policies, returns = kept(tmp_path)
    assert list(policies) == [f"{steps:06d}.npz" for steps in (0, 20, 40, 60, 80)]
    assert list(returns["env_steps"]) == [0, 20, 40, 60, 80]
    assert said[-1].startswith("80 env steps: ")
    first, *_, last = policies.values()
    assert last["layer0.weight"].dtype == np.float16
    np.testing.assert_array_equal(first["layer0.weight"], policies["000020.npz"]["layer0.weight"])  # not trained yet
    assert np.any(first["layer0.weight"] != last["layer0.weight"])
    assert not (tmp_path / STATE).exists()


def test_a_learner_that_was_killed_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    go(tmp_path / "straight")
    play, left = learners.play, iter(range(3))

    def played(*args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return play(*args)

    with monkeypatch.context() as patch:
        patch.setattr(learners, "play", played)
        with pytest.raises(KeyboardInterrupt):
            go(tmp_path / "killed", save_every=40)
    said = go(tmp_path / "killed", save_every=40)
    assert [words.partition(" ")[0] for words in said] == ["60", "80"]
    (straight, curve), (resumed, other) = (kept(tmp_path / name) for name in ("straight", "killed"))
    pd.testing.assert_frame_equal(curve, other)
    for name, arrays in straight.items():
        for key, values in arrays.items():
            np.testing.assert_array_equal(values, resumed[name][key])


def test_rlkits_rhythm():
    phases = rlkit_sac(3_000)
    assert [type(phase) for phase in phases] == [Collect, Pretrain, Pause, Collect, Pretrain, Pause, Collect]
    assert {getattr(phase, "env_steps", None) or getattr(phase, "updates", EPOCH) for phase in phases} == {EPOCH}


def test_policies_are_picked_up_to_medium(tmp_path):
    folder, into = tmp_path / "learner", tmp_path / "package"
    go(folder)
    curve = pd.DataFrame({"env_steps": [0, 20, 40, 60, 80], "return": [1.0, 2.0, 30.0, 95.0, 120.0]})
    curve.to_csv(folder / RETURNS, index=False)
    into.mkdir()
    (into / "999999.npz").touch()
    table = pick(folder, into, find("hopper"), medium=100.0, before=2, episodes=1)
    assert sorted(path.name for path in into.iterdir()) == ["000000.npz", "000040.npz", "000060.npz", RETURNS]
    assert list(table["env_steps"]) == [0, 40, 60]
    assert (table["return"] > 3.0).all()  # measured anew: an untrained hopper falls after some ten steps of reward 1
    pd.testing.assert_frame_equal(pd.read_csv(into / RETURNS), table, rtol=1e-2)


def test_a_picked_ant_acts_on_d4rls_observations(tmp_path):
    """Their last 84 numbers are contact forces, which the learner did not see."""
    go(tmp_path / "learner", "ant")
    pick(tmp_path / "learner", tmp_path / "package", find("ant-medium-v2"), medium=np.inf, before=1, episodes=1)
    learned, picked = (
        read_actor(tmp_path / name / "000000.npz", "relu", squash=True) for name in ("learner", "package")
    )
    observation = np.concatenate([np.random.default_rng(0).normal(size=27), np.zeros(84)])
    np.testing.assert_array_equal(picked.distribution(observation), learned.distribution(observation[:27]))
