"""Every agent, as set for every family, through all of its phases in small."""

import numpy as np
import pytest

from moorl_jax import train
from moorl_jax.agents import AGENTS, BC, SACN
from moorl_jax.data import Dataset, Rows, plans, recipe, scripted
from moorl_jax.data.sources import ogbench
from moorl_jax.settings import settings, suits
from moorl_jax.tasks import find
from moorl_jax.tasks.ogbench_sets import OGBENCH

STEPS = {"antmaze-umaze-v2": 1500, "pen-human-v1": 400, "door-human-v1": 600, "kitchen-complete-v0": 600}


@pytest.fixture(scope="module", params=STEPS)
def dataset(request):
    """Random steps; in AntMaze one of them reaches the goal."""
    task = find(request.param)
    columns = recipe.roll_out(task, plans.Actor("uniform"), STEPS[task.name], (0,))
    columns["rewards"][50] += 1.0
    rows = Rows(**{name: values for name, values in columns.items() if not name.startswith("infos/")})
    return Dataset(task, "recipe", rows, rows.fingerprint())


@pytest.mark.slow
@pytest.mark.parametrize("agent", [agent for agent in AGENTS if suits(agent, find("pen-human-v1"))])
def test_an_agent_goes_through_its_phases(agent, dataset):
    env_steps = 0 if issubclass(AGENTS[agent], BC | SACN) else 24
    run = train(
        agent,
        dataset.task,
        seeds=1,
        updates=4,
        env_steps=env_steps,
        evaluate_every=4,
        evaluate_every_steps=24,
        episodes=1,
        dataset=dataset,
    )
    assert np.isfinite(run.curves["return"]).all()
    assert run.curves["env_steps"].max() == env_steps


@pytest.fixture(scope="module")
def scripted_set(tmp_path_factory):
    """Two short episodes of a set of OGBench's, made as its scripts make them."""
    pytest.importorskip("ogbench", reason="OGBench's package is not installed: the extra 'ogbench'")
    task, path = find("ogbench-pointmaze-medium-navigate-task1"), tmp_path_factory.mktemp("made") / "set.npz"
    of = next(of for of in OGBENCH if of.name == "pointmaze-medium-navigate")
    for place in (path, scripted.validation(path)):
        scripted.Making(of._replace(steps=60), 0, range(2), place)()
    rows = ogbench.read(path, task)
    return Dataset(task, "recipe", rows, rows.fingerprint())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rlpd", "rebrac", "fql", "qc", "wsrl", "opt", "moorl"])
def test_on_ogbench_it_goes_on_online(name, scripted_set):
    """With OGBench's settings, but for the networks' width."""
    chosen = settings(name, scripted_set.task, 4, 24)
    run = train(
        _narrow(chosen.agent),
        scripted_set.task,
        seeds=1,
        updates=4,
        env_steps=24,
        evaluate_every=4,
        evaluate_every_steps=24,
        episodes=1,
        dataset=scripted_set,
        preparation=chosen.preparation,
    )
    assert run.curves["env_steps"].max() == 24
    assert run.curves["success"].between(0.0, 1.0).all()


def _narrow(agent):
    if hasattr(agent, "backbone"):
        return agent.replace(backbone=_narrow(agent.backbone), batch_size=32)
    return agent.replace(hidden=(16, 16), batch_size=32)
