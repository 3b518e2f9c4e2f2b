"""Where seeds run: which of them on which device."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import psutil

from moorl_jax.cores import usable_cores
from moorl_jax.engine.compilation import keep_programs
from moorl_jax.errors import MoorlError, one_line


def use_all_cores() -> None:
    """Give JAX one CPU device a core; call it before JAX is first used. Called later, it warns and changes nothing.

    Two seeds on two devices are faster than one program on two threads. More devices than cores are slower: their
    threads get in each other's way. Raises MoorlError where JAX is set to use devices that are not here.
    """
    cores = usable_cores()
    try:
        jax.config.update("jax_num_cpu_devices", cores)
    except RuntimeError:
        warnings.warn(
            f"JAX has started with {len(jax.local_devices())} device(s), which seeds share: to train on all {cores} "
            "cores, restart Python and call moorl_jax.use_all_cores() before anything uses JAX",
            stacklevel=2,
        )
    prepare_jax()


def prepare_jax() -> None:
    """Have JAX keep what it compiles; raise MoorlError where it is set so that training cannot run."""
    keep_programs()
    config: Any = jax.config  # whose options are annotated in some releases and not in others
    if config.jax_disable_jit:
        raise MoorlError("JAX_DISABLE_JIT is set: training consists of compiled programs, unset it")
    try:
        jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        raise MoorlError(
            f"no device of JAX_PLATFORMS={config.jax_platforms} can be used here ({one_line(error)}); unset it, or set "
            "it to cpu"
        ) from error


@dataclass(frozen=True)
class Placement:
    """A device, and the seeds it trains in groups, each group by one compiled call."""

    device: jax.Device
    groups: tuple[tuple[int, ...], ...]  #: positions of seeds


def placements(seeds: int, images: bool = False) -> tuple[Placement, ...]:
    """Deal the seeds out over the devices, as evenly as whole numbers allow.

    Each device has a copy of the data. A CPU's devices share one memory, which one copy of `images` fills: there all
    seeds go to the first one.

    No device talks to another, so seeds need not divide evenly. On an accelerator a device's seeds are one group, a
    batch. On a CPU each is a group of its own: batching gains nothing there, one seed's networks fit the cache where
    several do not, its arithmetic is the same bit for bit whichever seeds are beside it, and its simulator can run
    under the update of another. So are those that learn from images: a batch of encoders, each with kernels of its
    own, is one grouped convolution, which took three times as long on an H100.
    """
    cpu = jax.default_backend() == "cpu"
    used = jax.local_devices()[: 1 if images and cpu else seeds]
    dealt = (tuple(range(first, seeds, len(used))) for first in range(len(used)))
    alone = cpu or images
    return tuple(
        Placement(device, tuple((position,) for position in positions) if alone else (positions,))
        for device, positions in zip(used, dealt, strict=True)
    )


def require_memory(arrays: Any, device: jax.Device, what: str, held: bool = False) -> None:
    """Raise MoorlError where arrays, or what is to have their shapes, are larger than what a device has free.

    `held`, they are in the machine's memory already, and a CPU's devices are not asked: they do not copy images, and
    states, of which each has a copy, are small.
    """
    size = sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(arrays))
    known = device.memory_stats() or {}
    free = known.get("bytes_limit", math.inf) - known.get("bytes_in_use", 0)
    if device.platform == "cpu":
        free = math.inf if held else psutil.virtual_memory().available
    if size > free:
        raise MoorlError(f"{what} takes {size / 1e9:.1f} GB, of {device}'s memory {free / 1e9:.1f} GB are free")


def evaluation_device() -> jax.Device:
    """Return the CPU device on which policies act beside their simulators.

    Never the accelerator: there each step of an episode would wait behind the training that goes on.
    """
    try:
        return jax.local_devices(backend="cpu")[-1]
    except RuntimeError:  # JAX_PLATFORMS left the CPU out
        return jax.local_devices()[-1]
