"""Ranges of a config's fields: stated in its annotations, checked when it is built."""

import dataclasses
import functools
import math
import numbers
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from jaxgrow.errors import UserError


class Range(NamedTuple):
    """An interval; a round bracket in `ends` leaves that end out."""

    low: float
    high: float = 2**31 - 1
    ends: str = "[]"

    def holds(self, value: Any) -> bool:
        """Return True for a number within."""
        is_end = (value == self.low and self.ends[0] == "(") or (
            value == self.high and self.ends[1] == ")"
        )
        return self.low <= value <= self.high and not is_end

    def __repr__(self) -> str:
        if self.high in (math.inf, 2**31 - 1):
            return f"{self.low} or more" if self.ends[0] == "[" else f"above {self.low}"
        return f"in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"


Count: TypeAlias = Annotated[int, Range(1)]
Natural: TypeAlias = Annotated[int, Range(0)]
Seed: TypeAlias = Annotated[int, Range(0, 2**32 - 1)]
Positive: TypeAlias = Annotated[float, Range(0, math.inf, "(]")]
Weight: TypeAlias = Annotated[float, Range(0, math.inf)]
Share: TypeAlias = Annotated[float, Range(0, 1)]
Fraction: TypeAlias = Annotated[float, Range(0, 1, "()")]
Decay: TypeAlias = Annotated[float, Range(0, 1, "[)")]

_KINDS = {
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (bool, "True or False"),
    Path: (Path, "a path"),
    str: (str, "a text"),
}


class Checked:
    """Base of frozen dataclasses whose values fit their annotations.

    Raises:
        UserError: A field has another type, is outside its `Range`, or is not finite.
    """

    def __post_init__(self) -> None:
        for name, kind in _kinds_of(type(self)).items():
            value = getattr(self, name)
            if not _fits(kind, value):
                raise UserError(f"set {name} to {_described(kind)}, not {value!r:.60}.")


@functools.cache
def _kinds_of(config: type) -> dict[str, Any]:
    hints = typing.get_type_hints(config, include_extras=True)
    names = [field.name for field in dataclasses.fields(config)]  # pyright: ignore
    return {name: hints[name] for name in names}


def _fits(kind: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        ranges = [note for note in inner if isinstance(note, Range)]
        return _fits(inner[0], value) and all(r.holds(value) for r in ranges)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(some, value) for some in inner)
    if origin is Literal:
        return isinstance(value, int | str) and value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return len(kinds) == len(value) and all(map(_fits, kinds, value))
    wanted, _ = _KINDS.get(kind, (kind, ""))
    is_odd_bool = isinstance(value, bool) and kind in (int, float)
    is_odd_float = isinstance(value, float) and not math.isfinite(value)
    return isinstance(value, wanted) and not is_odd_bool and not is_odd_float


def _described(kind: Any) -> str:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        ranges = [repr(note) for note in inner if isinstance(note, Range)]
        return ", ".join([_described(inner[0]), *ranges])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_described, inner))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return f"values that are each {_described(inner[0])}"
        return f"{len(inner)} values that are each {_described(inner[0])}"
    return "None" if kind is types.NoneType else _KINDS.get(kind, (0, kind.__name__))[1]
