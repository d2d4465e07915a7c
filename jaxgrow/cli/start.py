"""Beginning of a command line: paths in the home folder, and names of any bytes."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any


def print_any_name() -> None:
    """Let names of files that are not UTF-8 be printed, with odd bytes spelled out."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore


def expand_home(value: Any) -> Any:
    """Return a config with `~` expanded in its paths: no shell does in `--out=~/x`."""
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(map(expand_home, value))
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    before = {
        f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init
    }
    after = {name: expand_home(field) for name, field in before.items()}
    return value if after == before else dataclasses.replace(value, **after)
