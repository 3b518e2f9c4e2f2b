"""What config fields may hold: declared with the field, checked when a config is made and again before training."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from moorl_jax.errors import MoorlError, one_line

INT32 = 2**31 - 1  #: updates, env steps and rows are 32-bit integers on the device
FLOAT32 = 3.4e38  #: and numbers are float32


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The bounds of a number."""

    at_least: float | None = None
    above: float | None = None
    below: float | None = None
    at_most: float | None = None

    def hold(self, value: float) -> bool:
        """Return whether a value lies within the bounds."""
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        said = {name.replace("_", " "): bound for name, bound in vars(self).items() if bound is not None}
        return " and ".join(f"{name} {bound:,}" for name, bound in said.items())


Count = Annotated[int, Bounds(at_least=1, at_most=INT32)]
Steps = Annotated[int, Bounds(at_least=0, at_most=INT32)]
Turns = Annotated[int, Bounds(at_least=1, at_most=1_000)]  #: updates of a cycle; each is unrolled into the program
Widths = tuple[Count, ...]  #: of layers
Share = Annotated[float, Bounds(at_least=0.0, at_most=1.0)]
PositiveShare = Annotated[float, Bounds(above=0.0, at_most=1.0)]
PartShare = Annotated[float, Bounds(at_least=0.0, below=1.0)]
Positive = Annotated[float, Bounds(above=0.0)]
NotNegative = Annotated[float, Bounds(at_least=0.0)]


def static(default: Any) -> Any:
    """Declare a config field that determines shapes or control flow: a constant of the compiled program."""
    return dataclasses.field(default=default, metadata={"pytree_node": False})


class Bounded:
    """A config whose numbers are checked when it is made."""

    def __post_init__(self) -> None:
        """Raise MoorlError for a number that breaks its field's annotation.

        Nothing else is checked here: JAX makes configs too, with tracers, arrays or shapes in the place of numbers.
        """
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            if type(value := getattr(self, field.name)) in (int, float):
                _require(self, field.name, value)


def require_bounds(config: Any) -> None:
    """Raise MoorlError for a field of a config, or of a nested one, that breaks its annotation.

    Annotations are plain types, unions, tuples, `Literal`, and `Annotated` with Bounds or with a second type. Arrays
    are not checked.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        _require(config, field.name, value)
        for each in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(each):
                require_bounds(each)


def as_declared(config: Any, name: str, value: Any) -> Any:
    """Return a value as a config's field holds it: a whole number as a float where the field holds no whole ones."""
    kinds = set(_plain(_kind(config, name)))
    return float(value) if type(value) is int and float in kinds and int not in kinds else value


class Field(NamedTuple):
    """What is to be known of a config's field."""

    name: str
    value: Any
    holds: str  #: what it may hold, in words
    meaning: str  #: its `#:` comment; empty where it has none


def fields_of(config: Any) -> Iterator[Field]:
    """Yield a config's fields with what they hold here."""
    for field in dataclasses.fields(config):
        kind = _kind(config, field.name)
        yield Field(field.name, getattr(config, field.name), _described(kind), _meaning(type(config), field.name))


def _meaning(config: type, name: str) -> str:
    """Return the comment `#:` behind a field or on the lines above it, where it was declared last with one."""
    for each in config.__mro__:
        if name in vars(each).get("__annotations__", {}):
            declared = rf"^((?: +#: .+\n)*)    {name}:(?:.*#: (.+))?"
            found = re.search(declared, inspect.getsource(each), re.MULTILINE)
            if found and (said := found[2] or " ".join(re.findall("#: (.+)", found[1]))):
                return said
    return ""


def _plain(kind: Any) -> Iterator[Any]:
    """Yield the plain types of an annotation and of its union's members."""
    if get_origin(kind) is Annotated:
        yield from _plain(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for each in get_args(kind):
            yield from _plain(each)
    else:
        yield kind


def _require(config: Any, name: str, value: Any) -> None:
    kind = _kind(config, name)
    if not _fits(value, kind):
        shown = one_line(repr(value), 80)
        raise MoorlError(f"{type(config).__name__}.{name} must be {_described(kind)}, not {shown}")


def _kind(config: Any, name: str) -> Any:
    """Return a field's annotation."""
    of: Any = type(config)
    return _kinds(of)[name]


@functools.cache
def _kinds(config: type) -> dict[str, Any]:
    """Return each field's annotation. A field that a subclass redeclares as a plain number keeps its bounds.

    Raises MoorlError where they cannot be read.
    """
    kinds: dict[str, Any] = {}
    for each in reversed(config.__mro__):
        try:
            hints = get_type_hints(each, include_extras=True)
        except NameError as error:
            raise MoorlError(f"the annotations of {config.__name__} cannot be read: {error}") from None
        for name, kind in hints.items():
            before = kinds.get(name)
            if not (get_origin(before) is Annotated and kind is get_args(before)[0]):
                kinds[name] = kind
    return kinds


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value fits an annotation."""
    if isinstance(kind, Bounds):
        return hasattr(value, "dtype") or kind.hold(value)
    within, origin = get_args(kind), get_origin(kind)
    if origin is Annotated:
        return all(_fits(value, each) for each in within)
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in within)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in within)
    if origin is tuple:
        kinds = within[:1] * len(value) if within[-1:] == (...,) and isinstance(value, tuple) else within
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if kind is float:
        number = isinstance(value, float | int) and not isinstance(value, bool)
        return hasattr(value, "dtype") or (number and abs(value) <= FLOAT32)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return kind is Any or not isinstance(kind, type) or isinstance(value, kind)


def _described(kind: Any) -> str:
    """Return an annotation in words."""
    within, origin = get_args(kind), get_origin(kind)
    if origin is Annotated:
        base, *also = within
        if not isinstance(also[0], Bounds):
            return _described(also[0])
        return f"{_described(base)} {' and '.join(map(str, also))}"
    if origin in (Union, UnionType):
        return " or ".join(map(_described, within))
    if origin is Literal:
        return " or ".join(map(repr, within))
    if origin is tuple:
        return f"a tuple, each of it {_described(within[0])}" if within[-1:] == (...,) else f"a tuple of {len(within)}"
    known = {int: "a whole number", float: "a finite number", str: "a text", bool: "True or False", type(None): "None"}
    return known.get(kind, f"of the kind {getattr(kind, '__name__', kind)}")
