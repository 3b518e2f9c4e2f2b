"""Run a sweep's cells in parallel: in processes on this machine, or on a Ray cluster."""

import os
import queue
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console

from moorl_jax.data import Dataset, load
from moorl_jax.engine.devices import use_all_cores
from moorl_jax.engine.results import NO_SOURCE
from moorl_jax.errors import MoorlError, NotAvailableError, UnknownNameError
from moorl_jax.processes import WORKERS
from moorl_jax.progress import Display
from moorl_jax.sweeps.cells import Cell
from moorl_jax.sweeps.runner import InTurn, Job, Launcher, Outcome, attempt, collect, sweep

LAUNCHERS = ("local", "ray")
HERE = Path(__file__).parents[2]
# Environment variables that a cluster's workers take over: where data lies, how JAX computes.
FORWARDED = ("D4RL_", "JAX_", "MINARI_", "MOORL_", "MUJOCO_", "VD4RL_")
# Processes share an accelerator; by default the first one would reserve three quarters of its memory.
SHARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def outcomes_of(
    cells: list[Cell],
    directory: Path,
    policies: Path | None,
    console: Console,
    launcher: str,
    parallel: int,
    gpus: float,
    as_finished: bool,
    resume_anyway: bool,
) -> list[Outcome]:
    """Return the outcome of each cell: trained by the launcher, or with `as_finished` only read."""
    if as_finished:
        outcomes = collect(cells, directory)
        for outcome in outcomes:
            if outcome.fault:
                print(f"left out: {outcome.cell.task.name} {outcome.cell.label}: {outcome.fault}", file=sys.stderr)
        return outcomes
    with Display(console) as display, launching(launcher, parallel, gpus, display) as where:
        return sweep(cells, directory, policies, display, where, resume_anyway)


def check_choice(name: str, parallel: int, gpus: float) -> None:
    """Raise UnknownNameError, or MoorlError for what is another launcher's choice."""
    if name not in LAUNCHERS:
        raise UnknownNameError("launcher", name, LAUNCHERS)
    if name == "ray" and parallel > 1:
        raise MoorlError("the Ray cluster decides how many cells run at a time: leave out --parallel")
    if name != "ray" and gpus:
        raise MoorlError("--gpus needs --launcher ray; processes on this machine share its GPUs")


@contextmanager
def launching(name: str, parallel: int, gpus: float, display: Display) -> Iterator[Launcher]:
    """Open the named launcher for `parallel` cells at a time. Jobs still running when it closes are stopped.

    Raises as `check_choice` does, or NotAvailableError where there is no cluster.
    """
    check_choice(name, parallel, gpus)
    if name == "ray":
        with OnRay(gpus, display) as cluster:
            yield cluster
    elif parallel > 1:
        with InProcesses(parallel, display) as processes:
            yield processes
    else:
        yield InTurn(display)


class InProcesses:
    """Runs several jobs at a time, each in a new process with its share of the cores.

    If a process dies, say for lack of memory, only its cell fails.
    """

    def __init__(self, count: int, display: Display):
        self.at_once = count
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
        self._display = display
        self._threads = ThreadPoolExecutor(count)
        self._shares: queue.SimpleQueue[set[int]] = queue.SimpleQueue()
        for place in range(count):
            self._shares.put(set(cores[place::count]) or {cores[place % len(cores)]})
        self._running: set[Any] = set()
        self._stopped = ""  # why, once it is

    def __enter__(self) -> "InProcesses":
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in tuple(self._running):
            process.terminate()

    def submit(self, job: Job, dataset: Dataset | None) -> "Future[str]":
        """Run the job as soon as a process is free. It reads its data itself."""
        return self._threads.submit(self._watch, job)

    def stop(self, why: str) -> None:
        """Stop the jobs that run and start no other: all that are left end with `why` as what went wrong."""
        self._stopped = why
        for process in tuple(self._running):
            process.terminate()

    def _watch(self, job: Job) -> str:
        share = self._shares.get()
        if self._stopped:
            self._shares.put(share)
            return self._stopped
        ours, theirs = WORKERS.Pipe(duplex=False)
        process = WORKERS.Process(target=_work, args=(job, share, theirs), daemon=True)
        report = self._display.training(job.label)
        fault = None
        try:
            process.start()
            self._running.add(process)
            if self._stopped:  # meanwhile
                process.terminate()
            theirs.close()  # the pipe must close when the process ends
            while fault is None:
                kind, news = ours.recv()
                if kind == "report":
                    report(news)
                elif kind == "warning":
                    self._display.warn(news)
                else:
                    fault = news
        except (EOFError, OSError) as error:  # it ended, perhaps in the middle of a message, or could not be started
            if process.pid is None:
                return f"could not start a process: {error}"
            process.join()
            fault = self._stopped or f"its process died, exit status {process.exitcode}"
        finally:
            self._running.discard(process)
            self._shares.put(share)
            self._display.clear(job.label)
        return fault


