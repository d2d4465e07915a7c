"""Folders of uint8 arrays on disk: built once, checked, memory-mapped, never partial.

A cached folder holds one raw file per array, and a `meta.json` with the shapes and
checksums of the arrays and a description of them. A folder is filled under a temporary
name and then renamed.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8

from jaxgrow.devices import runtime
from jaxgrow.errors import UserError


_READ_BYTES = 1 << 24
_STALE_S = 24 * 3600


class ArrayWriter:
    """Appends rows to the arrays of a folder, which it creates.

    Attributes:
        arrays: Name of each array -> its `shape` and `checksum` so far.
    """

    def __init__(self, folder: Path, files: contextlib.ExitStack):
        self.arrays: dict[str, dict[str, Any]] = {}
        self._folder, self._stack = folder, files
        self._files: dict[str, IO[bytes]] = {}

    def append(self, name: str, rows: UInt8[np.ndarray, "k ..."]) -> None:
        """Append `rows` to the array `name`."""
        if name not in self.arrays:
            self.arrays[name] = {"shape": [0, *rows.shape[1:]], "checksum": 0}
            # Plain writes: on a full disk a memory map would kill the process.
            file = _raw_file(self._folder, name).open("wb")
            self._files[name] = self._stack.enter_context(file)
        content, array = np.ascontiguousarray(rows).data, self.arrays[name]
        array["shape"][0] += len(rows)
        array["checksum"] = zlib.crc32(content, array["checksum"])
        self._files[name].write(content)


Fill = Callable[[ArrayWriter], dict[str, Any]]
"""Appends all rows, and returns the description of the arrays as JSON."""


@dataclasses.dataclass(frozen=True)
class CachedArrays:
    """The content of a cached folder.

    Attributes:
        arrays: Mapped from disk, read-only.
        about: The description that `Fill` returned.
        checksums: Name of each array -> its shape and checksum.
        was_damaged: True if an older folder had to be replaced.
    """

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]
    checksums: dict[str, Any]
    was_damaged: bool


def open_or_build(
    key: str, cache_dir: Path | None, prepare: Callable[[], tuple[int, Fill]]
) -> CachedArrays:
    """Return the arrays of a cached folder; build it first if it is absent or damaged.

    Args:
        key: Hash of everything that decides the content; the name of the folder.
        cache_dir: Parent of the folder; `runtime.cache_folder()` if None.
        prepare: Returns the bytes that the arrays take at most, and what fills the
            folder; called only if it has to be built.

    Raises:
        UserError: The folder cannot be written, or the disk has too little space.
    """
    parent = cache_dir or runtime.cache_folder()
    folder = parent / key
    was_damaged = folder.exists()
    if was_damaged and (cached := _read(folder)) is not None:
        return cached
    num_bytes, fill = prepare()
    with _explain_write_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        if was_damaged:
            shutil.rmtree(folder)
        _check_space(parent, num_bytes)
        partial = Path(tempfile.mkdtemp(prefix=f"{key}.partial-", dir=parent))
        _remove_stale(partial)
        try:
            _fill(partial, fill)
            try:
                partial.rename(folder)
            except OSError:
                if not folder.exists():  # else another process has built it
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    cached = _read(folder)
    if cached is None:
        raise OSError(f"what was just written to {folder} does not match its checksum")
    return dataclasses.replace(cached, was_damaged=was_damaged)


def hash_json(plain: Any) -> str:
    """Return the SHA-256 of JSON, in hexadecimal."""
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def checksum_of(file: Path) -> int:
    """CRC-32 of a file's content."""
    checksum = 0
    with file.open("rb") as content:
        while block := content.read(_READ_BYTES):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _fill(folder: Path, fill: Fill) -> None:
    with contextlib.ExitStack() as files:
        writer = ArrayWriter(folder, files)
        about = fill(writer)
    meta = {"arrays": writer.arrays, "about": about}
    (folder / "meta.json").write_text(json.dumps(meta))


def _read(folder: Path) -> CachedArrays | None:
    """Open a folder; None if anything about it is wrong."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        arrays = {
            name: _map_file(_raw_file(folder, name), **array)
            for name, array in meta["arrays"].items()
        }
        return CachedArrays(arrays, meta["about"], meta["arrays"], was_damaged=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _map_file(file: Path, shape: Sequence[int], checksum: int) -> np.ndarray:
    if file.stat().st_size != math.prod(shape) or checksum_of(file) != checksum:
        raise ValueError(f"{file} does not match its description")
    return np.memmap(file, np.uint8, mode="r", shape=tuple(shape))


def _raw_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.bin"


def _check_space(parent: Path, needed: int) -> None:
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise UserError(
            f"cache folder {parent} has {free / 1e6:.0f} MB free but needs "
            f"{needed / 1e6:.0f} MB for the scaled images: free some space, use fewer "
            "images, or set cache_dir to another disk"
        )


def _remove_stale(partial: Path) -> None:
    """Remove folders that killed builds of the same key left over a day ago."""
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
