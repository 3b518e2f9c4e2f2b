"""How processes end: commands at their first signal, with one line; workers together with their parent."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import resource_tracker, util
from multiprocessing.context import SpawnContext, SpawnProcess

HEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 2.0  #: seconds for the last message: a pipe that nobody reads would block forever


def heed_signals() -> None:
    """End this process at Ctrl-C, SIGTERM or a hang-up, at once, with one line and exit status 128 + the signal.

    Call it in the main thread, before slow imports. Python itself handles a signal only between two byte codes of its
    main thread, not during a compilation or a compiled call, and then waits for all threads. Here a thread of its own
    receives the signal and ends the process. Nothing needs saving, because files get their names only when complete.
    A signal that is already ignored, as under `nohup`, stays ignored.
    """
    hearing, telling = os.pipe()
    os.set_blocking(telling, False)

    def tell(number: int, _: object) -> None:
        os.write(telling, bytes([number]))

    for number in HEEDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, tell)  # while an event loop, such as Orbax's, owns the descriptor
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
    os._exit(128 + number)  # right after: a sweep that saw its workers die first would record its cells as failed


def _end(by: signal.Signals) -> None:
    """Print the last message, silence everything else, and clean up."""
    with contextlib.suppress(OSError):  # a closed pipe
        if sys.__stdout__:
            sys.__stdout__.flush()
    out, error, silence = os.dup(1), os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    with contextlib.suppress(OSError):  # a terminal that has hung up
        if os.isatty(out):
            os.write(out, b"\x1b[?25h\n")  # show the cursor again, which a bar hides
        os.write(error, f"stopped by {by.name}; give the command again to resume from the last checkpoint\n".encode())
    # multiprocessing's tracker would complain about the workers' semaphores
    util._run_finalizers(0)  # type: ignore[attr-defined]


class Worker(SpawnProcess):
    """A worker process: it ignores Ctrl-C, and ends when its parent does, for whatever reason."""

    def start(self) -> None:
        """Start the process; Ctrl-C goes to its parent alone from the start."""
        resource_tracker.ensure_running()  # here, because starting unblocks what is blocked below
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self) -> None:
        """Work, and exit as soon as the parent is gone."""
        threading.Thread(target=_follow, args=(multiprocessing.parent_process(),), daemon=True).start()
        super().run()


def _follow(parent: "multiprocessing.process.BaseProcess") -> None:
    parent.join()
    os._exit(1)


class _Workers(SpawnContext):
    Process = Worker


WORKERS = _Workers()  #: how workers start: a fork of a process that has used JAX or a renderer may hang
