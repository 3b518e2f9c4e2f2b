"""Films of policies: an episode, drawn through a camera, as mp4 or gif."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from moorl_jax.divergence import finite
from moorl_jax.engine.evaluation import STREAM
from moorl_jax.engine.keys import episode_start
from moorl_jax.engine.policy import Policy
from moorl_jax.errors import MoorlError, NotAvailableError
from moorl_jax.tasks import make_environment
from moorl_jax.tasks.camera import Camera
from moorl_jax.whole import whole

SUFFIXES = (".mp4", ".gif")
RATE = 30  #: frames a second, or as many as there are env steps where these are fewer


def film(policy: Policy, seed: int, round_: int, path: Path) -> None:
    """Write the first episode of a seed in an evaluation of number `round_`; the greedy policy plays it.

    Raises MoorlError for another suffix than SUFFIXES and for a seed that has diverged, NotAvailableError where this
    machine cannot render, or a package is missing.
    """
    imageio = _imageio(path)
    environment = make_environment(policy.task)
    with Camera(policy.task, environment) as camera, whole(path) as partial:
        observation, _ = environment.reset(seed=episode_start(STREAM, seed, round_, 0))
        began, simulator = _clock(environment), _played(policy, seed, environment, observation)
        first = camera.frame()
        next(simulator)
        every = max(1, round(1 / (RATE * (_clock(environment) - began))))
        rate = 1 / (every * (_clock(environment) - began))
        how: dict[str, Any] = {"duration": 1000 / rate, "loop": 0} if path.suffix == ".gif" else {"fps": rate}
        with imageio.get_writer(partial, **how) as writer:
            writer.append_data(first)
            for step, _ in enumerate(simulator, start=2):
                if step % every == 0:
                    writer.append_data(camera.frame())
    environment.close()


def _played(policy: Policy, seed: int, environment: Any, observation: np.ndarray) -> Iterator[None]:
    """Play an episode to its end, pausing after each step."""
    ended = False
    while not ended:
        action = policy(observation, seed)
        if not finite(action):
            raise MoorlError(f"seed {seed} has diverged: its policy cannot be filmed")
        observation, _, terminal, timeout, _ = environment.step(action)
        ended = terminal or timeout
        yield


def _clock(environment: Any) -> float:
    """Return the simulator's seconds."""
    return float(environment.unwrapped.data.time)


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
