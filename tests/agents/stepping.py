"""One update, compiled once for all configs of an agent's class and the same shapes."""

import functools

import jax

_jit = functools.cache(jax.jit)


def step(update, state, batch, draws):
    """Perform `update`, a method of an agent, whose numbers are arguments of the program."""
    return _jit(update.__func__)(update.__self__, state, batch, draws)
