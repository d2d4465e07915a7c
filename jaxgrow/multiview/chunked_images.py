"""Images on disk that are written in chunks and survive a kill at any moment.

A folder holds three files, which depend on nothing but the arguments of `write_chunks`:

    header.json    what decides the images, and the shape of their array
    images.npy     the array, uint8, for `numpy.load` too
    progress.json  the number of its finished rows, and the checksum up to there

A chunk counts once progress.json counts it, which happens when the chunk is on disk.
Bytes beyond it, which a kill has left, are cut off.
"""

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.cache import checksum_of
from jaxgrow.devices import hosts
from jaxgrow.errors import UserError
from jaxgrow.storage import files


HEADER, IMAGES, PROGRESS = "header.json", "images.npy", "progress.json"

_Header: TypeAlias = dict[str, Any]
_MakeChunk: TypeAlias = Callable[[int, int], UInt8[np.ndarray, "rows *_"]]

_NOT_COMPARED = "made_with"


class Unusable(Exception):
    """The reason why a folder can be neither read nor continued."""


class _Progress(NamedTuple):
    done: int  # rows
    checksum: int  # of the array's file up to there


def write_chunks(
    folder: Path,
    header: _Header,
    make_chunk: _MakeChunk,
    chunk_size: int,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> None:
    """Write the images, continue them, or leave them if they are finished.

    Args:
        folder: Of the three files; made if need be.
        header: JSON values that decide the images, with their `shape`; the content of
            a folder with another header is thrown away. Only `made_with` may differ.
        make_chunk: (start, stop) -> those rows; pure.
        chunk_size: Rows that are written together.
        on_progress: Called with the rows on disk and their number, at the start and
            after every chunk. An exception of it ends the writing without loss.
        on_note: Called with a sentence if the folder's content was thrown away.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    total = header["shape"][0]
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        at = _resume(folder, header, on_note)
        if on_progress is not None:
            on_progress(at.done, total)
        if at.done == total:
            return
        _check_space({folder: header})
        with (folder / IMAGES).open("ab") as output:
            for start in range(at.done, total, chunk_size):
                stop = min(start + chunk_size, total)
                checksum = _append(output, make_chunk(start, stop), at.checksum)
                at = _Progress(stop, checksum)
                files.write_json(folder / PROGRESS, at._asdict())
                if on_progress is not None:
                    on_progress(at.done, total)


def write_chunks_together(
    folder: Path,
    header: _Header,
    make_chunk: _MakeChunk,
    chunk_size: int,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> None:
    """`write_chunks` by all processes of a run, which share a disk and all call this.

    Every process makes a share of the rows in a folder of its own beside `folder`. The
    first process joins them and then deletes the shares, so the disk must hold all rows
    twice. Shares that a kill has left are continued by the same number of processes and
    replaced by another number. `on_progress` is called with the rows of this process's
    share; the other arguments are those of `write_chunks`, the same on all processes.

    Raises:
        UserError: The disk is full, read-only or forbidden, or will be full before the
            shares are joined.
    """
    count, make = jax.process_count(), make_chunk
    callbacks: dict[str, Any] = {"on_progress": on_progress, "on_note": on_note}
    if count > 1 and not all(hosts.first_says([_is_finished(folder, header)])):
        shares = _shares_of(folder, header, count)
        if hosts.is_first():
            with files.disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                _check_space({folder: header} | {s.folder: s.header for s in shares})
        hosts.wait()
        mine = shares[jax.process_index()]

        def make_mine(start: int, stop: int) -> UInt8[np.ndarray, "rows *_"]:
            return make_chunk(mine.rows.start + start, mine.rows.start + stop)

        write_chunks(mine.folder, mine.header, make_mine, chunk_size, **callbacks)
        hosts.wait()
        make, callbacks = _join(shares), {"on_note": on_note}
    if hosts.is_first():
        write_chunks(folder, header, make, chunk_size, **callbacks)
        for share in folder.parent.glob(_share_folder(folder, "*").name):
            shutil.rmtree(share, ignore_errors=True)
    hosts.wait()


class _Share(NamedTuple):
    folder: Path
    header: _Header
    rows: range


def _shares_of(folder: Path, header: _Header, count: int) -> list[_Share]:
    total, *rest = header["shape"]
    ends = [total * i // count for i in range(count + 1)]
    shares = []
    for i, rows in enumerate(map(range, ends, ends[1:])):
        of_share = header | {"shape": [len(rows), *rest], "rows": ends}
        shares.append(_Share(_share_folder(folder, f"{i}_of_{count}"), of_share, rows))
    return shares


def _share_folder(folder: Path, which: str) -> Path:
    return folder.with_name(f"{folder.name}.share_{which}")


def _join(shares: Sequence[_Share]) -> _MakeChunk:
    """Return a `make_chunk` that reads the rows from the finished shares."""

    def make_chunk(start: int, stop: int) -> UInt8[np.ndarray, "rows *_"]:
        found = []
        for folder, _, rows in shares:
            first, last = max(start, rows.start), min(stop, rows.stop)
            if first < last:
                images = np.load(folder / IMAGES, mmap_mode="r")
                found.append(images[first - rows.start : last - rows.start])
        return np.concatenate(found)

    return make_chunk


def read_finished(folder: Path) -> tuple[_Header, UInt8[np.ndarray, "..."]]:
    """Read the header of a finished folder, and map its images, read-only.

    Raises:
        Unusable: Something is missing, damaged or not finished.
        UserError: The disk refuses.
    """
    with files.disk_errors(folder, "read"):
        header = _read_json(folder / HEADER)
        at, shape = _read_progress(folder), header.get("shape")
        if not isinstance(shape, list):
            raise Unusable(f"{HEADER} is damaged")
        if at.done < shape[0]:
            raise Unusable(f"only {at.done:,} of {shape[0]:,} are there")
        _check_content(folder, header, at)
        return header, np.load(folder / IMAGES, mmap_mode="r")


def _is_finished(folder: Path, header: _Header) -> bool:
    try:
        found, _ = read_finished(folder)
        _check_same(found, header)
    except Unusable:
        return False
    return True


def _resume(
    folder: Path, header: _Header, on_note: Callable[[str], None] | None
) -> _Progress:
    """Prepare the folder for the next chunk, and return its progress."""
    if (folder / PROGRESS).exists():
        try:
            _check_same(_read_json(folder / HEADER), header)
            at = _read_progress(folder)
            length = _length(header, at.done)
            if _size(folder / IMAGES) > length:
                os.truncate(folder / IMAGES, length)
            _check_content(folder, header, at)
            return at
        except Unusable as reason:
            if on_note is not None:
                on_note(f"{folder} is made anew: {reason}")
    # Nothing counts from here on until the new header and the new file are there.
    (folder / PROGRESS).unlink(missing_ok=True)
    files.write_json(folder / HEADER, header)
    (folder / IMAGES).write_bytes(_start_of_file(header))
    at = _Progress(0, checksum_of(folder / IMAGES))
    files.write_json(folder / PROGRESS, at._asdict())
    return at


def _check_same(saved: _Header, wanted: _Header) -> None:
    names = [n for n in dict.fromkeys([*wanted, *saved]) if n != _NOT_COMPARED]
    if differing := [n for n in names if saved.get(n) != wanted.get(n)]:
        raise Unusable(f"{', '.join(differing)} used to be different")


def _check_content(folder: Path, header: _Header, at: _Progress) -> None:
    found, wanted = _size(folder / IMAGES), _length(header, at.done)
    if found != wanted:
        raise Unusable(f"{IMAGES} has {found:,} bytes and should have {wanted:,}")
    if checksum_of(folder / IMAGES) != at.checksum:
        raise Unusable(f"{IMAGES} is damaged")


def _read_progress(folder: Path) -> _Progress:
    found = _read_json(folder / PROGRESS)
    try:
        return _Progress(int(found["done"]), int(found["checksum"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable(f"{PROGRESS} is damaged") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise Unusable(f"{path.name} is not there") from None


def _read_json(path: Path) -> dict[str, Any]:
    _size(path)
    try:
        return dict(json.loads(path.read_bytes()))
    except (TypeError, ValueError) as error:
        raise Unusable(f"{path.name} is damaged") from error


def _start_of_file(header: _Header) -> bytes:
    """Return the header of the .npy file."""
    start, shape = io.BytesIO(), tuple(header["shape"])
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(start, about)
    return start.getvalue()


def _length(header: _Header, done: int) -> int:
    """Return the bytes of the .npy file with that number of rows."""
    per_row = int(np.prod(header["shape"][1:]))
    return len(_start_of_file(header)) + done * per_row


def _check_space(headers: dict[Path, _Header]) -> None:
    """Refuse at once a disk too small for all folders, the first of which exists."""
    images = [folder / IMAGES for folder in headers]
    there = sum(path.stat().st_size for path in images if path.exists())
    needed = sum(_length(h, h["shape"][0]) for h in headers.values()) - there
    free = shutil.disk_usage(folder := next(iter(headers))).free
    if needed > free:
        raise UserError(
            f"cannot write {folder}: it needs {needed / 1e6:.0f} MB and "
            f"{free / 1e6:.0f} MB are left; free some space or choose another "
            "directory."
        )


def _append(output: IO[bytes], chunk: np.ndarray, checksum: int) -> int:
    """Write a chunk to disk, and return the checksum after it."""
    # Plain writes: on a full disk a memory map would kill the process.
    content = np.ascontiguousarray(chunk).data
    output.write(content)
    output.flush()
    os.fsync(output.fileno())
    return zlib.crc32(content, checksum)
