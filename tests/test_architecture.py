"""The way that ARCHITECTURE.md describes, from a file on disk to a number in a table, is the way that a run takes."""

import dataclasses
import re
import sys
import threading
from pathlib import Path

import jax
import pytest

import moorl_jax
from moorl_jax.data import hdf5
from moorl_jax.data.sources import D4RL, d4rl
from moorl_jax.progress import Display, terminal
from moorl_jax.reports.tables import score_frame
from moorl_jax.sweeps.budgets import BUDGETS
from moorl_jax.sweeps.cells import plan
from moorl_jax.sweeps.runner import sweep

LIBRARY = Path(moorl_jax.__file__).parent
TEXT = (LIBRARY.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## From a file on disk to a number in a table\n")[2].partition("\n### ")[0]
#: each step's file, and the calls in it that the step names; the first of them is the one that comes in its turn
STEPS = [
    (file, re.findall(r"`([\w.]+)`", text))
    for file, text in re.findall(r"^\d+\. `([\w/.]+)`:(.*?)(?=^\d+\. |\Z)", SECTION, re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def calls(hopper, hopper_rows, tmp_path, monkeypatch):
    """All calls, (file, name), of a sweep over one cell, whose data lies in D4RL's place."""
    file, made = D4RL(hopper).place, []
    hdf5.write(file, hopper_rows, {})
    known = {f"https://server/{hopper.datasets['d4rl']}": {"bytes": str(file.stat().st_size)}}
    monkeypatch.setattr(d4rl, "_known", lambda: known)
    roots = f"{LIBRARY}/", f"{LIBRARY.parent}/"
    budget = dataclasses.replace(BUDGETS["quick"], updates=2, evaluations=1, episodes=1)
    jax.clear_caches()  # what is compiled already is not called again

    def follow(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(roots):
            made.append((path.removeprefix(roots[0]).removeprefix(roots[1]), frame.f_code.co_qualname))

    threading.setprofile(follow)
    sys.setprofile(follow)
    try:
        cells = plan((hopper,), ["bc"], "auto", None, 1, budget, "offline")
        scores = score_frame(sweep(cells, tmp_path, None, Display(terminal())))
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert scores.notna().to_numpy().any()
    return made


def test_a_run_takes_the_steps_in_their_order(calls):
    files = [file for file, _ in STEPS]
    assert len(files) == len(set(files)) == 14
    way = iter(calls)
    for file, (first, *others) in STEPS:
        assert (file, first) in way, f"{file}: {first} is not called after the steps before it"
        assert {(file, name) for name in others} <= set(calls), f"{file}: not all of {others} are called"


def test_files_are_short_enough_to_be_read():
    long = {
        str(file.relative_to(LIBRARY))
        for file in LIBRARY.rglob("*.py")
        if file.read_text(encoding="utf-8").count("\n") > 300
    }
    assert long == set()
