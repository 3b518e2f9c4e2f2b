"""`python -m benchmarks.embed`: make the behaviour policies that the package carries.

`locomotion` trains SAC on D4RL's robots, and `pick` takes the policies that the package carries. `robots` distils, by
DAgger, public policies of the levels that no SAC learner of ours has come to; `ant` and `hands` those that D4RL rolled
out in AntMaze and for Adroit's experts. `control` trains SAC on the state of dm_control's tasks, for V-D4RL's films.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import typer

from benchmarks.distillation import distill, watch
from benchmarks.episodes import Episode, play
from benchmarks.learners import learn, pick, rlkit_sac, write_actor, write_table
from moorl_jax.cli.options import PoliciesOption, guarded
from moorl_jax.data import Preparation, behaviour, load, plans
from moorl_jax.data.plans import EMBEDDED, Actor, Part
from moorl_jax.engine.devices import prepare_jax
from moorl_jax.errors import UnknownNameError
from moorl_jax.progress import Display, terminal
from moorl_jax.replay import Mixed
from moorl_jax.settings import settings
from moorl_jax.tasks import Task, expand, find, make_environment, make_recording_environment
from moorl_jax.tasks.catalogue import LOCOMOTION

# Mean returns of D4RL's medium sets (-v2), as a public script of Decision Transformer's lists them. It lacks Ant's:
# 3,169 is what Trajectory Transformer, a model of that set, returns by its authors' script (a score of 83.1).
MEDIUM = {"halfcheetah": 4770.3, "hopper": 1422.1, "walker2d": 2852.1, "ant": 3169.0}

# Public SAC and TQC policies, whose returns are nearest to those of D4RL's sets when their actions are sampled. TQC is
# SAC with other critics: their actors spread alike.
TEACHERS = {
    "halfcheetah-expert-v2": "mujoco/zoo/tqc_HalfCheetah-v3_actor.npz",
    "hopper-expert-v2": "mujoco/zoo/tqc_Hopper-v3_actor.npz",
    "walker2d-expert-v2": "mujoco/sac_experts/Walker2d-v3_actor.npz",
    "walker2d-medium-v2": "mujoco/zoo/tqc_Walker2d-v3_actor.npz",
}

Row = dict[str, Any]

app = typer.Typer(add_completion=False)

Rounds = Annotated[int, typer.Option(min=1, help="Rounds of DAgger.")]
Updates = Annotated[int, typer.Option(min=1, help="Updates of the student in a round.")]
Measured = Annotated[int, typer.Option(min=1, help="Episodes per task to measure teacher and student.")]
Seed = Annotated[int, typer.Option(help="Seed of the episodes and of the learning.")]


@app.command()
@guarded
def control(
    name: Annotated[str, typer.Argument(metavar="TASK", help="walker-walk, cheetah-run or humanoid-walk.")],
    env_steps: Annotated[int, typer.Option(min=1, help="Env steps of SAC.")] = 100_000,
    every: Annotated[int, typer.Option(min=1, help="Env steps between kept policies.")] = 20_000,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to measure a policy, actions sampled.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the learning.")] = 0,
) -> None:
    """Train SAC on the state of a dm_control task, and keep its policies along the way."""
    prepare_jax()
    task = find(name)
    phases = settings("sac", task, 0, env_steps).agent.phases(0, env_steps)
    learn(phases, task, seed, EMBEDDED / task.subject, every, episodes, terminal().print)


@app.command()
@guarded
def locomotion(
    robot: Annotated[str, typer.Argument(help=f"{', '.join(LOCOMOTION)}.")],
    env_steps: Annotated[int, typer.Option(min=1_000, help="Env steps of SAC.")] = 1_000_000,
    every: Annotated[int, typer.Option(min=1_000, help="Env steps between kept policies.")] = 10_000,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to measure a policy, actions sampled.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the learning.")] = 0,
    shown: Annotated[
        bool, typer.Option("--shown", help="Draw half of each batch from the recipe's expert set.")
    ] = False,
    policies: PoliciesOption = None,
    out: Annotated[Path, typer.Option(help="Directory of the policies.")] = Path("runs/learners"),
) -> None:
    """Train SAC on a robot as D4RL's learners were trained, and keep its policies along the way. Resumes.

    It takes about a million env steps to become an expert; with `--shown`, which also learns from an expert's data (the
    recipe's, from `--policies`), about a tenth of that.
    """
    prepare_jax()
    phases, demonstrations = rlkit_sac(env_steps), None
    if shown:
        task = find(f"{robot}-expert-v2")
        with Display(terminal()) as display:
            dataset = load(task, "recipe", policies, display.data(task.name), display.say)
        phases, demonstrations = rlkit_sac(env_steps, Mixed(0.5)), Preparation().apply(dataset).transitions
    folder = out / f"{robot}-{seed}{'-shown' if shown else ''}"
    learn(phases, find(robot), seed, folder, every, episodes, terminal().print, 5 * every, demonstrations)


@app.command("pick")
@guarded
def pick_policies(
    robot: Annotated[str, typer.Argument(help=f"{', '.join(MEDIUM)}.")],
    folder: Annotated[Path, typer.Argument(help="Directory that `locomotion` wrote.")],
    before: Annotated[int, typer.Option(min=1, help="How many policies before the medium one.")] = 12,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to measure each policy.")] = 20,
) -> None:
    """Copy a learner's policies, up to D4RL's medium level, into the package."""
    if robot not in MEDIUM:
        raise UnknownNameError("robot", robot, MEDIUM)
    table = pick(folder, EMBEDDED / robot, find(f"{robot}-medium-v2"), MEDIUM[robot], before, episodes)
    terminal().print(table.round(1).to_string(index=False), highlight=False)


@app.command()
@guarded
def ant(
    policies: PoliciesOption = None,
    rounds: Rounds = 5,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes a round in each of the three mazes.")] = 4,
    updates: Updates = 10_000,
    measured: Measured = 30,
    seed: Seed = 0,
) -> None:
    """Distil the walker behind D4RL's AntMaze data, walking between random cells of the mazes."""
    prepare_jax()
    anywhere = [find(f"antmaze-{maze}-diverse-v2") for maze in ("umaze", "medium", "large")]
    evaluated = [find(name) for name in ("antmaze-umaze-v2", "antmaze-medium-play-v2", "antmaze-large-play-v2")]
    with Display(terminal()) as display:
        teacher = _actor(plans.recipe(anywhere[0], policies))
        _distil(teacher, anywhere, display, (256, 256), rounds, episodes, updates, seed)
        _compare(teacher, evaluated, measured, _reached)


