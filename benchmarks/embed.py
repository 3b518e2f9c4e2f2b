"""`python -m benchmarks.embed`: make the small behaviour policies that the package carries.

`hopper` is what `make bench` builds its dataset from: a clone of a recipe's dataset with a fixed spread. `control` are
the policies that are filmed for V-D4RL's tasks: those that SAC has on its way, learning from the state. `ant` and
`hands` are what AntMaze's sets and Adroit's experts are rolled out from: networks of our own that learned by DAgger to
act as the policies do that D4RL rolled out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import typer

from benchmarks.distillation import Episode, distill, play, watch
from moorl_jax.agents import BC
from moorl_jax.cli import PoliciesOption, guarded
from moorl_jax.data import Normalizer, Prepared, behaviour, load
from moorl_jax.data.plans import EMBEDDED, RETURNS, Actor, plan
from moorl_jax.engine.devices import require_devices
from moorl_jax.engine.trainer import Trainer, length
from moorl_jax.engine.training import train, which_seeds
from moorl_jax.progress import Display, terminal
from moorl_jax.settings import settings
from moorl_jax.tasks import Task, expand, find, make_environment, make_recording_environment
from moorl_jax.whole import whole

SPREAD = 0.25  #: std of the hopper's action before tanh; enough to vary the episodes, little enough to hop on

Row = dict[str, Any]

app = typer.Typer(add_completion=False)

Rounds = Annotated[int, typer.Option(min=1, help="Rounds of DAgger.")]
Updates = Annotated[int, typer.Option(min=1, help="Updates of the student in a round.")]
Measured = Annotated[int, typer.Option(min=1, help="Episodes a task by which teacher and student are measured.")]
Seed = Annotated[int, typer.Option(help="Seed of the episodes and of the learning.")]


@app.command()
@guarded
def hopper(
    policies: PoliciesOption = None,
    updates: Annotated[int, typer.Option(min=1, help="BC updates.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the cloning.")] = 0,
) -> None:
    """Clone hopper-medium's recipe data."""
    require_devices()
    task = find("hopper-medium-v2")
    with Display(terminal()) as display:
        dataset = load(task, "recipe", policies, display.data(task.name), display.say)
        # Raw observations: the policy must act without a normalizer beside it.
        run = train(BC(), task, seeds=[seed], updates=updates, dataset=dataset, report=display.training("bc"))
    log_std = np.full(task.action_size, np.log(SPREAD), np.float32)
    _write(EMBEDDED / "hopper.npz", _first(run.states.actor.params), np.float32, log_std=log_std)


@app.command()
@guarded
def control(
    name: Annotated[str, typer.Argument(metavar="TASK", help="walker-walk, cheetah-run or humanoid-walk.")],
    env_steps: Annotated[int, typer.Option(min=1, help="Env steps of SAC.")] = 100_000,
    every: Annotated[int, typer.Option(min=1, help="Env steps between the policies that are kept.")] = 20_000,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes by which a policy is measured, sampled.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the learning.")] = 0,
) -> None:
    """Train SAC on a task of dm_control's by its state, and keep the policies it has on its way."""
    require_devices()
    task = find(name)
    agent = settings("sac", task, 0, env_steps).agent
    prepared = Prepared(None, Normalizer.identity(task.observation_shape), reward_scale=1.0, reward_shift=0.0)
    trainer = Trainer(agent.phases(0, env_steps), task, prepared, which_seeds([seed]))
    folder, measured = EMBEDDED / task.subject, []
    while not trainer.finished:
        if trainer.done >= length(trainer.current):
            trainer.next_phase()
        trainer.start(min(every - trainer.env_steps % every, length(trainer.current) - trainer.done))()
        if trainer.env_steps % every == 0:
            path = folder / f"{trainer.env_steps:06d}.npz"
            _write(path, _first(trainer.policies()), np.float16)
            policy = behaviour.read_actor(path, "relu", squash=True)
            returns = np.array([episode.rewards for episode in play(make_environment(task), policy, episodes)])
            measured.append({"env_steps": trainer.env_steps, "return": returns.mean(), "deviation": returns.std()})
            _write_table(folder / RETURNS, measured, "%.1f")
            terminal().print(f"{trainer.env_steps:,} env steps: {returns.mean():.0f} ± {returns.std():.0f}")
    trainer.close()


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
    """Distil the walker behind D4RL's AntMaze data, on its ways between any two cells of its mazes."""
    require_devices()
    anywhere = [find(f"antmaze-{maze}-diverse-v2") for maze in ("umaze", "medium", "large")]
    judged = [find(name) for name in ("antmaze-umaze-v2", "antmaze-medium-play-v2", "antmaze-large-play-v2")]
    with Display(terminal()) as display:
        _distil(anywhere, policies, display, (256, 256), rounds, episodes, updates, seed)
        _compare(judged, policies, measured, _reached)


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
    require_devices()
    for task in expand(",".join(f"{name}-expert-v1" for name in names.split(","))):
        with Display(terminal()) as display:
            _distil([task], policies, display, (128, 128), rounds, episodes, updates, seed)
            _compare([task], policies, measured, _returned)


