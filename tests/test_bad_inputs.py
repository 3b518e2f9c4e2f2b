"""What cannot be, by the command line and by Python: one line that says what to do, exit code 2, nothing written."""

import dataclasses
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import embed
from moorl_jax import cli, train
from moorl_jax.agents import AGENTS, BC, IQL, TD3BC
from moorl_jax.agents.overrides import override
from moorl_jax.config import Bounds, Count, require_bounds
from moorl_jax.data import Preparation, hdf5, plans, recipe, sources
from moorl_jax.engine.request import make_plan, which_seeds
from moorl_jax.errors import DatasetError, MoorlError
from moorl_jax.replay import Balanced, History, Mixed
from moorl_jax.tasks import find

runner = CliRunner()

FIELDS = [
    ("bc", "batch_size=0", "BC.batch_size must be a whole number at least 1 and at most 2,147,483,647, not 0"),
    ("bc", "batch_size=-5", "at least 1"),
    ("bc", "batch_size=10**3", "not a Python literal"),
    ("bc", "batch_size=1000000000000", "at most 2,147,483,647"),
    ("bc", "batch_size=2.0", "a whole number"),
    ("bc", "batch_size=True", "a whole number"),
    ("bc", "batch_size=None", "a whole number"),
    ("bc", "batch_size=(1,)", "a whole number"),
    ("bc", "hidden=(0,)", "a tuple, each of it a whole number at least 1"),
    ("bc", "hidden=(8, -8)", "each of it a whole number"),
    ("bc", "hidden=(8, 8.0)", "each of it a whole number"),
    ("bc", "hidden=('8',)", "each of it a whole number"),
    ("bc", "hidden=[8, 8]", "a tuple"),
    ("bc", "hidden=8", "a tuple"),
    ("bc", "hidden=(10000000000,)", "each of it a whole number"),
    ("bc", "learning_rate=-1", "BC.learning_rate must be a finite number at least 0.0, not -1"),
    ("bc", "learning_rate=1e999", "a finite number"),
    ("bc", "learning_rate=1e39", "a finite number"),
    ("bc", "learning_rate='x'", "a finite number"),
    ("bc", "learning_rate=True", "a finite number"),
    ("bc", "learning_rate=1j", "a finite number"),
    ("bc", "learning_rate=" + "9" * 5000, "not a Python literal"),
    ("bc", "learning_rate=" + "-" * 90_000 + "1", "not a Python literal"),
    ("bc", "learning_rate=" + "(" * 500 + ")" * 500, "not a Python literal"),
    ("bc", "learning_rate=__import__('os').abort()", "called with literals"),
    ("bc", "learning_rate=nan", "not a Python literal"),
    ("bc", "learning_rate", "NAME=VALUE"),
    ("bc", "=1", "unknown field of BC"),
    ("bc", "__class__=1", "unknown field of BC"),
    ("bc", "learning_rate.real=1", "has no fields"),
    ("td3_bc", "policy_freq=0", "TD3BC.policy_freq must be a whole number at least 1 and at most 1,000"),
    ("td3_bc", "policy_freq=-1", "at least 1"),
    ("td3_bc", "policy_freq=1000000", "at most 1,000"),
    ("td3_bc", "discount=5", "TD3BC.discount must be a finite number at least 0.0 and at most 1.0, not 5"),
    ("td3_bc", "discount=-0.1", "at least 0.0"),
    ("td3_bc", "tau=1.5", "at most 1.0"),
    ("td3_bc", "max_action=0", "above 0.0"),
    ("td3_bc", "utd=0", "at least 1"),
    ("td3_bc", "final_ranges=(1.0,)", "a tuple of 2"),
    ("td3_bc", "layer_norm=1", "True or False"),
    ("spot", "dropout=1.0", "at least 0.0 and below 1.0"),
    ("spot", "vae_updates=-1", "at least 0"),
    ("spot", "samples=0", "at least 1"),
    ("iql", "expectile=1.2", "at most 1.0"),
    ("iql", "temperature=-1", "at least 0.0"),
    ("iql", "actor_decay_updates=0", "above 0.0 or None"),
    ("pex", "epsilon=2", "at most 1.0"),
    ("cql", "actions_per_state=0", "at least 1"),
    ("cql", "blocks=0", "at least 1"),
    ("cql", "penalty_temperature=0", "above 0.0"),
    ("sac", "members=0", "at least 1"),
    ("sac", "utd=1000000000", "at most 1,000"),
    ("sac", "initial_temperature=0", "above 0.0"),
    ("sac", "random_steps=-1", "at least 0"),
    ("moorl", "acting='both'", "'meta' or 'adapted', not 'both'"),
    ("moorl", "interpolated=('actor', 'x')", "'target_critic'"),
    ("moorl", "meta_rate=0", "above 0.0"),
    ("opt", "pretraining='meat'", "OPT.pretraining must be 'meta' or 'online', not 'meat'"),
    ("opt", "kappa_rule='densty'", "'schedule' or 'density'"),
    ("opt", "replay=1", "of the kind Sampling"),
    ("opt", "replay=Mixed('x')", "Mixed.offline must be a finite number"),
    ("opt", "replay=Mixed(None)", "Mixed.offline must be"),
    ("opt", "replay=Mixed(2.0)", "Mixed.offline must be"),
    ("opt", "replay=Mixed(1, 2, 3)", "positional arguments"),
    ("opt", "replay=Mixed(share=1)", "unexpected keyword"),
    ("opt", "replay=Mixed(**{})", "keywords must be strings"),
    ("opt", "replay=Mixd(0.5)", "one of"),
    ("opt", "replay=Balanced(hidden=8)", "Balanced.hidden must be a tuple"),
    ("opt", "replay=Balanced(temperature=0)", "above 0.0"),
    ("opt", "replay=OneSource(draws=0)", "OneSource.draws must be"),
    ("opt", "replay=History(dataset='worst')", "'all' or 'last' or 'best'"),
    ("opt", "backbone=BC()", "OPT.backbone must be of the kind Backbone"),
    ("opt", "backbone.discount=5", "TD3BC.discount must be"),
    ("opt", "backbone=TD3BC(tau=-1)", "TD3BC.tau must be"),
    ("opt_iql", "backbone=TD3BC()", "of the kind IQL"),
    ("drq", "n_step=0", "at least 1"),
    ("drq", "pad=-1", "at least 0"),
    ("drq", "noise_updates=0", "above 0.0"),
    ("pixel_bc", "channels=(0,)", "at least 1"),
    ("recommend_iql", "pauses=(1.5,)", "above 0.0 and at most 1.0"),
    ("recommend_iql", "pauses=0.5", "a tuple"),
    ("recommend_iql", "datasets=('worst',)", "'fresh'"),
    ("recommend_iql", "validated=('both',)", "'dataset' or 'policy'"),
    ("recommend_iql", "validation='none'", "'online' or 'offline'"),
    ("recommend_iql", "checkpoints=0", "at least 1"),
    ("recommend_iql", "learner.batch_size=0", "SAC.batch_size must be"),
]


