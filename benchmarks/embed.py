"""`python -m benchmarks.embed`: make the small behaviour policy that the package carries.

It clones a recipe's dataset by our own BC and adds a fixed spread, so that `make bench` can build its dataset from
nothing but this package.
"""

from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer

from moorl_jax.agents import BC
from moorl_jax.cli import PoliciesOption, guarded
from moorl_jax.data import load, recipe
from moorl_jax.engine.training import train
from moorl_jax.progress import Display, terminal
from moorl_jax.tasks import find

SPREAD = 0.25  #: std of the action before tanh; enough to vary the episodes, little enough to hop on


@guarded
def embed(
    policies: PoliciesOption = None,
    updates: Annotated[int, typer.Option(min=1, help="BC updates.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of the cloning.")] = 0,
) -> None:
    """Clone hopper-medium's recipe data and write the policy into the package."""
    task = find("hopper-medium-v2")
    with Display(terminal()) as display:
        dataset = load(task, "recipe", policies, display.data(task.name))
        # Raw observations: the policy must act without a normalizer beside it.
        run = train(BC(), task, seeds=[seed], updates=updates, dataset=dataset, report=display.training("bc"))
    actor = jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float32), run.states.actor.params)
    arrays = {}
    for layer, leaves in sorted(actor.items()):
        arrays[f"{layer}.weight"], arrays[f"{layer}.bias"] = leaves["kernel"].T, leaves["bias"]
    path = Path(recipe.__file__).parent / "embedded" / "hopper.npz"
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, log_std=np.full(task.action_size, np.log(SPREAD), np.float32), **arrays)
    terminal().print(f"written: {path.name}, {path.stat().st_size / 1000:.0f} kB", highlight=False)


if __name__ == "__main__":
    typer.run(embed)
