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
    "settings": {"agents", "data", "tasks", *LEAVES},
    "progress": LEAVES,
    "tracking": {"progress", *LEAVES},
    "engine": {"tracking", "progress", "settings", "agents", "phases", "replay", "nets", "data", "tasks", *LEAVES},
    "sweeps": {"progress", "engine", "settings", "agents", "phases", "replay", "data", "tasks", *LEAVES},
    "reports": {"sweeps", "engine", "data", "tasks", *LEAVES},
    "studies": {"reports", "sweeps", "engine", "agents", "data", "tasks", *LEAVES},
    "cli": {
        "studies",
        "reports",
        "sweeps",
        "tracking",
        "progress",
        "engine",
        "settings",
        "agents",
        "data",
        "tasks",
        *LEAVES,
    },
}


def rooms_of(text, package):
    """The rooms of the house that the text of a module imports from when it runs; `package` is the module's.

    `benchmarks` is one, and so is the house itself, which no room may import.
    """
    tree = ast.parse(text)
    only_typing = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in branch.body
        for node in ast.walk(statement)
    }
    modules = []
    for node in ast.walk(tree):
        if id(node) in only_typing:
            continue
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            # What is imported from the house itself is a room, or a name that the house takes from one.
            modules += [f"{module}.{alias.name}" for alias in node.names] if module == "moorl_jax" else [module]
    words = [module.split(".") for module in modules]
    return {word[1] if len(word) > 1 else word[0] for word in words if word[0] == "moorl_jax"} | {
        word[0] for word in words if word[0] == "benchmarks"
    }


def rooms_of_file(file):
    package = ".".join(file.relative_to(ROOT.parent).parent.parts)
    return rooms_of(file.read_text(encoding="utf-8"), package)


@pytest.mark.parametrize(
    ("text", "rooms"),
    [
        ("import jax, moorl_jax.engine.trainer", {"engine"}),
        ("import moorl_jax.engine as house", {"engine"}),
        ("import moorl_jax", {"moorl_jax"}),
        ("from moorl_jax import train, tasks", {"train", "tasks"}),
        ("from moorl_jax.engine import trainer", {"engine"}),
        ("from . import iql", {"agents"}),
        ("from .iql import IQL", {"agents"}),
        ("from .. import engine", {"engine"}),
        ("from ..engine.trainer import Trainer", {"engine"}),
        ("def f():\n    import moorl_jax.engine", {"engine"}),
        ("def f():\n    from ..engine import trainer", {"engine"}),
        ("if TYPE_CHECKING:\n    import moorl_jax.engine\nelse:\n    import moorl_jax.data", {"data"}),
        ("import benchmarks.speed", {"benchmarks"}),
        ("from benchmarks.speed import offline", {"benchmarks"}),
        ("import numpy\nfrom engine import x", set()),
    ],
)
def test_every_way_to_import_is_seen(text, rooms):
    assert rooms_of(text, "moorl_jax.agents") == rooms


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_from_those_below(room):
    files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))
    assert files
    for file in files:
        assert rooms_of_file(file) - {room} <= ALLOWED[room], file


def test_every_room_is_drawn():
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - {"__init__", "__main__"} == set(ALLOWED)


def test_nothing_in_the_library_knows_the_benchmarks():
    for file in ROOT.rglob("*.py"):
        assert "benchmarks" not in rooms_of_file(file), file