@pytest.mark.parametrize(("agent", "change", "words"), FIELDS, ids=[f"{a} {c[:40]}" for a, c, _ in FIELDS])
def test_a_field_that_cannot_be_is_one_line(agent, change, words):
    with pytest.raises(MoorlError) as caught:
        override(AGENTS[agent](), [change])
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: IQL(discount=99), "IQL.discount must be a finite number at least 0.0 and at most 1.0, not 99"),
        (lambda: IQL(expectile=1.5), "at most 1.0, not 1.5"),
        (lambda: BC(batch_size=0), "at least 1"),
        (lambda: BC(learning_rate=-3e-4), "at least 0.0, not -0.0003"),
        (lambda: BC(learning_rate=float("nan")), "not nan"),
        (lambda: TD3BC().replace(tau=2.0), "TD3BC.tau"),
        (lambda: Mixed(-1.0), "Mixed.offline"),
        (lambda: Balanced(density_batch=0), "Balanced.density_batch"),
        (lambda: History(count=0), "History.count"),
        (lambda: Preparation(action_limit=2.0), "Preparation.action_limit must be a finite number above 0.0"),
        (lambda: make_plan(find("hopper"), 10, 0, episodes=0), "Plan.episodes"),
        (lambda: make_plan(find("hopper"), 10, 0, evaluate_every=0), "Plan.evaluate_every"),
    ],
)
def test_a_number_that_cannot_be_is_refused_where_it_is_given(make, wrong):
    with pytest.raises(MoorlError) as caught:
        make()
    assert wrong in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_jax_puts_in_the_place_of_numbers_is_not_checked():
    agents = jax.tree.map(lambda number: jnp.full(3, number), IQL())
    assert jax.vmap(lambda agent: agent.expectile * 2.0)(agents).shape == (3,)
    assert jax.tree.map(jnp.shape, IQL()).discount == ()
    assert jax.eval_shape(lambda agent: agent.replace(tau=agent.tau * 100.0), IQL()).tau.shape == ()


