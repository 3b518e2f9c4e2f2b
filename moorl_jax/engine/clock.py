"""Where the time of a training goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Clock:
    """Wall-clock seconds of one device, by use."""

    compile: float = 0.0  #: the first call of each env-step program, its one step included
    simulate: float = 0.0
    update: float = 0.0  #: in compiled calls, or waiting for them
    total: float = 0.0

    @contextmanager
    def counting(self, use: str) -> Iterator[None]:
        """Count the seconds that a block takes towards a use."""
        began = time.perf_counter()
        yield
        setattr(self, use, getattr(self, use) + time.perf_counter() - began)
