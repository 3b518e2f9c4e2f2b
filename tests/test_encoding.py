"""Text files are UTF-8 whatever the locale is, and a terminal that has fewer letters shows what it has."""

import ast
import io
import sys
from pathlib import Path

from rich.table import Table

import benchmarks
import moorl_jax
from moorl_jax.progress import terminal

FILES = [file for package in (moorl_jax, benchmarks) for file in sorted(Path(package.__path__[0]).rglob("*.py"))]


def test_text_is_read_and_written_with_its_encoding_named():
    assert FILES
    for file in FILES:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("read_text", "write_text"):
                assert any(word.arg == "encoding" for word in call.keywords), f"{file}:{call.lineno}"


def test_an_ascii_terminal_shows_the_table_that_a_training_ended_in(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    terminal().print(Table("mean ± std", "2.0 ± 1.0 → 3.0"))
    sys.stdout.flush()
    assert b"mean ? std" in shown.getvalue()
    assert b"2.0 ? 1.0 ? 3.0" in shown.getvalue()