def test_other_values_that_cannot_be_are_refused_before_training(hopper_data):
    with pytest.raises(MoorlError, match=r"BC.hidden must be"):
        train(BC(hidden=8), "hopper-medium-v2", dataset=hopper_data, seeds=1, updates=2, episodes=1)


@pytest.mark.parametrize(("seeds", "wrong"), [([0.5], "0.5"), ([True, 2], "True"), ([-1], "-1"), (["1"], "1")])
def test_a_seed_is_a_whole_number(seeds, wrong):
    with pytest.raises(MoorlError, match=f"whole numbers from 0 to 4294967295, not {wrong}"):
        which_seeds(seeds)


def test_numpys_seeds_become_pythons():
    assert [type(seed) for seed in which_seeds(np.arange(2))] == [int, int]


def test_a_bound_may_be_added_to_a_bound():
    @dataclasses.dataclass
    class Config:
        members: Annotated[Count, Bounds(at_most=5)] = 6

    with pytest.raises(MoorlError, match="a whole number at least 1 and at most 2,147,483,647 and at most 5, not 6"):
        require_bounds(Config())


def test_a_sweep_of_numbers_is_not_looked_at():
    require_bounds(BC(learning_rate=np.array([1e-3, 1e-2])))


HEAD = "import jax.numpy as jnp\nfrom moorl_jax.agents import BC, Agent, static\n\n\nclass A(BC):\n"
OWN = {
    "raises": ("x = 1\n1 / 0\n", ":2: ZeroDivisionError: division by zero"),
    "does not parse": ("class A(:\n", ":1: SyntaxError"),
    "is not text": ("\0\0\n", ":1: "),
    "lacks a package": ("\nimport there_is_no_such_package\n", ":2: ModuleNotFoundError: No module named"),
    "recurses": ("def f():\n    return f()\n\n\nf()\n", ":2: RecursionError"),
    "exits": ("import sys\n\nsys.exit(0)\n", ":3: SystemExit: 0"),
    "is empty": ("", "has no Agent class named A"),
    "has something else": ("A = 3\n", "has no Agent class named A"),
    "has a field that cannot be": (HEAD + "    batch_size: int = static(0)\n", "A.batch_size must be"),
    "has a field without a default": (HEAD + "    width: int\n", ":5: TypeError: non-default argument"),
    "has unreadable annotations": (HEAD + "    width: 'Nothing' = 3\n", "annotations of A cannot be read"),
    "has no methods": (
        HEAD.replace("(BC)", "(Agent)") + "    pass\n",
        "Agent.init cannot be used: NotImplementedError",
    ),
    "raises in init": (HEAD + "    def init(self, key, example):\n        1 / 0\n", ":7: ZeroDivisionError"),
    "exits in init": (HEAD + "    def init(self, key, example):\n        exit(0)\n", ":7: SystemExit: 0"),
    "has no state": (HEAD + "    def init(self, key, example):\n        return None\n", "AttributeError"),
    "has text for a state": (
        HEAD + "    def init(self, key, example):\n        return 'x'\n",
        ":6: A.init cannot be used",
    ),
    "returns a state alone": (
        HEAD + "    def update(self, state, batch, draws):\n        return state\n",
        ":6: A.update must return a state and a dict of metrics",
    ),
    "returns another state": (
        HEAD + "    def update(self, state, batch, draws):\n        return state.replace(actor=jnp.zeros(3)), {}\n",
        ":6: A.update must return a state like the one it is given: it is another pytree",
    ),
    "returns metrics of a batch": (
        HEAD + "    def update(self, state, batch, draws):\n        return state, {'r': batch.rewards}\n",
        "metrics that are scalars: 'r' is not",
    ),
    "returns observations for actions": (
        HEAD + "    def act_in_evaluation(self, params, observations, key):\n        return observations\n",
        ":6: A.act_in_evaluation must return actions (1, 3), not (1, 11)",
    ),
    "returns no actions": (
        HEAD + "    def act(self, params, observations, key):\n        pass\n",
        ":6: A.act must return actions (1, 3), not NoneType",
    ),
    "has no cycle": (HEAD + "    def cycle(self):\n        return ()\n", ":6: A.cycle must return a tuple of updates"),
    "has no phases": (
        HEAD + "    def phases(self, updates, env_steps):\n        return ()\n",
        ":6: A.phases must return",
    ),
    "has phases of which none is evaluated": (
        "from moorl_jax.phases import Offline\n"
        + HEAD
        + "    def phases(self, updates, env_steps):\n        return (Offline(self, updates, evaluated=False),)\n",
        ":7: A.phases must return a phase that is evaluated",
    ),
    "has a list of phases": (
        HEAD + "    def phases(self, updates, env_steps):\n        return [1]\n",
        "a tuple of phases",
    ),
}


