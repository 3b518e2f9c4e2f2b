"""How many of the machine's cores are ours."""

import os


def usable_cores() -> int:
    """Return the cores this process may run on; `taskset` and CPU sets make them fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
