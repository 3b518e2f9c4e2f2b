"""How many cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the cores this process may use; `taskset`, CPU sets and a container's quota make them fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(min(_quotas(), default=cores))))


def _quotas(groups: Path = Path("/proc/self/cgroup"), mounted: Path = CGROUPS) -> Iterator[float]:
    """Return the cores' worth of time that each control group above this process allows, of version 1 or 2."""
    for line in groups.read_text(encoding="utf-8").splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = mounted / controllers
        group = root / path.lstrip("/")
        for place in (group, *group.parents):
            try:
                if controllers:
                    limit, period = (
                        (place / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period")
                    )
                else:
                    limit, period = (place / "cpu.max").read_text(encoding="utf-8").split()
            except OSError:  # a container may not see the groups above its own, nor their names
                limit, period = "max", "1"
            if limit != "max" and int(limit) > 0:
                yield int(limit) / int(period)
            if place == root:
                break
