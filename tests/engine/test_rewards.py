"""A recorded row and the simulator that learns beside it pay alike, in every family."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from moorl_jax.data import Dataset, Rows, filming, recipe
from moorl_jax.data.frames import Frames
from moorl_jax.data.plans import Actor
from moorl_jax.engine.simulators import Simulators
from moorl_jax.errors import NotAvailableError
from moorl_jax.settings import settings
from moorl_jax.tasks import find, make_environment

SEED, STEPS = (3,), 30
START = int(np.random.default_rng(SEED).integers(2**31))  #: of a recipe's first episode
# Where MuJoCo's kitchen holds what a sub-task moves, and where its goal is.
MOVED = {
    "microwave": (22, [-0.75]),
    "light switch": (17, [-0.69, -0.05]),
    "slide cabinet": (19, [0.37]),
    "kettle": (23, [-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06]),
}


def rolled_out(task):
    columns = recipe.roll_out(task, Actor("uniform"), STEPS, SEED)
    if task.family == "antmaze":
        walked = columns["next_observations"][:, :2]
        # Half a metre from where the walk ends, and farther from where it begins.
        goal = walked[-1] + 0.49 * (walked[-1] - walked[0]) / np.linalg.norm(walked[-1] - walked[0])
        columns["goal"] = recipe._relabel(columns, SimpleNamespace(goal=None, goal_near=lambda *_: goal), 0, None)
    return {name: values for name, values in columns.items() if not name.startswith("infos/")}


def played_in_the_kitchen(task):
    """Finish all sub-tasks by hand and undo one; rows pay the number that are complete in their own observation."""
    environment = make_environment(task)
    inner, rng = environment.unwrapped, np.random.default_rng(0)
    seen, _ = environment.reset(seed=START)
    columns = {name: [] for name in ("observations", "actions", "rewards", "terminals", "timeouts")}
    for step in range(STEPS):
        meddle(inner, step)
        action = rng.uniform(-1, 1, 9).astype(np.float32)
        complete = sum(np.linalg.norm(seen[place : place + len(goal)] - goal) < 0.3 for place, goal in MOVED.values())
        row = {"observations": seen, "actions": action, "rewards": complete, "terminals": False, "timeouts": False}
        for name, value in row.items():
            columns[name].append(value)
        seen, *_ = environment.step(action)
    columns["timeouts"][-1] = True
    assert set(columns["rewards"]) == {0, 1, 2, 3, 4}
    return {name: np.array(v, bool if name in ("terminals", "timeouts") else np.float32) for name, v in columns.items()}


def meddle(kitchen, step):
    """Move a thing of the kitchen to its goal, or away from it."""
    for when, (place, goal) in zip((5, 10, 15, 20), MOVED.values(), strict=True):
        if step == when:
            kitchen.data.qpos[place : place + len(goal)] = goal
    if step == 25:
        kitchen.data.qpos[MOVED["microwave"][0]] = 0.0


@pytest.mark.parametrize(
    ("name", "agent"),
    [
        ("hopper-medium-v2", "iql"),  # whose rewards are scaled
        ("antmaze-umaze-v2", "cal_ql"),  # scaled and shifted
        ("pen-human-v1", "iql"),
        ("door-human-v1", "cal_ql"),
        ("kitchen-complete-v0", "cql"),  # shifted
        ("vd4rl-cheetah_run-random-64px", "drq_bc"),
    ],
)
def test_a_recorded_row_and_the_training_simulator_pay_alike(name, agent):
    task = replace(find(name), horizon=STEPS)
    preparation = settings(agent, task, 10, 10).preparation
    if task.pixels:
        try:
            episode = filming.film(task, Actor("uniform"), SEED)
        except NotAvailableError as error:
            pytest.skip(f"images need a machine that can render: {error}")
        rows = Frames(*(episode[key] for key in ("image", "action", "reward", "discount", "is_first")))
        actions = rows.actions[1:]
    else:
        columns = played_in_the_kitchen(task) if task.family == "kitchen" else rolled_out(task)
        goal = columns.pop("goal", None)
        rows = Rows(**columns)
        actions = rows.actions
    prepared = preparation.apply(Dataset(task, "recipe", rows, ""))
    paid = np.asarray(prepared.transitions.rewards)[1 if task.pixels else 0 :]
    simulators = Simulators(task, prepared, (0,), None, env_steps=STEPS)
    (environment,) = simulators._environments.simulators
    environment.reset(seed=START)
    if task.family == "antmaze":
        environment.unwrapped.goal = goal
        assert paid[0] == -5.0
        assert (paid == 5.0).any()
    for step, reward in enumerate(paid):
        if task.family == "kitchen":
            meddle(environment.unwrapped, step)
        outcome = simulators.step(actions[step : step + 1])
        assert outcome.transitions.rewards[0] == pytest.approx(reward, abs=1e-5), step
        if outcome.transitions.terminals[0]:  # the data may go on after a goal
            assert task.family != "kitchen"
            break
    assert step > 5
    simulators.close()


@pytest.mark.parametrize(
    ("name", "beside_data", "pays"),
    [
        ("kitchen-complete-v0", True, [0.0, 1.0, 2.0, 3.0]),  # for what was complete before the step
        ("minari-kitchen-complete-v2", True, [1.0, 2.0, 3.0, 4.0]),
        ("kitchen-complete-v0", False, [1.0, 1.0, 1.0, 1.0]),
        ("minari-kitchen-complete-v2", False, [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_kitchens_scores_and_those_who_learn_alone_are_paid_once(name, beside_data, pays):
    """Scores stay those of D4RL's environment, which all four sub-tasks end; what labelled the data goes on."""
    environment = make_environment(find(name), as_data=beside_data)
    environment.reset(seed=0)
    paid, ended = [], []
    for place, goal in MOVED.values():
        environment.unwrapped.data.qpos[place : place + len(goal)] = goal
        _, reward, terminal, *_ = environment.step(np.zeros(9))
        paid.append(reward)
        ended.append(terminal)
    assert paid == pays
    assert ended == [False, False, False, not beside_data]
    environment.close()
