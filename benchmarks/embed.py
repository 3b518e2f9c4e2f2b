"""`python -m benchmarks.embed`: make the small behaviour policies that the package carries.

`hopper` is what `make bench` builds its dataset from: a clone of a recipe's dataset with a fixed spread. `control` are
the policies that are filmed for V-D4RL's tasks: those that SAC has on its way, learning from the state.
"""

from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pandas as pd
import typer

from moorl_jax.agents import BC
from moorl_jax.cli import PoliciesOption, guarded
from moorl_jax.data import Normalizer, Prepared, behaviour, load
from moorl_jax.data.plans import EMBEDDED, RETURNS
from moorl_jax.engine.devices import require_devices
from moorl_jax.engine.trainer import Trainer, length
from moorl_jax.engine.training import train, which_seeds
from moorl_jax.progress import Display, terminal
from moorl_jax.settings import settings
from moorl_jax.tasks import Task, find, make_environment
from moorl_jax.whole import whole

SPREAD = 0.25  #: std of the hopper's action before tanh; enough to vary the episodes, little enough to hop on

app = typer.Typer(add_completion=False)


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
    _write(EMBEDDED / "hopper.npz", run.states.actor.params, np.float32, log_std=log_std)


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
            _write(path, trainer.policies(), np.float16)
            returns = _measure(path, task, episodes)
            measured.append({"env_steps": trainer.env_steps, "return": returns.mean(), "deviation": returns.std()})
            with whole(folder / RETURNS) as partial:
                pd.DataFrame(measured).to_csv(partial, index=False, float_format="%.1f")
            terminal().print(f"{trainer.env_steps:,} env steps: {returns.mean():.0f} ± {returns.std():.0f}")
    trainer.close()


def _measure(path: Path, task: Task, episodes: int) -> np.ndarray:
    """Return the returns of a policy as a recipe rolls it out."""
    environment, policy = make_environment(task), behaviour.read_actor(path, "relu", squash=True)
    rng, returns = np.random.default_rng(0), np.zeros(episodes)
    for episode in range(episodes):
        observation, _ = environment.reset(seed=episode)
        over = False
        while not over:
            observation, reward, terminal_, timeout, _ = environment.step(policy.act(observation, rng)[0])
            returns[episode] += float(reward)
            over = terminal_ or timeout
    environment.close()
    return returns


def _write(path: Path, actor: dict[str, Any], kind: type, **beside: np.ndarray) -> None:
    """Write the first seed's actor as `behaviour.read_actor` reads it."""
    arrays: dict[str, Any] = dict(beside)
    for layer, leaves in sorted(jax.tree.map(lambda leaf: np.asarray(leaf[0], kind), actor).items()):
        arrays[f"{layer}.weight"], arrays[f"{layer}.bias"] = leaves["kernel"].T, leaves["bias"]
    with whole(path) as partial:
        np.savez_compressed(partial, **arrays)
    terminal().print(f"written: {path.name}, {path.stat().st_size / 1000:.0f} kB", highlight=False)


if __name__ == "__main__":
    app()
