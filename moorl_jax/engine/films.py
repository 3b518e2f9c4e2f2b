"""Films of policies: an episode, drawn through a camera, as mp4 or gif."""

import importlib
import itertools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from moorl_jax.divergence import finite
from moorl_jax.engine.evaluation import STREAM
from moorl_jax.engine.keys import episode_start
from moorl_jax.engine.policy import Policy
from moorl_jax.errors import MoorlError, NotAvailableError
from moorl_jax.tasks.camera import filmed
from moorl_jax.whole import whole

SUFFIXES = (".mp4", ".gif")
RATE = 30  #: frames a second, or as many as there are env steps where these are fewer


def film(policy: Policy, seed: int, round_: int, path: Path) -> None:
    """Write the first episode of a seed in an evaluation of number `round_`; the greedy policy plays it.

    Raises MoorlError for another suffix than SUFFIXES and for a seed that has diverged, NotAvailableError where this
    machine cannot render, or a package is missing.
    """
    imageio = _imageio(path)
    with filmed(policy.task) as (environment, frame), whole(path) as partial:
        seconds = _seconds_a_step(environment)
        every = max(1, round(1 / (RATE * seconds)))
        milliseconds = 1000 * every * seconds
        how: dict[str, Any] = {"duration": milliseconds, "loop": 0}
        if path.suffix == ".mp4":
            how = {"fps": 1000 / milliseconds}
        with warnings.catch_warnings(), imageio.get_writer(partial, **how) as writer:
            # JAX warns of ffmpeg's process, though it runs no Python.
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            observation, _ = environment.reset(seed=episode_start(STREAM, seed, round_, 0))
            queue: list[np.ndarray] = []
            for step in itertools.count():
                if step % every == 0:
                    writer.append_data(frame())
                queue = queue or list(policy.ahead(observation, seed))
                action = queue.pop(0)
                if not finite(action):
                    raise MoorlError(f"seed {seed} has diverged: its policy cannot be filmed")
                observation, _, terminal, timeout, _ = environment.step(action)
                if terminal or timeout:
                    break


def _seconds_a_step(environment: Any) -> float:
    """Return how long an env step takes in the simulator, or should take to whoever looks at it."""
    if not hasattr(environment.unwrapped, "data"):
        return float(1 / environment.metadata.get("render_fps", RATE))
    environment.reset(seed=0)
    began = environment.unwrapped.data.time
    environment.step(np.zeros(environment.action_space.shape, np.float32))
    return float(environment.unwrapped.data.time - began)


def _imageio(path: Path) -> Any:
    """Return the library that writes films; raise MoorlError for a suffix that it is not used for."""
    if path.suffix not in SUFFIXES:
        raise MoorlError(f"{path}: films end in {' or '.join(SUFFIXES)}")
    try:
        if path.suffix == ".mp4":
            importlib.import_module("imageio_ffmpeg")
        return importlib.import_module("imageio.v2")
    except ModuleNotFoundError as error:
        raise NotAvailableError(f"films need {error.name}: pip install 'moorl_jax[video]'") from error
