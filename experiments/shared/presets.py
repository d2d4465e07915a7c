"""Presets as their differences from a base."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar


Config = TypeVar("Config")


def derive(base: Config, changes: Mapping[str, Any]) -> Config:
    """Return `base` with the changed fields, by dotted name: {"net.width": 8}."""
    here: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            here[first] = value
    # All fields of a nested config change together, because it checks itself.
    for name, fields in nested.items():
        here[name] = derive(here.get(name, getattr(base, name)), fields)
    return dataclasses.replace(base, **here)  # pyright: ignore[reportArgumentType]


def differences(config: Any, base: Any) -> dict[str, Any]:
    """Return the dotted names of the fields that differ from `base`, and their values.

    `derive(base, differences(config, base))` is `config`.
    """
    before = dict(values(base))
    return {name: value for name, value in values(config) if value != before[name]}


def values(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every field that holds no config."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from ((f"{field.name}.{name}", v) for name, v in values(value))
        else:
            yield field.name, value
