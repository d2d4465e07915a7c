"""Configs from the JSON that `files.plain` makes of them."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any


def from_plain(kind: Any, plain: Any) -> Any:
    """Rebuild a config of type `kind`, nested ones included, from `files.plain`.

    Raises:
        KeyError: A field is missing, as in a file of another version.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = [f.name for f in dataclasses.fields(kind)]
        return kind(**{n: from_plain(hints[n], plain[n]) for n in names})
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if plain is None:
            return None
        (inner,) = [a for a in typing.get_args(kind) if a is not type(None)]
        return from_plain(inner, plain)
    if typing.get_origin(kind) is tuple:
        return tuple(plain)
    return Path(plain) if kind is Path else plain
