"""Imports run one way, as ARCHITECTURE.md draws it."""

import ast
from pathlib import Path

import pytest

import moorl_jax

ROOT = Path(moorl_jax.__file__).parent
LEAVES = {"types", "errors", "footage", "cores", "locks", "divergence", "config", "processes", "whole"}
ALLOWED = {
    "types": set(),
    "errors": set(),
    "cores": set(),
    "divergence": set(),
    "locks": {"errors"},
    "config": {"errors"},
    "processes": set(),
    "whole": set(),
    "footage": {"types"},
    "nets": LEAVES,
    "replay": {"nets", *LEAVES},
    "phases": {"replay", *LEAVES},
    "agents": {"phases", "replay", "nets", *LEAVES},
    "tasks": LEAVES,
    "data": {"tasks", *LEAVES},
    "settings": {"agents", "replay", "data", "tasks", *LEAVES},
    "engine": {"settings", "agents", "phases", "replay", "nets", "data", "tasks", *LEAVES},
    "progress": {"engine"},
    "cli": {"engine", "settings", "agents", "data", "tasks", "progress", *LEAVES},
}


def imported(file):
    """The rooms of the house that a file imports from when it runs."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    only_typing = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in only_typing:
            words = node.module.split(".")
            if words[0] == "benchmarks":
                yield "benchmarks"
            elif words[0] == "moorl_jax":
                yield from [words[1]] if len(words) > 1 else [alias.name for alias in node.names]


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_from_those_below(room):
    files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        assert set(imported(file)) - {room} <= ALLOWED[room], file


def test_every_room_is_drawn():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(ALLOWED)
