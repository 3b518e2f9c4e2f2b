"""A seed's random keys: a stream for each use, and in it a key for each number, whatever else has been drawn."""

import jax
import numpy as np

from moorl_jax.types import Array

INITIAL, UPDATES, ACTIONS, SWITCHES, RULES = range(5)
"""Streams: the networks' first values; updates, by their number; actions, by the env step; switches and reviews, and
sampling rules as they begin, by the number of the phase."""


def stream(seed: int, use: int) -> Array:
    """Return a seed's key for a use; fold a number into it for the key of that number."""
    return jax.random.fold_in(jax.random.key(seed), use)


def episode_start(*entropy: int) -> int:
    """Return the number that an episode's simulator is reset with, given a stream, a seed and the episode's numbers."""
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])
