"""What developers of moorl_jax measure and make: speed, fidelity, regressions, the policies in the package."""

import sys

from moorl_jax.processes import heed_signals

# `python -m benchmarks.speed` and the like: by then Python has only found the module. This is the moment before the
# imports, which take seconds.
if sys.argv[0] == "-m":
    heed_signals()
