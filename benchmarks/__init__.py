"""The application on top of moorl_jax: budgets, sweeps, tables and pictures."""

import sys

from moorl_jax.processes import heed_signals

# `python -m benchmarks`, and all else here that is run so: by then Python has only found the module. This is the moment
# before the imports, which take seconds.
if sys.argv[0] == "-m":
    heed_signals()
