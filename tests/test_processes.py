"""Ctrl-C and the like end a command at once, whatever it is amid; its workers end with it."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.usefixtures("_heard")

PATIENCE = 10  #: seconds a process may take to end, on a busy machine
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}

COMMANDS = {
    "moorl_jax": "bench --dry-run",
    "benchmarks.embed": "robots",
    "benchmarks.evidence": "--dry-run",
    "benchmarks.fidelity": "",
    "benchmarks.regress": "",
    "benchmarks.speed": "",
}

# Each begins its work after "begun", and would be at it for minutes.
AMID = {
    "a compiled call": """
import jax, jax.numpy as jnp
long = jax.jit(lambda x: jax.lax.fori_loop(0, 10**9, lambda _, x: jnp.sin(x), x)).lower(jnp.ones(100)).compile()
print("begun", flush=True)
long(jnp.ones(100)).block_until_ready()
""",
    "a lane's compiled call": """
from concurrent.futures import ThreadPoolExecutor
import jax, jax.numpy as jnp
long = jax.jit(lambda x: jax.lax.fori_loop(0, 10**9, lambda _, x: jnp.sin(x), x)).lower(jnp.ones(100)).compile()
print("begun", flush=True)
ThreadPoolExecutor(1).submit(lambda: long(jnp.ones(100)).block_until_ready()).result()
""",
    "compilation": """
import jax, jax.numpy as jnp
def unrolled(x):
    for _ in range(20_000):
        x = jnp.sin(x) @ x
    return x
lowered = jax.jit(unrolled).lower(jnp.ones((3, 3)))
print("begun", flush=True)
lowered.compile()
""",
    "an event loop": """
import time, uvloop
print("begun", flush=True)
async def long():
    time.sleep(0.5)  # the loop has the wakeup descriptor by now
    while True:
        time.sleep(0.01)
uvloop.new_event_loop().run_until_complete(long())
""",
    "a write that nobody reads": """
print("begun", flush=True)
while True:
    print("more")
""",
}

WORKING = """
import sys, time
from concurrent.futures import ProcessPoolExecutor, wait
from moorl_jax.processes import WORKERS, heed_signals

def work(number):
    import jax, jax.numpy as jnp
    long = jax.jit(lambda x: jax.lax.fori_loop(0, 10**9, lambda _, x: jnp.sin(x), x)).lower(jnp.ones(100)).compile()
    print("begun", flush=True)
    long(jnp.ones(100)).block_until_ready()

if __name__ == "__main__":
    heed_signals()
    with ProcessPoolExecutor(2, WORKERS) as pool:
        working = [pool.submit(work, number) for number in range(2)]
        print("begun", flush=True)
        wait(working)
"""

IGNORING = """
import signal, time
from moorl_jax.processes import heed_signals
signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
heed_signals()
print("begun", flush=True)
time.sleep(1)
print("done")
"""

BAR = """
import time
from moorl_jax.processes import heed_signals
heed_signals()
from rich.progress import Progress
with Progress(refresh_per_second=100) as bars:
    bars.add_task("begun")
    time.sleep(1000)
"""


@pytest.fixture
def start():
    """Start a program in a session of its own, as a terminal would; kill what is left of it in the end."""
    started = []

    def starting(*words):
        command = [sys.executable, *map(str, words)]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, start_new_session=True, **streams))
        return started[-1]

    yield starting
    for process in started:
        for left in of_session(process.pid):
            left.kill()
        process.communicate()


def of_session(number):
    """Return the processes of a session that are alive."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == number and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            pass
    return found


def ended(process, by):
    """Wait for a process to end as it should after a signal; return its last words."""
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == STATUS[by], said
    return said.splitlines()


def words(by):
    return [f"stopped by {by.name}; give the command again to resume from the last checkpoint"]


def most(values, fast):
    """Mark all but these as slow: a program that is started imports for seconds."""
    return [pytest.param(value, marks=() if value in fast else pytest.mark.slow) for value in values]


@pytest.mark.parametrize("module", most(COMMANDS, ["moorl_jax", "benchmarks.regress"]))
def test_commands_heed_ctrl_c_amid_their_imports(start, module):
    process = start("-X", "importtime", "-m", module, *COMMANDS[module].split())
    while "numpy" not in (line := process.stderr.readline()):
        assert line, "it ended before it had imported anything"
    process.send_signal(signal.SIGINT)
    said = [line for line in ended(process, signal.SIGINT) if not line.startswith("import time:")]
    assert said == words(signal.SIGINT)


@pytest.mark.parametrize("by", most([signal.SIGINT, signal.SIGTERM, signal.SIGHUP], [signal.SIGINT]))
@pytest.mark.parametrize("amid", AMID)
def test_a_command_ends_at_once_whatever_it_is_amid(start, tmp_path, amid, by):
    program = tmp_path / "program.py"
    program.write_text(f"from moorl_jax.processes import heed_signals\nheed_signals()\n{AMID[amid]}", encoding="utf-8")
    process = start(program)
    assert process.stdout.readline() == "begun\n"
    time.sleep(1)
    process.send_signal(by)
    process.send_signal(by)  # people press it twice
    if amid == "a write that nobody reads":
        process.wait(PATIENCE)
        assert process.returncode == STATUS[by]
    else:
        assert ended(process, by) == words(by)


def test_on_a_terminal_nothing_is_drawn_after_the_last_words():
    ours, terminal = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", BAR], stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while b"begun" not in shown:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == STATUS[signal.SIGINT]
    with contextlib.suppress(OSError):  # how the end reads
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    cursor = "\x1b[?25h"
    assert shown.decode().endswith(f"{cursor}\r\n{words(signal.SIGINT)[0]}\r\n")


def test_what_a_command_is_told_to_ignore_it_ignores(start):
    process = start("-c", IGNORING)
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=PATIENCE)[0] == "done\n"
    assert process.returncode == 0


@pytest.mark.parametrize("working", most([False, True], [True]))
@pytest.mark.parametrize("by", most(STATUS, [signal.SIGINT, signal.SIGKILL]))
def test_workers_end_with_the_process_they_work_for(start, tmp_path, by, working):
    program = tmp_path / "program.py"
    program.write_text(WORKING, encoding="utf-8")
    process = start(program)
    for _ in range(3 if working else 1):
        assert process.stdout.readline() == "begun\n"
    assert len(of_session(process.pid)) == 4, "the program, two workers, multiprocessing's tracker"
    if by == signal.SIGINT:
        os.killpg(process.pid, by)  # a terminal sends it to all of them
    else:
        process.send_signal(by)
    process.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while of_session(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    if by != signal.SIGKILL:
        assert ended(process, by) == words(by)