@pytest.fixture
def call(monkeypatch, tmp_path, hopper, hopper_rows):
    """Run a command that must fail, in a directory of its own; return its one line."""
    for command in ("train", "evaluate", "bench", "study"):
        monkeypatch.setattr(f"moorl_jax.cli.{command}.use_all_cores", lambda: None)
    hdf5.write(
        sources.find(hopper, "embedded").place, hopper_rows, {"metadata/version": str(recipe.VERSIONS["locomotion"])}
    )
    monkeypatch.chdir(tmp_path)

    def run(app, *words, usage=False):
        before = sorted(str(path) for path in tmp_path.rglob("*"))
        result = runner.invoke(app, [str(word) for word in words])
        assert result.exit_code == 2, result.output
        assert usage or (result.stderr.startswith("error: ") and result.stderr.count("\n") == 1), result.stderr
        assert sorted(str(path) for path in tmp_path.rglob("*") if "__pycache__" not in str(path)) == before
        return result.stderr

    return run


TRAIN = (
    *("train", "--task", "hopper-medium-v2", "--source", "embedded"),
    *("--updates", "2", "--episodes", "1", "--out", "run"),
)


@pytest.mark.parametrize("fault", OWN)
def test_a_users_agent_that_cannot_train_is_named_by_file_and_line(call, tmp_path, fault):
    text, words = OWN[fault]
    (tmp_path / "own.py").write_text(text, encoding="utf-8")
    told = call(cli.app, *TRAIN, "--seeds", "1", "--agent", "own.py:A")
    assert re.search(r"own\.py|\bA\b", told)
    assert words in told


def test_of_a_users_own_fault_the_flag_shows_his_part_of_the_traceback(tmp_path, monkeypatch, call):
    (tmp_path / "own.py").write_text(HEAD + "    def init(self, key, example):\n        1 / 0\n", encoding="utf-8")
    result = runner.invoke(cli.app, [*TRAIN, "--seeds", "1", "--agent", "own.py:A", "--traceback"])
    first, *_, last = result.stderr.splitlines()
    assert f'File "{tmp_path / "own.py"}", line 7' in first
    assert last.endswith("own.py:7: ZeroDivisionError: division by zero")
    assert "moorl_jax" not in first


