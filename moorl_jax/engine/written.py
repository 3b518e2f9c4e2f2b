"""The text that a user's own agent is written in: of its file, or what a notebook's cells say of it."""

import ast
import functools
import linecache
import symtable
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@functools.cache
def file_of(kind: Any) -> Path | None:
    """Return the file of an agent's class, None where there was none when this was first asked."""
    file, _ = kind.written
    return Path(file) if Path(file).is_file() else None


@functools.cache
def text_of(kind: Any) -> bytes:
    """Return the text of an agent's class as it was when this was first asked: whoever edits it later changes nothing.

    Of a class without a file it is what IPython's cells hold of it; nothing where Python does not know what was typed.
    """
    if file := file_of(kind):
        return file.read_bytes()
    cells = getattr(sys.modules.get(kind.__module__), "In", None) or ["".join(linecache.getlines(kind.written[0]))]
    return definition(kind.__name__, cells).encode()


def definition(name: str, cells: Iterable[str]) -> str:
    """Return those statements of some cells, run in turn, that define `name` and all that it uses, in their order.

    Of what was defined several times the last counts. What only uses the name, say to train it, is left out.
    """
    statements = [statement for cell in cells for statement in _statements(cell)]
    always = [each.text for each in statements if each.always]
    last = {name: number for number, each in enumerate(statements) if each.defines for name in each.binds}
    current = [
        each for number, each in enumerate(statements) if not each.defines or number in map(last.get, each.binds)
    ]
    needed, before = {name}, set[str]()
    while needed != before:
        before = needed
        needed = needed.union(*(each.uses for each in current if each.binds & needed))
    texts = [each.text for each in current if each.binds & needed]
    return "\n\n\n".join([*always, *texts]) + "\n" if texts else ""


@dataclass(frozen=True)
class _Statement:
    """A statement of a cell."""

    text: str
    binds: frozenset[str]
    uses: frozenset[str]  #: names that are not its own
    defines: bool  #: whether what its names were before is of no importance
    always: bool  #: whether it says nothing of what it is for


def _statements(cell: str) -> Iterator[_Statement]:
    """Yield a cell's statements; none where it is not Python."""
    try:
        for node in ast.parse(cell).body:
            if decorators := getattr(node, "decorator_list", ()):
                node.lineno = decorators[0].lineno
            text = ast.get_source_segment(cell, node) or ""
            tables = [symtable.symtable(text, "", "exec")]
            for table in tables:
                tables += table.get_children()
            symbols = [symbol for table in tables for symbol in table.get_symbols()]
            uses = frozenset(each.get_name() for each in symbols if each.is_referenced() and each.is_global())
            binds = frozenset(
                each.get_name() for each in tables[0].get_symbols() if each.is_assigned() or each.is_imported()
            )
            yield _Statement(
                text,
                binds,
                uses,
                # Not a plain import: `import a.b` leaves what `import a.c` had bound.
                defines=isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ImportFrom)
                or (isinstance(node, ast.Assign | ast.AnnAssign) and not binds & uses),
                always=isinstance(node, ast.ImportFrom)
                and (node.module == "__future__" or any(alias.name == "*" for alias in node.names)),
            )
    except SyntaxError:
        return
