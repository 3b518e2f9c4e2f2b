"""Sweep IQL's expectile from Python by the command line, then read its table.

It trains every value with every seed in one compiled program, writes a table and two pictures, and resumes where it was
killed when it is called again.
"""

import subprocess
import sys

import pandas as pd

if __name__ == "__main__":
    command = "sweep --agent iql --task hopper-medium-replay-v2 --source embedded --set expectile=0.5,0.7,0.9"
    sizes = "--seeds 2 --updates 400 --results swept --name expectile"
    subprocess.run([sys.executable, "-m", "moorl_jax", *command.split(), *sizes.split()], check=True)
    print(pd.read_csv("swept/sweeps/expectile/table.csv"))
