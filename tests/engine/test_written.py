"""The text of an agent that was not written in a file: of a notebook's cells, or of nobody knows where."""

import sys
import types

import jax
import numpy as np
import pytest

from moorl_jax.data import Dataset
from moorl_jax.engine import provenance, results
from moorl_jax.engine.training import train
from moorl_jax.engine.written import definition
from moorl_jax.errors import MoorlError

CLASS = "class Mine(BC):\n    rate = RATE\n"

CELLS = {
    "what it uses, in order, and not what uses it": (
        ["from agents import BC", "", "RATE = 2", CLASS, "run = train(Mine())\nprint(run)"],
        ["from agents import BC", "RATE = 2", CLASS.strip()],
    ),
    "what it uses at second hand, and defines later": (
        ["import numpy as np", "class Mine:\n    def f(self):\n        return g()", "def g():\n    return np.zeros(3)"],
        ["import numpy as np", "class Mine:\n    def f(self):\n        return g()", "def g():\n    return np.zeros(3)"],
    ),
    "a local name is no other's": (
        ["run = 1", "class Mine:\n    def f(self):\n        run = 2\n        return run"],
        ["class Mine:\n    def f(self):\n        run = 2\n        return run"],
    ),
    "the last of several attempts": (
        ["RATE = there_is_no_such()", CLASS, "RATE = 3", "class Mine:\n    f = RATE"],
        ["RATE = 3", "class Mine:\n    f = RATE"],
    ),
    "what grows step by step": (
        ["x = 1", "x += 1", "class Mine:\n    f = x"],
        ["x = 1", "x += 1", "class Mine:\n    f = x"],
    ),
    "packages of one name": (
        ["import a.b", "import a.c", "class Mine:\n    f = a.b, a.c"],
        ["import a.b", "import a.c", "class Mine:\n    f = a.b, a.c"],
    ),
    "imports of which nobody knows the names": (
        ["y = 1\nfrom __future__ import annotations", "from a import *", "class Mine:\n    f = x"],
        ["from __future__ import annotations", "from a import *", "class Mine:\n    f = x"],
    ),
    "decorators, and a line of several statements": (
        ["import m; run = m.train(1)", "@m.dataclass\nclass Mine:\n    pass"],
        ["import m", "@m.dataclass\nclass Mine:\n    pass"],
    ),
    "letters of more than one byte": (
        ["é = 'ü'; x = 1", "class Mine:\n    f = é"],
        ["é = 'ü'", "class Mine:\n    f = é"],
    ),
    "cells that are no Python": (["%%bash\nls", "class Mine:\n    pass"], ["class Mine:\n    pass"]),
    "nothing of a name that no cell has": (["from __future__ import annotations", "x = 1"], []),
}


@pytest.mark.parametrize("what", CELLS)
def test_of_cells_what_defines_a_class_is_taken(what):
    cells, needed = CELLS[what]
    assert [part for part in definition("Mine", cells).strip().split("\n\n\n") if part] == needed


CELL = "from moorl_jax.agents import BC", "class Mine(BC):\n    pass\n", "agent = Mine(hidden=(4,), batch_size=2)"


@pytest.mark.parametrize("known", [True, False])
def test_an_agent_without_a_file_is_trained_and_saved(known, rng, tmp_path, monkeypatch):
    """And evaluated by what the result holds of a notebook's cells, else by a file that its user makes."""
    typed = types.ModuleType("typed_in")
    monkeypatch.setitem(sys.modules, "typed_in", typed)
    monkeypatch.chdir(tmp_path)
    if known:
        typed.In = list(CELL)  # as IPython keeps them
    for number, cell in enumerate(CELL):
        exec(compile(cell, f"<cell {number}>", "exec"), vars(typed))
    columns = {"rewards": np.zeros(8), "next_observations": np.zeros((8, 2)), "terminals": np.zeros(8)}
    data, said = Dataset.from_arrays(rng.standard_normal((8, 2)), np.zeros((8, 1)), **columns), []
    run = train(typed.agent, dataset=data, seeds=1, updates=1, checkpoints="run", progress=False, warn=said.append)
    assert any("Mine.py: the agent's text is not known here" in each for each in said) is not known
    assert repr(run).splitlines()[2] == "no environment"  # and not that all have diverged
    results.save(run, tmp_path / "cell", "x")
    result = results.read(tmp_path / "cell")
    assert result.config["agent"] == provenance.agent_name(typed.agent) == "Mine.py:Mine"
    assert [file.name for file in result.agent_files.values()] == ["Mine.py"] * known
    if not known:
        with pytest.raises(MoorlError, match=r"there is no file Mine\.py"):
            results.load_states(result, trust=True)
        (tmp_path / "Mine.py").write_text("\n".join(CELL[:2]), encoding="utf-8")
    again, _, states = results.load_states(result, trust=True)
    assert again.hidden == (4,)
    jax.tree.map(np.testing.assert_array_equal, states, run.states)
