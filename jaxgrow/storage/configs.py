"""Configs from the JSON that `files.plain` makes of them."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any


def from_plain(kind: Any, plain: Any, name: str = "config") -> Any:
    """Rebuild a config of type `kind`, nested ones included, from `files.plain`.

    Args:
        kind: Its class, or the annotation of a field.
        plain: The JSON.
        name: Name of the value in errors.

    Raises:
        KeyError: A field is missing, as in a file of another version.
        TypeError: A value is not of its field's type.
        ValueError: A value is out of the range of its field.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        _check(isinstance(plain, dict), name, "an object", plain)
        hints = typing.get_type_hints(kind)
        names = [f.name for f in dataclasses.fields(kind)]
        return kind(**{n: from_plain(hints[n], plain[n], n) for n in names})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (some,) = [a for a in inner if a is not type(None)]
        return None if plain is None else from_plain(some, plain, name)
    if origin is tuple:
        _check(isinstance(plain, list), name, "a list", plain)
        kinds = [inner[0]] * len(plain) if inner[-1] is Ellipsis else inner
        _check(len(kinds) == len(plain), name, f"{len(kinds)} values", plain)
        pairs = zip(kinds, plain, strict=True)
        return tuple(from_plain(k, p, name) for k, p in pairs)
    if origin is typing.Literal:
        _check(plain in inner, name, f"one of {', '.join(map(str, inner))}", plain)
        return plain
    wanted = {float: (int, float), Path: str}.get(kind, kind)
    is_wanted = isinstance(plain, wanted) and isinstance(plain, bool) <= (kind is bool)
    _check(is_wanted, name, f"of the type {kind.__name__}", plain)
    return Path(plain) if kind is Path else plain


def _check(is_fine: bool, name: str, wanted: str, plain: Any) -> None:
    if not is_fine:
        raise TypeError(f"{name} must be {wanted}, not {plain!r:.50}")
