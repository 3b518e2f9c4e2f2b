"""Whole runs: all updates with their evaluations, from nothing to the last score, and where the wall-clock goes."""

import tempfile
import time

import jax
from jax.experimental.compilation_cache import compilation_cache

from moorl_jax.data import Dataset, load
from moorl_jax.engine.training import train
from moorl_jax.tasks import find

TASK = "hopper-medium-v2"
AGENTS_MEASURED = ("td3_bc", "iql", "cql")
UPDATES = {"cpu": 2_000}  #: of each seed; elsewhere 100,000
COSTLY = {"cql": 20}  #: agents that run for as many times fewer, on a CPU
USES = ("compile", "update", "evaluate")


def measure(name: str, count: int, dataset: Dataset) -> dict[str, float]:
    """Return the seconds that a run of so many seeds takes, in all and by use, with no program kept from before.

    `evaluate` is what updates waited for. Also how long it takes once its programs are kept.
    """
    with tempfile.TemporaryDirectory() as programs:
        before = jax.config.values["jax_compilation_cache_dir"]
        _keep_in(programs)
        cold, warm = (_seconds(name, count, dataset) for _ in range(2))
        _keep_in(before)
    return cold | {f"{use}, programs kept": warm[use] for use in ("in all, s", "compile, s")}


def data() -> Dataset:
    """Return the dataset that all are trained on."""
    return load(find(TASK), "embedded")


def _seconds(name: str, count: int, dataset: Dataset) -> dict[str, float]:
    updates = UPDATES.get(jax.default_backend(), 100_000)
    if jax.default_backend() == "cpu":
        updates //= COSTLY.get(name, 1)
    jax.clear_caches()
    began = time.perf_counter()
    run = train(name, TASK, seeds=count, updates=updates, dataset=dataset, progress=False)
    wall = time.perf_counter() - began
    spent = {use: run.seconds.get(use, 0.0) for use in USES}
    spent |= {"other": wall - sum(spent.values())}
    return {"updates": updates, "in all, s": wall, **{f"{use}, s": seconds for use, seconds in spent.items()}}


def _keep_in(directory: str | None) -> None:
    jax.config.update("jax_compilation_cache_dir", directory)
    compilation_cache.reset_cache()
