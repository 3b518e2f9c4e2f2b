"""Simulators in processes of their own, for all whose Python code would hold one interpreter."""

import os
import subprocess
import sys
import traceback
import warnings
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from moorl_jax.errors import MoorlError
from moorl_jax.tasks.catalogue import Task
from moorl_jax.tasks.environments import make_environment
from moorl_jax.tasks.stepping import Environments, InTurn, Steps

SERVE = "import sys; from moorl_jax.tasks.workers import serve; serve(int(sys.argv[1]))"


class InProcesses(Environments):
    """Simulators dealt out over worker processes, which step their shares side by side.

    Observations come back through the pipes, images too: they take a hundredth of the time in which they are drawn.
    Workers are not multiprocessing's, which would import the user's script and could not be started by a process that
    is a daemon. They end when their pipe does, whatever becomes of this process.
    """

    def __init__(self, task: Task, count: int, as_data: bool, processes: int):
        """Raise what `make_environment` raises."""
        self._workers = [_Worker() for _ in range(processes)]
        shares = [len(range(first, count, processes)) for first in range(processes)]
        for worker, share in zip(self._workers, shares, strict=True):
            worker.ask("make", task, share, as_data)
        try:
            _answers(self._workers)
        except BaseException:
            self.close()
            raise

    def reset(self, places: np.ndarray, seeds: list[int]) -> np.ndarray:
        """Begin an episode in each place."""
        parts, order = self._share("reset", places, np.array(seeds))
        return np.concatenate(parts)[order]

    def step(self, places: np.ndarray, actions: np.ndarray) -> Steps:
        """Take an env step in each place."""
        parts, order = self._share("step", places, actions)
        return Steps(*(np.concatenate(columns)[order] for columns in zip(*parts, strict=True)))

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


class _Worker:
    """A process that does what it is asked for, seen from the one that asks."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", SERVE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C is for this process alone
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},  # to import this very package
            )

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


def _answers(workers: list[_Worker]) -> list[Any]:
    """Return the workers' answers; raise the first error once all have answered."""
    answers = [worker.answer() for worker in workers]
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def serve(descriptor: int) -> None:
    """Be a worker: call what the pipe of that file descriptor asks for, until it ends."""
    pipe, simulators = Connection(descriptor), InTurn([])
    told: list[tuple[str, type[Warning]]] = []

    def tell(message: Warning | str, category: type[Warning], *_: Any) -> None:
        told.append((str(message), category))

    warnings.showwarning = tell  # type: ignore[assignment]
    with suppress(EOFError, ConnectionError):
        while True:
            method, arguments = pipe.recv()
            answer: Any = None
            try:
                if method == "make":
                    task, count, as_data = arguments
                    simulators = InTurn([make_environment(task, as_data) for _ in range(count)])
                else:
                    answer = getattr(simulators, method)(*arguments)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            pipe.send((answer, told))
            told.clear()
    simulators.close()
