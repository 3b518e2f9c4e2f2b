"""How processes end: a command by its first signal, at once and with one line; workers with the one they work for."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import resource_tracker, util
from multiprocessing.context import SpawnContext, SpawnProcess

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 2.0  #: seconds that last words may take: a pipe that nobody reads would take them for ever


def heed_signals() -> None:
    """Let Ctrl-C, SIGTERM and a hang-up end this process at once, with one line and exit status 128 + the signal.

    Call it in the main thread, before anything that takes long to import. Python itself would hear a signal only
    between two steps of its main thread, not amid a compilation or a compiled call, and then wait for every thread.
    Here a thread of its own hears it, and ends the process under the others. Nothing need be saved: what is written
    gets its name once it is whole. A signal that is ignored already, as under `nohup`, stays so.
    """
    hearing, telling = os.pipe()
    os.set_blocking(telling, False)

    def tell(number: int, _: object) -> None:
        os.write(telling, bytes([number]))

    for number in HEEDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, tell)  # for as long as an event loop, such as Orbax's, has the descriptor to itself
    signal.set_wakeup_fd(telling)
    threading.Thread(target=_listen, args=(hearing,), daemon=True).start()


def _listen(hearing: int) -> None:
    while (number := os.read(hearing, 1)[0]) not in HEEDED:
        pass
    last = threading.Thread(target=_end, args=(signal.Signals(number),), daemon=True)
    last.start()
    last.join(PATIENCE)
    for worker in multiprocessing.active_children():
        worker.kill()
    os._exit(128 + number)  # right after: a sweep that finds its workers lost would write that its cells had failed


def _end(by: signal.Signals) -> None:
    """Say the last words, after which nobody else has a say, and tidy up."""
    with contextlib.suppress(OSError):  # of a pipe that has been closed
        sys.__stdout__.flush()  # type: ignore[union-attr]
    out, error, silence = os.dup(1), os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    with contextlib.suppress(OSError):  # of a terminal that has hung up
        if os.isatty(out):
            os.write(out, b"\x1b[?25h\n")  # the cursor, which a bar hides
        os.write(error, f"stopped by {by.name}; given again, a training goes on from its last checkpoint\n".encode())
    # Of the workers' semaphores, which multiprocessing's tracker would complain of.
    util._run_finalizers(0)  # type: ignore[attr-defined]


class Worker(SpawnProcess):
    """A process that works for this one: deaf to Ctrl-C, it ends when this one does, whatever the cause."""

    def start(self) -> None:
        """Start the process; from its first moment on, Ctrl-C is for the one it works for."""
        resource_tracker.ensure_running()  # here, for its start unblocks what is blocked below
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self) -> None:
        """Work, and end amid it when the other process is gone."""
        threading.Thread(target=_follow, args=(multiprocessing.parent_process(),), daemon=True).start()
        super().run()


def _follow(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


class _Workers(SpawnContext):
    Process = Worker


WORKERS = _Workers()  #: starts them; a fork of a process that has used JAX, or a renderer, may hang
