"""Compiled programs are kept between processes, in the user's cache directory."""

import hashlib
import platform
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock
from jax.experimental.compilation_cache import compilation_cache

from moorl_jax.data.folders import kept_in

LARGEST = 2 * 2**30  #: bytes kept, beyond which the programs not used for longest go


def keep_programs() -> None:
    """Have JAX keep what it compiles, small programs too, unless it is already set to keep programs somewhere.

    Where the directory cannot be written to, nothing is kept.

    JAX_COMPILATION_CACHE_DIR names another directory, JAX_ENABLE_COMPILATION_CACHE=false keeps nothing.
    """
    config: Any = jax.config  # whose options are annotated in some releases and not in others
    if config.jax_compilation_cache_dir:
        return
    kept = kept_in("XDG_CACHE_HOME", ".cache") / "moorl_jax" / "programs" / _processor()
    try:
        kept.mkdir(parents=True, exist_ok=True)
        _delete_halves(kept)
    except OSError:  # a home that cannot be written to
        return
    config.update("jax_compilation_cache_dir", str(kept))
    config.update("jax_compilation_cache_max_size", LARGEST)
    config.update("jax_persistent_cache_min_compile_time_secs", 0)
    config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # JAX asks only once whether there is one, maybe before now


def _delete_halves(kept: Path) -> None:
    """Delete programs that a process was writing when it was killed: JAX writes the time of one after it."""
    with FileLock(kept / ".lockfile"):  # JAX's own
        for program in kept.glob("*-cache"):
            if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
                program.unlink()


def _processor() -> str:
    """Name this machine's kind of processor: a home directory may be shared, and JAX does not tell CPUs apart."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else [platform.processor()]
    kind = "".join(line for line in dict.fromkeys(lines) if line.startswith(("model name", "flags", "Features")))
    return hashlib.sha256((platform.machine() + kind).encode()).hexdigest()[:12]
