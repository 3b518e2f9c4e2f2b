"""Sweep IQL's expectile from Python by the command line, then read its table.

It writes a table and two pictures into swept/sweeps/expectile. Killed, it resumes when it is called again.
"""

import subprocess
import sys

import pandas as pd

if __name__ == "__main__":
    command = "sweep --agent iql --task hopper-medium-replay-v2 --source embedded --set expectile=0.5,0.9"
    sizes = "--seeds 1 --updates 200 --results swept --name expectile"
    subprocess.run([sys.executable, "-m", "moorl_jax", *command.split(), *sizes.split()], check=True)
    print(pd.read_csv("swept/sweeps/expectile/table.csv")[["expectile", "final"]])
