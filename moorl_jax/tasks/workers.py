"""Simulators in processes of their own, for all whose Python code would hold the one interpreter.

Commands and what is small go through pipes, observations through memory that both sides map: forty images of 84 pixels
took 17 ms through pipes. Workers are not multiprocessing's, which would import the user's script once more, and which
a process that is a daemon may not start. They end when their pipe does, whatever becomes of the process that began it.
"""

import mmap
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from moorl_jax.errors import MoorlError
from moorl_jax.tasks.environments import make_environment
from moorl_jax.tasks.stepping import Environments, InTurn, Steps
from moorl_jax.tasks.task import Task

SERVE = "import sys; from moorl_jax.tasks.workers import serve; serve(*map(int, sys.argv[1:]))"
IN_MEMORY = Path("/dev/shm")  #: where Linux keeps files that are in no disk


class InProcesses(Environments):
    """Simulators dealt out over worker processes, which step their shares side by side."""

    def __init__(self, task: Task, count: int, as_data: bool, processes: int):
        """Raise what `make_environment` raises."""
        shares = [len(range(first, count, processes)) for first in range(processes)]
        self._workers = [_Worker(task, share, as_data) for share in shares]
        try:
            _answers(self._workers)
        except BaseException:
            self.close()
            raise

    def reset(self, places: np.ndarray, seeds: list[int]) -> np.ndarray:
        """Begin an episode in each place."""
        self._share("reset", places, np.array(seeds))
        return self._observations(places)

    def step(self, places: np.ndarray, actions: np.ndarray) -> Steps:
        """Take an env step in each place."""
        parts, order = self._share("step", places, actions)
        rest = (np.concatenate(columns)[order] for columns in zip(*parts, strict=True))
        return Steps(self._observations(places), *rest)

    def save(self, place: int) -> dict[str, np.ndarray]:
        """Return everything a simulator's future depends on."""
        saved: dict[str, np.ndarray] = self._one(place, "save")
        return saved

    def restore(self, place: int, saved: dict[str, np.ndarray]) -> None:
        """Go on in a place from where a simulator was saved."""
        self._one(place, "restore", saved)

    def close(self) -> None:
        """Close all simulators and end the workers."""
        for worker in self._workers:
            worker.close()

    def _share(self, method: str, places: np.ndarray, values: np.ndarray) -> tuple[list[Any], np.ndarray]:
        """Have a method called for each place and its value; return workers' answers, and the order to put them in."""
        whose, within = places % len(self._workers), places // len(self._workers)
        asked = [(worker, np.flatnonzero(whose == number)) for number, worker in enumerate(self._workers)]
        asked = [(worker, rows) for worker, rows in asked if len(rows)]
        for worker, rows in asked:
            worker.ask(method, within[rows], values[rows])
        order = np.argsort(np.concatenate([rows for _, rows in asked]))
        return _answers([worker for worker, _ in asked]), order

    def _one(self, place: int, method: str, *arguments: Any) -> Any:
        within, whose = divmod(place, len(self._workers))
        self._workers[whose].ask(method, within, *arguments)
        return _answers([self._workers[whose]])[0]

    def _observations(self, places: np.ndarray) -> np.ndarray:
        """Copy what was last seen in some places."""
        return np.stack([self._workers[p % len(self._workers)].seen[p // len(self._workers)] for p in places])


class _Worker:
    """A process that does what it is asked for, seen from the one that asks; it begins by making its simulators."""

    def __init__(self, task: Task, count: int, as_data: bool):
        self._pipe, theirs = Pipe()
        with theirs, tempfile.TemporaryFile(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as memory:
            self.seen = _mapped(memory.fileno(), task, count)
            descriptors = theirs.fileno(), memory.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", SERVE, *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,  # Ctrl-C is for the process that asks
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # to import this very package
            )
        self.ask("make", task, count, as_data)

    def ask(self, method: str, *arguments: Any) -> None:
        """Begin a call."""
        with suppress(BrokenPipeError):  # `answer` says that it has ended
            self._pipe.send((method, arguments))

    def answer(self) -> Any:
        """Wait for a call's end; return what it returned or raised, and warn as it warned."""
        try:
            answer, told = self._pipe.recv()
        except (EOFError, ConnectionError):
            status = self._process.wait()
            return MoorlError(f"a process of simulators died, exit status {status}; is there enough memory?")
        for message, category in told:
            warnings.warn(message, category, stacklevel=2)
        return answer

    def close(self) -> None:
        """Wait for the process to end."""
        self._pipe.close()
        self._process.wait()


def _mapped(descriptor: int, task: Task, count: int) -> np.ndarray:
    """Map a file of `count` observations of the task into memory."""
    kind = np.dtype(np.uint8 if task.pixels else np.float64)
    size = count * int(np.prod(task.observation_shape)) * kind.itemsize
    os.truncate(descriptor, size)
    return np.frombuffer(mmap.mmap(descriptor, size), kind).reshape(count, *task.observation_shape)


def _answers(workers: list[_Worker]) -> list[Any]:
    """Return the workers' answers; raise the first error once all have answered."""
    answers = [worker.answer() for worker in workers]
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


class _Share:
    """A worker's simulators, in the worker: the calls that it can be asked for."""

    def __init__(self, memory: int):
        self._memory, self._simulators = memory, InTurn([])

    def make(self, task: Task, count: int, as_data: bool) -> None:
        self._seen = _mapped(self._memory, task, count)
        self._simulators = InTurn([make_environment(task, as_data) for _ in range(count)])

    def reset(self, places: np.ndarray, seeds: np.ndarray) -> None:
        self._seen[places] = self._simulators.reset(places, seeds.tolist())

    def step(self, places: np.ndarray, actions: np.ndarray) -> list[np.ndarray]:
        self._seen[places], *rest = self._simulators.step(places, actions)
        return rest

    def save(self, place: int) -> dict[str, np.ndarray]:
        return self._simulators.save(place)

    def restore(self, place: int, saved: dict[str, np.ndarray]) -> None:
        self._simulators.restore(place, saved)

    def close(self) -> None:
        self._simulators.close()


def serve(commands: int, memory: int) -> None:
    """Be a worker: do what the pipe of that file descriptor asks for, until it ends."""
    pipe, share = Connection(commands), _Share(memory)
    told: list[tuple[str, type[Warning]]] = []

    def tell(message: Warning | str, category: type[Warning], *_: Any) -> None:
        told.append((str(message), category))

    warnings.showwarning = tell  # type: ignore[assignment]
    with suppress(EOFError, ConnectionError):
        while True:
            method, arguments = pipe.recv()
            try:
                answer = getattr(share, method)(*arguments)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            pipe.send((answer, told))
            told.clear()
    share.close()
