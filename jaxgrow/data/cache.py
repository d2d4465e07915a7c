"""Stacks of uint8 images on disk: built once, checked, memory-mapped, never half done.

A cached stack is a folder with one raw file per resolution and a `meta.json` that
holds their lengths and checksums. It is built under another name and renamed.
"""

import contextlib
import dataclasses
import json
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.files import map_in_threads, refuse_if_mostly_broken
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError


T = TypeVar("T")
# Keys are resolutions: the middle axes have that length.
Levels = dict[int, UInt8[np.ndarray, "k _ _ c"]]
_READ_BYTES = 1 << 24
_STALE_S = 24 * 3600


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How to make a stack.

    Attributes:
        key: Hash of everything that decides the pixels; the name of the folder.
        names: What the images are called in messages.
        cut: The rows that image `i` gives at every resolution; None if it is broken.
        resolutions: Sides of the stacked squares.
        channels: 3 for images, 1 for masks.
        rows_per_image: `k` of `cut`'s arrays.
        where: What the set of images is called in messages.
    """

    key: str
    names: Sequence[str]
    cut: Callable[[int], Levels | None]
    resolutions: Sequence[int]
    channels: int
    rows_per_image: int
    where: str

    def bytes_of(self, resolution: int, num_images: int) -> int:
        return num_images * self.rows_per_image * resolution**2 * self.channels


@dataclasses.dataclass(frozen=True)
class Stack:
    """A cached stack.

    Attributes:
        arrays: (n, r, r, channels) of each resolution r, mapped read-only.
        skipped: Indices of the broken images, which gave no rows.
        was_damaged: Whether an older cache had to be thrown away.
    """

    arrays: dict[int, UInt8[np.ndarray, "n _ _ c"]]
    skipped: tuple[int, ...]
    was_damaged: bool


def load_or_build(
    recipe: Recipe,
    cache_dir: Path | None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Stack:
    """The stack from the cache; built first if it is not there whole.

    Raises:
        UserError: The folder cannot be written, the disk has too little space, or
            more than a fifth of the images are broken.
    """
    num_bytes = sum(recipe.bytes_of(r, len(recipe.names)) for r in recipe.resolutions)
    stack, was_damaged = open_or_build(
        recipe.key,
        cache_dir,
        read=lambda folder: _open(folder, recipe),
        num_bytes=lambda: num_bytes,
        build=lambda folder: _build(folder, recipe, on_progress),
    )
    return dataclasses.replace(stack, was_damaged=was_damaged)


def open_or_build(
    key: str,
    cache_dir: Path | None,
    *,
    read: Callable[[Path], T | None],
    num_bytes: Callable[[], int],
    build: Callable[[Path], None],
) -> tuple[T, bool]:
    """The content of a cached folder; built first if it is not there whole.

    Args:
        key: Hash of everything that decides the content; the name of the folder.
        cache_dir: Where the folder lies; `runtime.cache_folder()` if None.
        read: Opens a folder; None if anything about it is wrong.
        num_bytes: Space that the content will take; asked only before building.
        build: Fills an empty folder. It gets another name until it is whole.

    Returns:
        What `read` gave, and whether an older content had to be thrown away.

    Raises:
        UserError: The folder cannot be written, or the disk has too little space.
    """
    parent = cache_dir or runtime.cache_folder()
    folder = parent / key
    was_damaged = False
    if folder.exists():
        content = read(folder)
        if content is not None:
            return content, False
        was_damaged = True
    with _explain_write_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        if was_damaged:
            shutil.rmtree(folder)
        _check_space(parent, num_bytes())
        partial = Path(tempfile.mkdtemp(prefix=f"{key}.partial-", dir=parent))
        _remove_stale(partial)
        try:
            build(partial)
            try:
                partial.rename(folder)
            except OSError:
                if not folder.exists():  # else another process has been faster
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    content = read(folder)
    if content is None:
        raise OSError(f"what was just written to {folder} does not match its checksum")
    return content, was_damaged


def _build(
    folder: Path, recipe: Recipe, on_progress: Callable[[int, int], None] | None
) -> None:
    total = len(recipe.names)
    checksums = dict.fromkeys(recipe.resolutions, 0)
    skipped: list[int] = []
    with contextlib.ExitStack() as files:
        # Plain writes: on a full disk a memory map would kill the process.
        outputs = {
            r: files.enter_context(_raw_file(folder, r).open("wb"))
            for r in recipe.resolutions
        }
        for i, levels in enumerate(map_in_threads(recipe.cut, range(total))):
            if levels is None:
                skipped.append(i)
            else:
                for r, output in outputs.items():
                    content = np.ascontiguousarray(levels[r]).data
                    checksums[r] = zlib.crc32(content, checksums[r])
                    output.write(content)
            if on_progress is not None:
                on_progress(i + 1, total)
    refuse_if_mostly_broken([recipe.names[i] for i in skipped], total, recipe.where)
    meta = {
        "skipped": skipped,
        "checksums": {str(r): checksum for r, checksum in checksums.items()},
    }
    (folder / "meta.json").write_text(json.dumps(meta))


def _open(folder: Path, recipe: Recipe) -> Stack | None:
    """The stack in `folder`, or None if anything about it is wrong."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        skipped = tuple(meta["skipped"])
        num_images = len(recipe.names) - len(skipped)
        arrays = {}
        for r in recipe.resolutions:
            file = _raw_file(folder, r)
            if file.stat().st_size != recipe.bytes_of(r, num_images):
                return None
            if checksum_of(file) != meta["checksums"][str(r)]:
                return None
            shape = (num_images * recipe.rows_per_image, r, r, recipe.channels)
            arrays[r] = np.memmap(file, np.uint8, mode="r", shape=shape)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Stack(arrays, skipped, was_damaged=False)


def _raw_file(folder: Path, resolution: int) -> Path:
    return folder / f"r{resolution}.bin"


def checksum_of(file: Path) -> int:
    """CRC-32 of a file's content."""
    checksum = 0
    with file.open("rb") as content:
        while block := content.read(_READ_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _check_space(parent: Path, needed: int) -> None:
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UserError(
            f"cache folder {parent} has {free / 1e6:.0f} MB free but needs "
            f"{needed / 1e6:.0f} MB for the scaled images: free some space, use fewer "
            "images, or set cache_dir to another disk"
        )


def _remove_stale(partial: Path) -> None:
    """Deletes what killed builds of the same stack have left a day ago or earlier."""
    prefix = partial.name.rsplit("-", 1)[0]
    now = partial.stat().st_mtime
    for other in partial.parent.glob(f"{prefix}-*"):
        if other.stat().st_mtime < now - _STALE_S:
            shutil.rmtree(other, ignore_errors=True)


@contextlib.contextmanager
def _explain_write_errors(parent: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write scaled images to cache folder {parent} "
            f"({error.strerror or error}): free some space, or set cache_dir to a "
            "folder that you may write to"
        ) from error