COMMANDS = [
    ((*TRAIN, "--agent", "bc", "--seeds", "100000000000"), "from 1 to 10,000, not 100000000000"),
    ((*TRAIN, "--agent", "bc", "--seeds", "1" + "0" * 30), "from 1 to 10,000"),
    ((*TRAIN, "--agent", "bc", "--seeds", "-1"), "from 1 to 10,000"),
    ((*TRAIN, "--agent", "bc", "--seeds", "0,-1"), "whole numbers from 0 to 4294967295, not -1"),
    ((*TRAIN, "--agent", "bc", "--seeds", "4294967296,"), "whole numbers from 0 to 4294967295, not 4294967296"),
    ((*TRAIN, "--agent", "bc", "--seeds", "5,9223372036854775808"), "not 9223372036854775808"),
    ((*TRAIN, "--agent", "bc", "--seeds", ","), "from 1 to 10,000, not []"),
    ((*TRAIN, "--agent", "bc", "--seeds", "1.5"), "--seeds takes a number"),
    ((*TRAIN, "--agent", "bc", "--set", "hidden=(1000000000,)"), "the networks of all seeds takes"),
    ((*TRAIN, "--agent", "td3_bc", "--env-steps", "1000000000000"), "Plan.env_steps must be"),
    (
        (*TRAIN, "--agent", "sac", "--env-steps", "9000", "--set", "target_members=3"),
        "target_members=3 cannot be drawn of members=2 critics",
    ),
    ((*TRAIN, "--agent", "bc", "--updates", "0"), "there must be updates or env steps"),
    ((*TRAIN, "--agent", "bc", "--episodes", "1000000"), "Plan.episodes must be"),
    ((*TRAIN, "--agent", "bc", "--out", "file/run"), "something else is in that place: choose another"),
    ((*TRAIN, "--agent", "bc", "--out", "/proc/nowhere/run"), "/proc/nowhere"),
    ((*TRAIN, "--agent", "bc", "--out", "x" * 300), "name a shorter one"),
    ((*TRAIN, "--agent", "[/red]"), "unknown agent '[/red]'"),
    ((*TRAIN, "--agent", "own.txt:A"), "there is no file own.txt"),
    ((*TRAIN, "--agent", "file:A"), "file is not a Python file"),
    (("data", "make", "hopper-medium-v2", "--seed", "4294967296"), "whole numbers from 0 to 4294967295"),
    (("data", "make", "hopper-medium-v2", "--seed", "-1"), "whole numbers from 0 to 4294967295"),
    (("data", "make", "[bold]"), "unknown task '[bold]'"),
    (("eval", "file"), "file"),
    (("tasks", "[/]"), "[/]"),
]


@pytest.mark.parametrize(("words", "told"), COMMANDS, ids=[" ".join(words)[:90] for words, _ in COMMANDS])
def test_a_command_that_cannot_be_is_one_line(call, tmp_path, words, told):
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    assert told in call(cli.app, *words)


BENCHES = [
    (
        ("--results", "file", "--agents", "bc", "--updates", "2"),
        "something else is in that place: choose another",
    ),
    (("--results", "/proc/nowhere", "--agents", "bc", "--updates", "2"), "/proc/nowhere"),
    (("--agents", "bc", "--seeds", "100000"), "from 1 to 10,000"),
    (
        ("--agents", "td3_bc", "--protocol", "offline-to-online", "--env-steps", "1000000000000"),
        "env_steps must be",
    ),
    (("--agents", "own.py:A"), ":1: ZeroDivisionError"),
    (("--agents", "[/]"), "unknown agent '[/]'"),
]


