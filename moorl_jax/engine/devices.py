"""Where seeds run: lanes of seeds, one a device."""

import os
from dataclasses import dataclass

import jax


def use_all_cores() -> None:
    """Give JAX one CPU device a core; call it before JAX is first used.

    Two seeds on two devices are faster than one program on two threads. More devices than cores are slower: their
    threads get in each other's way.
    """
    jax.config.update("jax_num_cpu_devices", usable_cores())


def usable_cores() -> int:
    """Return the cores this process may run on; `taskset` and CPU sets make them fewer."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Lane:
    """A device and the positions of the seeds it trains."""

    device: jax.Device
    positions: tuple[int, ...]


def lanes(seeds: int) -> tuple[Lane, ...]:
    """Deal the seeds out over the devices, as evenly as whole numbers allow.

    No device talks to another, so seeds need not divide evenly and each lane is a program of its own.
    """
    used = jax.local_devices()[:seeds]
    return tuple(Lane(device, tuple(range(first, seeds, len(used)))) for first, device in enumerate(used))


def evaluation_device() -> jax.Device:
    """Return the CPU device on which policies act beside their simulators.

    Never the accelerator: there each step of an episode would wait behind the training that goes on.
    """
    try:
        return jax.local_devices(backend="cpu")[-1]
    except RuntimeError:  # JAX_PLATFORMS left the CPU out
        return jax.local_devices()[-1]
