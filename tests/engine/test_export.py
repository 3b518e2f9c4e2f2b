import importlib

import jax
import numpy as np
import pytest

from moorl_jax.agents import AWAC, BC, CQL, EDAC, FQL, IQL, MOORL, OPT, PEX, SAC, TD3BC, ReBRAC
from moorl_jax.agents.subroutine.parts import Candidate, Recommended
from moorl_jax.data import Normalizer
from moorl_jax.engine.export import FORMATS, export
from moorl_jax.engine.policy import Policy
from moorl_jax.errors import MoorlError, NotAvailableError
from moorl_jax.tasks import Task
from moorl_jax.types import Transitions

NEEDS = {".npz": "numpy", ".safetensors": "safetensors", ".onnx": "onnx"}


class Pinned(BC):
    """Its policy is another than its actor's network."""

    def greedy(self, params, observations):
        return 0.5 * super().greedy(params, observations)


class Deaf(BC):
    """Its parameters are no network's."""

    def policy(self, state):
        return {"actor": state.actor.params}

    def greedy(self, params, observations):
        return super().greedy(params["actor"], observations)


def policy_of(agent, hopper, seeds=(3, 1)):
    """Policies of an untrained agent, whose biases are drawn at random, too."""
    shapes = ((1, 11), (1, 3), (1,), (1, 11), (1,))
    example = Transitions(*(np.zeros(shape, np.float32) for shape in shapes))
    rng = np.random.default_rng(0)
    states = jax.vmap(lambda key: agent.init(key, example))(jax.random.split(jax.random.key(0), len(seeds)))
    params = jax.tree.map(
        lambda leaf: np.asarray(leaf + 0.1 * rng.standard_normal(leaf.shape), np.float32),
        jax.vmap(agent.policy)(states),
    )
    normalizer = Normalizer(np.full(11, 0.5, np.float32), np.linspace(0.5, 2.0, 11, dtype=np.float32))
    return Policy(agent, hopper, normalizer, params, tuple(seeds))


AGENTS = [
    TD3BC(hidden=(8, 8), max_action=0.5),
    TD3BC(hidden=(8, 8), layer_norm=True),
    ReBRAC(hidden=(8, 8), activation="gelu"),
    IQL(hidden=(8,)),
    IQL(hidden=(8,), squash=False, activation="gelu"),
    FQL(hidden=(8, 8), actor_layer_norm=True),
    AWAC(hidden=(8,)),
    SAC(hidden=(8,)),
    CQL(hidden=(8,)),
    EDAC(hidden=(8,), members=2),
    MOORL(hidden=(8,)),
    OPT(backbone=TD3BC(hidden=(8,))),
]


@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: type(agent).__name__)
def test_every_format_acts_as_the_policy_does(agent, hopper, tmp_path, rng):
    policy = policy_of(agent, hopper)
    observations = rng.standard_normal((7, 11)).astype(np.float32)
    for suffix, (_, read) in FORMATS.items():
        if importlib.util.find_spec(NEEDS[suffix]):
            path = tmp_path / f"policy{suffix}"
            assert export(policy, path, seed=1) <= 1e-5
            np.testing.assert_allclose(read(path)(observations), policy(observations, seed=1), atol=1e-5)


def test_actions_are_in_the_environments_own_range(tmp_path, rng):
    task = Task.of(observation_size=11, action_size=3, action_range=((-2.0, 0.0, 1.0), (2.0, 10.0, 3.0)))
    policy = policy_of(IQL(hidden=(8,)), task)
    observations = 10 * rng.standard_normal((50, 11)).astype(np.float32)
    actions = policy(observations)
    np.testing.assert_allclose(
        actions, np.array([0, 5, 2]) + np.array([2, 5, 1]) * policy.ahead(observations)[:, 0], 1e-6
    )
    assert export(policy, tmp_path / "policy.npz") <= 1e-4


def test_onnxruntime_runs_the_graph(hopper, tmp_path, rng):
    runtime = pytest.importorskip(
        "onnxruntime", reason="not installed: it runs exported graphs in a test alone, the extra 'dev'"
    )
    pytest.importorskip("onnx", reason="not installed: the extra 'onnx'")
    observations = rng.standard_normal((5, 11)).astype(np.float32)
    for agent in AGENTS[1:7]:
        policy = policy_of(agent, hopper)
        export(policy, tmp_path / "policy.onnx")
        session = runtime.InferenceSession(tmp_path / "policy.onnx", providers=["CPUExecutionProvider"])
        (actions,) = session.run(["action"], {"observation": observations})
        np.testing.assert_allclose(actions, policy(observations), atol=1e-5)


def test_the_recommended_candidate_is_exported(hopper, tmp_path):
    parts = policy_of(BC(hidden=(8,)), hopper)
    candidates = (Candidate(agent=BC(hidden=(8,)), name="a"), Candidate(agent=TD3BC(hidden=(8,)), name="b"))
    params = {"policies": (parts.params, parts.params), "choice": np.array([0, 1])}
    policy = Policy(Recommended(candidates=candidates), hopper, parts.normalizer, params, parts.seeds)
    export(policy, tmp_path / "policy.npz", seed=1)


@pytest.mark.parametrize(
    ("agent", "name", "seed", "fault"),
    [
        (Pinned(hidden=(8,)), "p.npz", None, "would act otherwise than Pinned, by up to 0.* must return what `greedy`"),
        (Deaf(hidden=(8,)), "p.npz", None, "the policy of Deaf is not one MLP: it cannot be exported"),
        (PEX(hidden=(8,)), "p.npz", None, "PEX's policy is two networks"),
        (BC(hidden=(8,)), "p.pt", None, "exports end in .npz, .safetensors, .onnx"),
        (BC(hidden=(8,)), "p.npz", 2, "there is no seed 2; there are 3, 1"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(agent, name, seed, fault, hopper, tmp_path):
    with pytest.raises(MoorlError, match=fault) as caught:
        export(policy_of(agent, hopper), tmp_path / name, seed)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(hopper, tmp_path, monkeypatch):
    def missing(module):
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr("moorl_jax.engine.export.importlib.import_module", missing)
    with pytest.raises(NotAvailableError, match=r"needs onnx: pip install 'moorl_jax\[onnx\]'"):
        export(policy_of(BC(hidden=(8,)), hopper), tmp_path / "p.onnx")