def _distil(
    tasks: list[Task],
    policies: Path | None,
    display: Display,
    hidden: tuple[int, ...],
    rounds: int,
    episodes: int,
    updates: int,
    seed: int,
) -> None:
    """Let a network learn to act as the policy of the tasks' recipe does, and write it where `embedded` reads it."""
    teacher, student = _actor(tasks[0], policies, "recipe"), _actor(tasks[0], None, "embedded")
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
    learned = distill(network, show, hidden=hidden, rounds=rounds, updates=updates, seed=seed, tell=display.say)
    layers = {
        f"layer{number}": {"kernel": kernel, "bias": bias} for number, (kernel, bias) in enumerate(learned.weights)
    }
    outputs = np.ones_like(layers[f"layer{len(hidden)}"]["bias"])
    normalizer = {"in_shift": learned.mean, "in_scale": learned.std, "out_shift": 0.0 * outputs, "out_scale": outputs}
    _write(student.path, layers, np.float16, **jax.tree.map(np.float32, normalizer))


def _actor(task: Task, policies: Path | None, source: str) -> Actor:
    """Return the one policy of the task's plan."""
    ((actor, _),) = plan(task, policies, source)
    assert isinstance(actor, Actor)
    return actor


def _compare(tasks: list[Task], policies: Path | None, episodes: int, judge: Callable[[list[Episode]], Row]) -> None:
    """Write what comes of the teacher's and of the student's episodes, which begin with the same seeds."""
    rows: list[Row] = []
    for task in tasks:
        for who, source in (("teacher", "recipe"), ("student", "embedded")):
            actor = _actor(task, policies, source)
            played = list(play(make_environment(task), actor.read(task), episodes))
            judged = judge(played)
            rows.append({"task": task.name, "policy": who, "episodes": episodes, **judged})
            told = ", ".join(f"{name} {value:.2f}" for name, value in judged.items())
            terminal().print(f"{task.name}, {who}: {told}", highlight=False)
    _write_table(actor.path.with_suffix(".csv"), rows, "%.2f")


def _reached(played: list[Episode]) -> Row:
    """Return the share of episodes that reached their goal, and how many env steps those took on average, if any."""
    steps = [episode.steps for episode in played if episode.rewards]
    return {"reached": len(steps) / len(played), "steps": pd.Series(steps, dtype=float).mean()}


def _returned(played: list[Episode]) -> Row:
    """Return the mean and the deviation of the returns, and the share of episodes that succeeded."""
    returns = [episode.rewards for episode in played]
    success = np.mean([episode.successes > 0 for episode in played])
    return {"return": np.mean(returns), "deviation": np.std(returns), "success": success}


def _first(actor: dict[str, Any]) -> dict[str, Any]:
    """Return the first seed's layers."""
    return jax.tree.map(lambda leaf: leaf[0], actor)


def _write(path: Path, layers: dict[str, Any], kind: type, **beside: np.ndarray) -> None:
    """Write an actor as `behaviour.read_actor` reads it."""
    arrays: dict[str, Any] = dict(beside)
    for layer, leaves in sorted(jax.tree.map(lambda leaf: np.asarray(leaf, kind), layers).items()):
        arrays[f"{layer}.weight"], arrays[f"{layer}.bias"] = leaves["kernel"].T, leaves["bias"]
    with whole(path) as partial:
        np.savez_compressed(partial, **arrays)
    terminal().print(f"written: {path.name}, {path.stat().st_size / 1000:.0f} kB", highlight=False)


def _write_table(path: Path, rows: list[Row], precision: str) -> None:
    """Write what was measured of policies beside them."""
    with whole(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False, float_format=precision)


if __name__ == "__main__":
    app()
