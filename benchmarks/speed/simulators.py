"""Simulators of a task stepped together, beside as many stepped one after another, in alternating turns."""

import dataclasses
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from moorl_jax.agents import BC
from moorl_jax.data import Normalizer
from moorl_jax.engine.evaluation import Evaluator
from moorl_jax.tasks import Environments, InTurn, Task, find, make_environment, make_environments
from moorl_jax.types import Transitions

TASKS = ("hopper-medium-v2", "halfcheetah-medium-v2", "walker2d-medium-v2", "antmaze-umaze-v2", "pen-human-v1")
COUNTS = (1, 8, 40)
EVALUATED = ("halfcheetah-medium-v2", "antmaze-umaze-v2")  #: whose episodes last to the horizon, whatever the policy
SEEDS, EPISODES, HORIZON = 4, 10, 200
NUMBER = len(TASKS) * len(COUNTS) + len(EVALUATED)  #: of rows
TURNS = 9  #: of which the median counts
SECONDS = 0.3  #: that a turn lasts, at least


def rows() -> Iterator[dict[str, object]]:
    """Yield env steps a second of all simulators, one after another and together, and the ratio.

    It is the median of ratios of two turns side by side, for other work slows a machine from moment to moment.
    """
    for name in TASKS:
        for count in COUNTS:
            yield {"task": name, "simulators": str(count), **_compared(_acting, find(name), count)}
    for name in EVALUATED:
        task = dataclasses.replace(find(name), horizon=HORIZON)
        compared = _compared(_evaluating, task, SEEDS * EPISODES)
        yield {"task": name, "simulators": f"evaluation, {SEEDS} x {EPISODES}", **compared}


def _compared(way: Callable[[Task, Environments, int], Callable[[], int]], task: Task, count: int) -> dict[str, object]:
    """Use simulators of both kinds in a way: a function that returns how many env steps it has taken."""
    both = (InTurn([make_environment(task) for _ in range(count)]), make_environments(task, count))
    turns = [way(task, simulators, count) for simulators in both]
    for turn in turns:
        turn()  # compiles
    rates = np.array([[_rate(turn) for turn in turns] for _ in range(TURNS)])
    for simulators in both:
        simulators.close()
    in_turn, together = np.median(rates, axis=0)
    return {"one after another": in_turn, "together": together, "ratio": np.median(rates[:, 1] / rates[:, 0])}


def _rate(turn: Callable[[], int]) -> float:
    taken, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < SECONDS:
        taken += turn()
    return taken / seconds


def _acting(task: Task, simulators: Environments, count: int) -> Callable[[], int]:
    """Step all with random actions."""
    places, rng = np.arange(count), np.random.default_rng(0)
    simulators.reset(places, places.tolist())

    def step() -> int:
        taken = simulators.step(places, rng.uniform(-1.0, 1.0, (count, task.action_size)).astype(np.float32))
        ended = places[taken.terminals | taken.timeouts]
        if len(ended):
            simulators.reset(ended, ended.tolist())
        return count

    return step


def _evaluating(task: Task, simulators: Environments, count: int) -> Callable[[], int]:
    """Evaluate a policy that has learned nothing."""
    agent, size = BC(), task.observation_shape
    evaluator = Evaluator(task, Normalizer.identity(size), tuple(range(SEEDS)), EPISODES)
    evaluator.close()
    evaluator._simulators = simulators
    seen, action, number = jnp.zeros((1, *size)), jnp.zeros((1, task.action_size)), jnp.zeros(1)
    policy = agent.policy(agent.init(jax.random.key(0), Transitions(seen, action, number, seen, number)))
    policies = evaluator.snapshot(jax.tree.map(lambda leaf: jnp.stack([leaf] * SEEDS), policy))

    def evaluate() -> int:
        evaluator.evaluate(agent, policies, 0)
        return count * task.horizon

    return evaluate
