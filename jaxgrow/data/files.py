"""Listing and reading many image files."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from jaxgrow.data.images import SUFFIXES
from jaxgrow.errors import UserError


_T = TypeVar("_T")
_R = TypeVar("_R")
_BLOCK = 256  # results that may wait in memory
MAX_BROKEN_FRAC = 0.2


def list_images(folder: Path) -> list[str]:
    """List the images at any depth below `folder`: sorted paths relative to it.

    Links are followed, each folder once. Names that begin with a dot are left out.

    Raises:
        UserError: `folder` is not a folder.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"folder {folder} {what}: give the path of a folder of images")
    names, visited = [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = os.path.realpath(root)
        folders[:] = [] if here in visited else [f for f in folders if f[0] != "."]
        if here in visited:
            continue
        visited.add(here)
        names += [
            (Path(root) / file).relative_to(folder).as_posix()
            for file in files
            if file[0] != "." and Path(file).suffix.lower() in SUFFIXES
        ]
    return sorted(names)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_threads(fn: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Yield the results of `fn` in the order of `items`, few in memory at a time.

    There is one thread per core. More would be slower, because decoding releases
    Python's lock often and the threads would contend for it.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        for start in range(0, len(items), _BLOCK):
            yield from pool.map(fn, items[start : start + _BLOCK])


def refuse_if_mostly_broken(broken: Sequence[str], total: int, where: str) -> None:
    """Raise a `UserError` if no image is left or more than a fifth is broken."""
    if len(broken) == total or len(broken) > MAX_BROKEN_FRAC * total:
        some = ", ".join(broken[:3]) + (", ..." if len(broken) > 3 else "")
        raise UserError(
            f"{len(broken)} of {total} images in {where} cannot be read ({some}): "
            "replace or remove them"
        )
