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

    A config that is `ranges.Checked` refuses values of another type or range.

    Raises:
        KeyError: A field is missing, as in a file of another version.
        TypeError: A config is not an object.
        UserError: A value does not fit its field.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(plain, dict):
            raise TypeError(f"{name} must be an object, not {plain!r:.50}")
        hints = typing.get_type_hints(kind)
        names = [f.name for f in dataclasses.fields(kind)]
        return kind(**{n: from_plain(hints[n], plain[n], n) for n in names})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (some,) = [a for a in inner if a is not type(None)]
        return None if plain is None else from_plain(some, plain, name)
    if origin is tuple and isinstance(plain, list):
        return tuple(from_plain(inner[0], part, name) for part in plain)
    return Path(plain) if kind is Path and isinstance(plain, str) else plain