@app.command()
@guarded
def hands(
    names: Annotated[str, typer.Argument(help="Which, separated by commas.")] = "pen,door,hammer,relocate",
    policies: PoliciesOption = None,
    rounds: Rounds = 3,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes a round.")] = 25,
    updates: Updates = 10_000,
    measured: Measured = 40,
    seed: Seed = 0,
) -> None:
    """Distil the policies behind Adroit's expert sets."""
    prepare_jax()
    for task in expand(",".join(f"{name}-expert-v1" for name in names.split(","))):
        teacher = _actor(plans.recipe(task, policies))
        with Display(terminal()) as display:
            _distil(teacher, [task], display, (128, 128), rounds, episodes, updates, seed)
            _compare(teacher, [task], measured, _returned)


@app.command()
@guarded
def robots(
    names: Annotated[str, typer.Argument(help="Tasks, separated by commas.")] = ",".join(TEACHERS),
    policies: PoliciesOption = None,
    rounds: Rounds = 5,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes a round.")] = 10,
    updates: Updates = 10_000,
    measured: Measured = 40,
    seed: Seed = 0,
) -> None:
    """Distil public policies at D4RL's levels."""
    prepare_jax()
    for task in expand(names):
        if task.name not in TEACHERS:
            raise UnknownNameError("task with a teacher", task.name, TEACHERS)
        teacher = Actor("actor", plans.required(task, policies) / TEACHERS[task.name], "relu", squash=True)
        with Display(terminal()) as display:
            _distil(teacher, [task], display, (256, 256), rounds, episodes, updates, seed)
            _compare(teacher, [task], measured, _earned)


def _distil(
    teacher: Actor,
    tasks: list[Task],
    display: Display,
    hidden: tuple[int, ...],
    rounds: int,
    episodes: int,
    updates: int,
    seed: int,
) -> None:
    """Distil the teacher, acting in the tasks, into a network, and write it where the source `embedded` reads it."""
    student = _actor(plans.embedded(tasks[0]))
    progress, watched = display.data(student.path.stem), 0

    def show(network: behaviour.Gaussian, number: int) -> np.ndarray:
        nonlocal watched
        shown = []
        for place, task in enumerate(tasks):
            first = int(np.random.default_rng((seed, number, place)).integers(2**31))
            environment = make_recording_environment(task)
            shown.append(watch(environment, teacher.read(task), network, episodes, first))
            watched += 1
            progress(watched, rounds * len(tasks))
        return np.concatenate(shown)

    network = behaviour.read_actor(teacher.path, teacher.activation, teacher.squash)
    learned = distill(network, show, hidden=hidden, rounds=rounds, updates=updates, seed=seed, say=display.say)
    layers = {
        f"layer{number}": {"kernel": kernel, "bias": bias} for number, (kernel, bias) in enumerate(learned.weights)
    }
    outputs = np.ones_like(layers[f"layer{len(hidden)}"]["bias"])
    normalizer = {"in_shift": learned.mean, "in_scale": learned.std, "out_shift": 0.0 * outputs, "out_scale": outputs}
    write_actor(student.path, layers, np.float16, **jax.tree.map(np.float32, normalizer))


def _actor(parts: list[Part]) -> Actor:
    """Return the one policy of a plan."""
    ((actor, _),) = parts
    assert isinstance(actor, Actor)
    return actor


def _compare(teacher: Actor, tasks: list[Task], episodes: int, summarize: Callable[[list[Episode]], Row]) -> None:
    """Write how the teacher's and the student's episodes, of the same seeds, turned out."""
    rows: list[Row] = []
    for task in tasks:
        for who, actor in (("teacher", teacher), ("student", _actor(plans.embedded(task)))):
            played = list(play(make_environment(task), actor.read(task), episodes))
            summary = summarize(played)
            rows.append({"task": task.name, "policy": who, "episodes": episodes, **summary})
            numbers = ", ".join(f"{name} {value:.2f}" for name, value in summary.items())
            terminal().print(f"{task.name}, {who}: {numbers}", highlight=False)
    write_table(actor.path.with_suffix(".csv"), rows, "%.2f")


def _reached(played: list[Episode]) -> Row:
    """Return the share of episodes that reached their goal, and how many env steps those took on average, if any."""
    steps = [episode.steps for episode in played if episode.rewards]
    return {"reached": len(steps) / len(played), "steps": pd.Series(steps, dtype=float).mean()}


def _earned(played: list[Episode]) -> Row:
    """Return the mean and the deviation of the returns."""
    returns = [episode.rewards for episode in played]
    return {"return": np.mean(returns), "deviation": np.std(returns)}


def _returned(played: list[Episode]) -> Row:
    """Return the mean and the deviation of the returns, and the share of episodes that succeeded."""
    return _earned(played) | {"success": np.mean([episode.successes > 0 for episode in played])}


if __name__ == "__main__":
    app()
