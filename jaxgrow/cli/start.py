"""Beginning of a command line: paths in the home folder, and names of any bytes."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any, TypeVar


_T = TypeVar("_T")


def prepare(config: _T) -> _T:
    """Return `config` with `~` expanded in its paths, and let any name be printed.

    No shell expands `--out=~/filled`. Names of files that are not UTF-8 are printed
    with their odd bytes spelled out.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    return _expanded(config)


def _expanded(value: Any) -> Any:
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(_expanded, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    before = {
        f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init
    }
    after = {name: _expanded(field) for name, field in before.items()}
    return value if after == before else dataclasses.replace(value, **after)
