"""AntMaze against D4RL's constants, written down here once more from its files."""

import mujoco
import numpy as np
import pytest

from moorl_jax.tasks import find, make_environment, make_recording_environment
from moorl_jax.tasks.antmaze import MAZES, AntMaze, Maze


@pytest.fixture(scope="module", params=MAZES)
def ant(request):
    return AntMaze(request.param)


def test_the_clock_is_d4rls(ant):
    assert ant.model.opt.timestep == 0.02
    assert ant.model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    ant.reset(seed=0)
    ant.step(np.zeros(8))
    assert ant.data.time == pytest.approx(0.1)


def test_the_robot_is_d4rls(ant):
    """Motors of 30 newton metres at gear 1, soft contacts, light limbs; the total mass follows from the density."""
    model = ant.model
    assert (model.nq, model.nv, model.nu) == (15, 14, 8)
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-30.0, 30.0]] * 8)
    np.testing.assert_array_equal(model.actuator_gear[:, 0], np.ones(8))
    np.testing.assert_array_equal(np.unique(model.geom_solimp[:, :3], axis=0), [[0.8, 0.8, 0.01]])
    np.testing.assert_array_equal(np.unique(model.geom_solref, axis=0), [[0.02, 1.0]])
    np.testing.assert_array_equal(np.unique(model.geom_friction, axis=0), [[1.0, 0.5, 0.5]])
    np.testing.assert_array_equal(np.unique(model.geom_margin), [0.01])
    np.testing.assert_array_equal(model.dof_armature[6:], np.ones(8))
    np.testing.assert_array_equal(model.dof_damping[6:], np.ones(8))
    sphere = 4 / 3 * np.pi * 0.25**3
    capsules = sum(np.pi * 0.08**2 * length + 4 / 3 * np.pi * 0.08**3 for length in (0.08**0.5, 0.08**0.5, 0.32**0.5))
    assert model.body_mass.sum() == pytest.approx(5.0 * (sphere + 4 * capsules))


def test_the_actions_drive_the_joints_in_d4rls_order(ant):
    """Hip and ankle of the fourth leg, then the first, second and third."""
    joints = [mujoco.mj_id2name(ant.model, mujoco.mjtObj.mjOBJ_JOINT, j) for j in ant.model.actuator_trnid[:, 0]]
    assert joints == [f"{joint}_{leg}" for leg in (4, 1, 2, 3) for joint in ("hip", "ankle")]
    ranges = np.rad2deg(ant.model.jnt_range[1:])
    np.testing.assert_allclose(ranges[0::2], [[-30, 30]] * 4)
    np.testing.assert_allclose(ranges[1::2], [[30, 70], [-70, -30], [-70, -30], [30, 70]])


@pytest.mark.parametrize(
    ("name", "goal", "walls"),
    [("umaze", (0.0, 8.0), 18), ("medium", (20.0, 20.0), 38), ("large", (32.0, 24.0), 62)],
)
def test_the_mazes_are_d4rls(name, goal, walls):
    """The start is the origin, cells are four metres, rows go along y."""
    maze = Maze(name)
    np.testing.assert_array_equal(maze.position(maze.start), [0.0, 0.0])
    np.testing.assert_array_equal(maze.position(maze.goal), goal)
    assert len(maze.walls) == walls
    boxes = AntMaze(name).model
    blocks = boxes.geom_type == mujoco.mjtGeom.mjGEOM_BOX
    assert blocks.sum() == walls
    np.testing.assert_array_equal(np.unique(boxes.geom_size[blocks], axis=0), [[2.0, 2.0, 1.0]])


def test_starts_and_goals_are_v2s(ant):
    starts, goals = [], []
    for seed in range(200):
        observation, _ = ant.reset(seed=seed)
        assert observation.shape == (29,)
        starts.append(observation[:2])
        goals.append(ant.goal - ant.maze.position(ant.maze.goal))
    assert np.abs(starts).max() <= 0.1
    goals = np.array(goals)
    assert goals.min() >= 0.0
    assert goals.max() <= 1.5
    assert goals.mean() == pytest.approx(0.75, abs=0.06)  # U(0, 1) + U(0, 0.5); in umaze x too
    assert len(np.unique(goals[:, 0])) == 200


def test_reaching_the_goal_pays_one_and_ends_the_episode(ant):
    place = np.array([0.3, 0.0])
    for distance, reached in ((0.3, True), (1.5, False)):
        ant.reset(seed=0, options={"position": place, "goal": place + np.array([distance, 0.0])})
        _, reward, terminal, timeout, _ = ant.step(np.zeros(8))
        assert (reward, terminal, timeout) == (float(reached), reached, False)


@pytest.mark.parametrize(
    ("name", "horizon", "recorded"),
    [
        ("antmaze-umaze-v2", 700, 701),
        ("antmaze-umaze-diverse-v2", 700, 1001),
        ("antmaze-large-play-v2", 1000, 1001),
    ],
)
def test_horizons(name, horizon, recorded):
    """Data was recorded in longer episodes, which the goal does not end."""
    task = find(name)
    for make, length in ((make_environment, horizon), (make_recording_environment, recorded)):
        environment = make(task)
        environment.reset(seed=0, options={"goal": np.zeros(2) if length > horizon else np.full(2, 99.0)})
        for step in range(1, length + 1):
            _, _, terminal, timeout, _ = environment.step(np.zeros(8))
            assert (terminal, timeout) == (False, step == length)
        environment.close()


def test_actions_beyond_the_range_are_clipped(ant):
    ends = []
    for scale in (1.0, 7.0):
        ant.reset(seed=3)
        for _ in range(5):
            observation, *_ = ant.step(np.full(8, scale))
        ends.append(observation)
    np.testing.assert_array_equal(*ends)
