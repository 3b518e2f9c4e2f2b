"""Every combination of a few settings: what `moorl-jax sweep` trains."""

import ast
import itertools
from collections.abc import Sequence

from moorl_jax.errors import MoorlError

MOST = 1_000  #: combinations of one sweep


def combinations(swept: Sequence[str]) -> list[tuple[str, ...]]:
    """Return every combination of the settings, each a NAME=VALUE for every name, the last name's values fastest.

    `swept` are texts like `expectile=0.5,0.7`: a name and its values, Python literals or calls as `--set` takes them.
    `hidden=(16,16),(32,32)` are two values. Raises MoorlError for a text that is none, a name or a value that is there
    twice, or too many combinations.
    """
    fields: dict[str, list[str]] = {}
    for text in swept:
        name, given, values = text.partition("=")
        if not given:
            raise MoorlError(f"{text}: a sweep takes NAME=VALUE,VALUE,...")
        if name in fields:
            raise MoorlError(f"{name} is swept twice: give all its values at once")
        fields[name] = _values(values, text)
    product = list(itertools.islice(itertools.product(*fields.values()), MOST + 1))
    if len(product) > MOST:
        raise MoorlError(f"these are more than {MOST:,} combinations")
    return [tuple(f"{name}={value}" for name, value in zip(fields, each, strict=True)) for each in product]


def _values(text: str, whole: str) -> list[str]:
    """Return the values that commas separate, as texts."""
    try:
        listed = ast.parse(f"[{text}]", mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        listed = None
    if not isinstance(listed, ast.List):
        raise MoorlError(f"{whole}: the values are not Python literals separated by commas")
    values = list(map(ast.unparse, listed.elts))
    if not values:
        raise MoorlError(f"{whole}: a sweep needs a value at least")
    if len(set(values)) < len(values):
        raise MoorlError(f"{whole}: a value is there twice")
    return values