class OnRay:
    """Runs jobs as tasks of a running Ray cluster whose nodes share this machine's file system.

    If a worker dies, only its cell fails.
    """

    def __init__(self, gpus: float, display: Display):
        try:
            import ray
            from ray.util.queue import Queue
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
        except ModuleNotFoundError as error:
            raise NotAvailableError(f"this needs Ray: pip install 'moorl_jax[ray]' ({error})") from error
        self._ray, self._display = ray, display
        try:
            forwarded = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
            environment = {"env_vars": forwarded | {"PYTHONPATH": str(HERE), "XLA_FLAGS": _one_core()} | SHARING}
            ray.init(address="auto", runtime_env=environment, log_to_driver=False, configure_logging=False)
        except ConnectionError as error:
            raise NotAvailableError("no Ray cluster is running here; `ray start --head` starts one") from error
        room = ray.cluster_resources()
        self.at_once = int(room.get("GPU", 0) / gpus if gpus else room.get("CPU", 1)) or 1
        self._work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_work_on_ray)
        # The queue lives on the driver's node: on another node, its loss would end every cell.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._news = Queue(actor_options={"scheduling_strategy": here})
        self._reports: dict[str, Any] = {}
        self._ended: set[str] = set()
        self._talking = threading.Lock()  # messages may arrive after their job has ended
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> "OnRay":
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def submit(self, job: Job, dataset: Dataset | None) -> "Future[str]":
        """Run the job as soon as the cluster has room for it. It reads its data itself."""
        working, done = self._work.remote(job, Path.cwd(), self._news).future(), Future[str]()

        def ended(working: "Future[str]") -> None:
            with self._talking:
                self._ended.add(job.label)
                if job.label in self._reports:
                    self._display.clear(job.label)
            error = working.exception()
            done.set_result(f"its worker died: {error}" if error else working.result())

        working.add_done_callback(ended)
        return done

    def _listen(self) -> None:
        while True:
            try:
                label, kind, news = self._news.get()
            except self._ray.exceptions.RayError:  # the launcher is closed
                return
            if kind == "warning":
                self._display.warn(news)
                continue
            with self._talking:
                if label in self._ended:
                    continue
                if label not in self._reports:
                    self._reports[label] = self._display.training(label)
                self._reports[label](news)


def _one_core() -> str:
    """Return XLA's flags for a job with one core of a node; without them it would use all cores."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()


def _work(job: Job, cores: set[int], news: Connection) -> None:
    """Run a job in this process, on these cores."""
    if hasattr(os, "sched_setaffinity"):  # not on a Mac
        os.sched_setaffinity(0, cores)
    use_all_cores()
    os.environ |= SHARING
    news.send(("ended", _run(job, lambda kind, message: news.send((kind, message)))))


def _work_on_ray(job: Job, here: Path, news: Any) -> str:
    """Run a job in this process, in the sweep's working directory."""
    os.chdir(here)
    return _run(job, lambda kind, message: news.put((job.label, kind, message)))


def _run(job: Job, send: Any) -> str:
    """Read a job's data and run it; return what went wrong, or nothing."""
    cell = job.cells[0]

    def data() -> Dataset | None:
        return None if cell.source == NO_SOURCE else load(cell.task, cell.source, job.policies)

    return attempt(job, data, lambda report: send("report", report), lambda warning: send("warning", warning))
