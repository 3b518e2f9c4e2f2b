"""Every agent, as set for every family, through all of its phases in small."""

import numpy as np
import pytest

from moorl_jax import train
from moorl_jax.agents import AGENTS, BC, SACN
from moorl_jax.data import Dataset, Rows, plans, recipe
from moorl_jax.settings import suits
from moorl_jax.tasks import find

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
