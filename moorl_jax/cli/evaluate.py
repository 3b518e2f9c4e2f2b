"""`moorl-jax eval`."""

from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer
from rich.table import Table

from moorl_jax.cli.options import (
    EnvOption,
    EnvPackageOption,
    HorizonOption,
    ScoreOption,
    TrustOption,
    guarded,
    own_task,
)
from moorl_jax.divergence import OverSeeds
from moorl_jax.engine import films, results
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.engine.policy import Policy
from moorl_jax.engine.training import evaluate
from moorl_jax.errors import MoorlError
from moorl_jax.progress import terminal
from moorl_jax.tasks import Task

console = terminal()


@guarded
def eval_command(
    directory: Annotated[Path, typer.Argument(metavar="RESULT_DIR", help="What `train` or `bench` wrote.")],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes per seed; 100 by default, of images 10.")
    ] = None,
    round_: Annotated[int, typer.Option("--round", help="Another number, other starts of the episodes.")] = 1_000_000,
    video: Annotated[
        Path | None,
        typer.Option(
            help="Film an episode of each seed too, .mp4 or .gif; of several seeds as NAME-seed-0.mp4 and so on."
        ),
    ] = None,
    trust: TrustOption = False,
    env: EnvOption = None,
    env_package: EnvPackageOption = "",
    horizon: HorizonOption = None,
    score: ScoreOption = None,
) -> None:
    """Evaluate the final policies of a result again, by --env in another environment of your own."""
    use_all_cores()
    result = results.read(directory)
    task = own_task(env, env_package, horizon, score) or _trusted(result.task, trust)
    if (task.observation_shape, task.action_size) != (result.task.observation_shape, result.task.action_size):
        raise MoorlError(f"{directory}: its policies are of {result.task.name}, and do not fit {task.name}")
    episodes = episodes or (10 if task.pixels else 100)  # each is a simulator, and a renderer takes memory
    named, own, _ = result.config["agent"].rpartition(":")
    for file in (result.agent_files.values() or [named]) if trust and own else ():
        console.print(f"running the agent's file: {file}", highlight=False, soft_wrap=True)
    agent, normalizer, states = results.load_states(result, trust)
    seeds = tuple(result.config["seeds"])
    policies = jax.device_get(jax.vmap(agent.policy)(states))
    played = evaluate(agent, task, normalizer, policies, seeds, episodes, round_)
    scores = np.array([task.score(value) for value in played.returns.mean(axis=1)])
    print_scores(f"{result.config['agent']} on {task.name}, {episodes} episodes", seeds, scores)
    if (rates := played.success_rates()) is not None:
        rate = OverSeeds.of(100 * rates)
        console.print(f"success rate: {rate.or_diverged(f'{rate.mean:.1f} %')}", highlight=False)
    if video:
        policy = Policy(agent, task, normalizer, policies, seeds)
        for seed in seeds:
            path = video if len(seeds) == 1 else video.with_stem(f"{video.stem}-seed-{seed}")
            films.film(policy, seed, round_, path)
            console.print(f"written: {path}", highlight=False)


def _trusted(task: Task, trust: bool) -> Task:
    """Return a result's task; raise MoorlError where its environment's package is not to be imported."""
    if task.package and not trust:
        raise MoorlError(f"{task.name} is of the package '{task.package}', which would be imported: --trust allows it")
    if task.package:
        console.print(f"importing the package '{task.package}' for {task.name}", highlight=False)
    return task


def print_scores(title: str, seeds: tuple[int, ...], scores: np.ndarray) -> None:
    """Print each seed's score, (seeds,), their mean and deviation."""
    table = Table(*(f"seed {seed}" for seed in seeds), "mean ± std")
    table.add_row(*(str(OverSeeds.of([score])) for score in scores), str(OverSeeds.of(scores)))
    console.print(title, highlight=False)
    console.print(table)
