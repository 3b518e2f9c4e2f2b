"""Text files are UTF-8 whatever the locale is."""

import ast
from pathlib import Path

import benchmarks
import moorl_jax

FILES = [file for package in (moorl_jax, benchmarks) for file in sorted(Path(package.__path__[0]).rglob("*.py"))]


def test_text_is_read_and_written_with_its_encoding_named():
    assert FILES
    for file in FILES:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("read_text", "write_text"):
                assert any(word.arg == "encoding" for word in call.keywords), f"{file}:{call.lineno}"