@pytest.mark.parametrize(("words", "told"), BENCHES, ids=[" ".join(words)[:90] for words, _ in BENCHES])
def test_a_sweep_that_cannot_be_is_one_line(call, tmp_path, monkeypatch, words, told):
    monkeypatch.setattr(plans, "_REPLAY_STEPS", {"hopper": 400})  # of the data of the suite `quick`
    (tmp_path / "file").write_text("not a directory", encoding="utf-8")
    (tmp_path / "own.py").write_text("1 / 0\n", encoding="utf-8")
    assert told in call(cli.app, "bench", *words)


def layers(*widths):
    """The arrays of a policy whose layers have these widths."""
    found = {}
    for number, (before, after) in enumerate(itertools.pairwise(widths)):
        found |= {f"{number}.weight": np.zeros((after, before)), f"{number}.bias": np.zeros(after)}
    return found | {"log_std": np.zeros(widths[-1])}


def without(key):
    return {name: values for name, values in layers(11, 8, 3).items() if name != key}


POLICIES = {
    "a pickle in an archive": (lambda path: np.savez(path, **{"0.weight": np.array([print], object)}), "plain arrays"),
    "a pickle": (lambda path: np.save(path.open("wb"), np.array([print], object)), "plain arrays"),
    "no archive": (lambda path: path.write_bytes(b"PK is not a zip file"), "plain arrays"),
    "nothing": (lambda path: path.write_bytes(b""), "plain arrays"),
    "words": (lambda path: np.savez(path, **layers(11, 3) | {"0.bias": np.array(["a"])}), "0.bias is not of numbers"),
    "no weights": (lambda path: np.savez(path, log_std=np.zeros(3)), "there are no weights"),
    "a layer without its bias": (lambda path: np.savez(path, **without("1.bias")), "the key '1.bias' is missing"),
    "one layer of two": (lambda path: np.savez(path, **without("1.weight")), "do not fit each other"),
    "another bias": (lambda path: np.savez(path, **layers(11, 3) | {"0.bias": np.zeros(1)}), "do not fit each other"),
    "another spread": (lambda path: np.savez(path, **layers(11, 3) | {"log_std": np.zeros(1)}), "do not fit each"),
    "no bound of the normalizer": (
        lambda path: np.savez(path, **layers(11, 3), obs_mean=np.zeros(11)),
        "the key 'obs_clip' is missing",
    ),
    "another robot's observations": (lambda path: np.savez(path, **layers(17, 3)), "3 of 11; is this the policy of"),
    "another robot's actions": (lambda path: np.savez(path, **layers(11, 6)), "is this the policy of another task"),
    "a spread of the state's, of odd size": (lambda path: np.savez(path, **without("log_std")), "it makes 1.5 numbers"),
}


@pytest.mark.parametrize("kind", POLICIES)
def test_a_policy_that_cannot_act_is_one_line(tmp_path, kind):
    write, told = POLICIES[kind]
    path = tmp_path / "policy.npz"
    write(path)
    with pytest.raises(DatasetError, match=f"^{path}: .*{told}") as caught:
        plans.Actor("actor", path, "relu", squash=True).read(find("hopper-medium-v2"))
    assert len(str(caught.value).splitlines()) == 1


def log(path, snapshots="snapshots", observations=11, layer="out/AffineLayer"):
    """Write a TRPO run's log, of one policy of one layer."""
    with h5py.File(path, "w") as file:
        policy = file.create_group(f"{snapshots}/iter0000000/GaussianPolicy")
        policy.create_group("hidden/FeedforwardNet")
        policy["logstdevs_1_Da"] = np.zeros((1, 3))
        for name in ("mean_1_D", "meansq_1_D"):
            policy[f"obsnorm/Standardizer/{name}"] = np.zeros((1, observations))
        policy[f"{layer}/W"], policy[f"{layer}/b"] = np.zeros((observations, 3)), np.zeros((1, 3))


def linked(path):
    log(path.with_name("other.h5"))
    with h5py.File(path, "w") as file:
        file["snapshots"] = h5py.ExternalLink("other.h5", "snapshots")


LOGS = {
    "junk": (lambda path: path.write_bytes(b"junk"), "not an HDF5 file"),
    "no policies": (lambda path: log(path, snapshots="others"), "'snapshots' is missing"),
    "no last layer": (lambda path: log(path, layer="last"), "out/AffineLayer/W' is missing"),
    "another robot's": (lambda path: log(path, observations=17), "is this the policy of another task"),
    "another file's policies": (linked, "'snapshots' is a link that leads out of the file"),
}


@pytest.mark.parametrize("kind", LOGS)
def test_a_training_log_that_is_none_is_one_line(tmp_path, kind):
    write, told = LOGS[kind]
    task, path = find("hopper-medium-replay-v2"), tmp_path / "mujoco/trpo_curves/log_Hopper-v1_4.h5"
    path.parent.mkdir(parents=True)
    write(path)
    with pytest.raises(DatasetError, match=f"^{path}: .*{told}") as caught:
        [actor.read(task) for actor, _ in plans.recipe(task, tmp_path)]
    assert len(str(caught.value).splitlines()) == 1


def demonstrations(**changed):
    steps = {"observations": np.zeros((9, 45)), "actions": np.zeros((9, 24)), "rewards": np.zeros(9)}
    flags = {"terminals": np.zeros(9, bool), "timeouts": np.arange(9) == 8}
    return {name: values for name, values in (steps | flags | changed).items() if values is not None}


DEMONSTRATIONS = {
    "junk": (lambda path: path.write_bytes(b"junk"), "plain arrays"),
    "a pickle": (lambda path: np.savez(path, **demonstrations(rewards=np.array([print] * 9, object))), "plain arrays"),
    "a key too few": (lambda path: np.savez(path, **demonstrations(rewards=None)), "the key 'rewards' is missing"),
    "one number": (lambda path: np.savez(path, **demonstrations(rewards=np.float32(1))), "has 9 rows where 'rewards'"),
    "another hand's": (lambda path: np.savez(path, **demonstrations(actions=np.zeros((9, 26)))), "of another task"),
    "NaN": (lambda path: np.savez(path, **demonstrations(actions=np.full((9, 24), np.nan))), "NaN or infinite"),
}


@pytest.mark.parametrize("kind", DEMONSTRATIONS)
@pytest.mark.parametrize("level", ["human", "cloned"])
def test_demonstrations_that_are_none_are_one_line(tmp_path, level, kind):
    write, told = DEMONSTRATIONS[kind]
    task, path = find(f"pen-{level}-v1"), tmp_path / "adroit/pen_human.npz"
    path.parent.mkdir()
    write(path)
    with pytest.raises(DatasetError, match=f"^{path}: .*{told}") as caught:
        recipe.generate(task, plans.recipe(task, tmp_path), tmp_path / "made.hdf5")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "made.hdf5").exists()


def test_jax_without_compiled_programs_is_one_line(call):
    with jax.disable_jit():
        assert "JAX_DISABLE_JIT is set" in call(cli.app, *TRAIN, "--agent", "bc")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (cli.app, (*TRAIN, "--agent", "bc")),
        (cli.app, ("data", "make", "pen-cloned-v1")),
        (embed.app, ("robots", "hopper-medium-v2")),
        (embed.app, ("control", "walker-walk")),
    ],
)
def test_a_device_that_is_not_here_is_one_line(call, monkeypatch, app, words):
    def none():
        raise AssertionError

    monkeypatch.setattr(jax, "local_devices", none)
    assert "no device of JAX_PLATFORMS=cpu can be used here" in call(app, *words)


@pytest.mark.slow
def test_jax_for_a_gpu_where_there_is_none_is_one_line(tmp_path):
    words = [sys.executable, "-m", "moorl_jax", *TRAIN, "--agent", "bc"]
    here = {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "JAX_PLATFORMS": "rocm"}
    ran = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=os.environ | here)
    assert ran.returncode == 2, ran.stderr
    assert "no device of JAX_PLATFORMS=rocm can be used here" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
