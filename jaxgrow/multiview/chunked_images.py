"""Images on disk that are written in chunks and survive a kill at any moment.

A folder holds three files, which depend on nothing but the arguments of `write`:

    header.json    what decides the images, and the shape of their array
    images.npy     the array, uint8, for `numpy.load` too
    progress.json  how many of its rows are there, and the checksum up to there

A chunk counts once progress.json says so, which it does when the chunk is on disk; what
a kill has left behind that is cut off.
"""

import io
import itertools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.cache import checksum_of
from jaxgrow.devices import hosts
from jaxgrow.errors import UserError
from jaxgrow.storage import files


HEADER, IMAGES, PROGRESS = "header.json", "images.npy", "progress.json"

_NOT_COMPARED = "made_with"


class Unusable(Exception):
    """Why what lies in a folder cannot be read or gone on with."""


class _Progress(NamedTuple):
    """How far a folder is; `checksum` is that of the array's file up to there."""

    done: int
    checksum: int


def write(
    folder: Path,
    header: dict[str, Any],
    make_chunk: Callable[[int, int], UInt8[np.ndarray, "rows *_"]],
    chunk_size: int,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> None:
    """Makes the images, goes on with them, or leaves them if they are there.

    Args:
        folder: Of the three files; made if need be.
        header: What decides the images, with their `shape`, out of what JSON knows;
            what the folder has under another header is thrown away. Only `made_with`
            may differ.
        make_chunk: (start, stop) -> those rows; pure.
        chunk_size: Rows that are put on disk together.
        on_progress: Gets the rows that are on disk and their number, at the start and
            after every chunk. What it raises ends the writing without a loss.
        on_note: Gets a sentence if what was in the folder had to be thrown away.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    total = header["shape"][0]
    with files.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        at = _take_up(folder, header, on_note)
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


def write_together(
    folder: Path,
    header: dict[str, Any],
    make_chunk: Callable[[int, int], UInt8[np.ndarray, "rows *_"]],
    chunk_size: int,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_note: Callable[[str], None] | None = None,
) -> None:
    """`write` by all processes of a run, which must see one disk and all call this.

    Every process makes a share of the rows in a folder of its own beside `folder`, and
    the first one joins them; only then do the shares go, so that the disk must hold
    everything twice. Shares that a kill has left are gone on with by as many processes,
    and made anew by another number of them.

    Args:
        folder: As for `write`; so are the others.
        header: The same on all processes.
        make_chunk: The same on all processes.
        chunk_size: Rows that are put on disk together.
        on_progress: Gets the rows of this process's share.
        on_note: Gets a sentence if what was in a folder had to be thrown away.

    Raises:
        UserError: The disk is full, read-only or forbidden, or will be full before the
            shares are joined.
    """
    count, total = jax.process_count(), header["shape"][0]
    if count > 1 and not all(hosts.first_says([_has_all(folder, header)])):
        ends = [total * i // count for i in range(count + 1)]
        shares = [range(*pair) for pair in itertools.pairwise(ends)]
        places = [_share_of(folder, f"{i}_of_{count}") for i in range(count)]
        headers = {
            place: header | {"shape": [len(share), *header["shape"][1:]], "rows": ends}
            for place, share in zip(places, shares, strict=True)
        }
        if hosts.is_first():
            with files.disk_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
                _check_space({folder: header, **headers})
        hosts.wait()
        place, mine = places[jax.process_index()], shares[jax.process_index()]
        write(
            place,
            headers[place],
            lambda start, stop: make_chunk(mine.start + start, mine.start + stop),
            chunk_size,
            on_progress=on_progress,
            on_note=on_note,
        )
        hosts.wait()
        make_chunk, on_progress = _joined(places, shares), None
    if hosts.is_first():
        write(
            folder,
            header,
            make_chunk,
            chunk_size,
            on_progress=on_progress,
            on_note=on_note,
        )
        for share in folder.parent.glob(_share_of(folder, "*").name):
            shutil.rmtree(share, ignore_errors=True)
    hosts.wait()


def _share_of(folder: Path, which: str) -> Path:
    return folder.with_name(f"{folder.name}.share_{which}")


def _joined(places: Sequence[Path], shares: Sequence[range]):
    """(start, stop) -> those rows, from the folders that hold a share each."""

    def make_chunk(start: int, stop: int) -> UInt8[np.ndarray, "rows *_"]:
        found = []
        for place, share in zip(places, shares, strict=True):
            first, last = max(start, share.start), min(stop, share.stop)
            if first < last:
                images = np.load(place / IMAGES, mmap_mode="r")
                found.append(images[first - share.start : last - share.start])
        return np.concatenate(found)

    return make_chunk


def read(folder: Path) -> tuple[dict[str, Any], UInt8[np.ndarray, "..."]]:
    """Header and images of a finished folder; the images are mapped, read-only.

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


def _has_all(folder: Path, header: dict[str, Any]) -> bool:
    """Whether `write` would find that there is nothing left to do."""
    try:
        found, _ = read(folder)
        _check_same(found, header)
    except Unusable:
        return False
    return True


def _take_up(
    folder: Path, header: dict[str, Any], on_note: Callable[[str], None] | None
) -> _Progress:
    """Makes the folder ready for the next chunk, and says which that is."""
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


def _check_same(saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = [
        name
        for name in dict.fromkeys([*wanted, *saved])
        if name != _NOT_COMPARED and saved.get(name) != wanted.get(name)
    ]
    if differing:
        raise Unusable(f"{', '.join(differing)} used to be different")


def _check_content(folder: Path, header: dict[str, Any], at: _Progress) -> None:
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
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Unusable(f"{path.name} is not there") from None
    except ValueError as error:
        raise Unusable(f"{path.name} is damaged") from error
    if not isinstance(found, dict):
        raise Unusable(f"{path.name} is damaged")
    return found


def _start_of_file(header: dict[str, Any]) -> bytes:
    """What the .npy file begins with."""
    start, shape = io.BytesIO(), tuple(header["shape"])
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(start, about)
    return start.getvalue()


def _length(header: dict[str, Any], done: int) -> int:
    """Bytes of the file that has that many rows."""
    per_row = int(np.prod(header["shape"][1:]))
    return len(_start_of_file(header)) + done * per_row


def _check_space(headers: dict[Path, dict[str, Any]]) -> None:
    """Refuses early what would fail after hours.

    Args:
        headers: Of folders that will be full at one time; the first one is there.
    """
    images = [folder / IMAGES for folder in headers]
    there = sum(path.stat().st_size for path in images if path.exists())
    needed = sum(_length(h, h["shape"][0]) for h in headers.values()) - there
    folder = next(iter(headers))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"cannot write {folder}: it needs {needed / 1e6:.0f} MB and "
            f"{free / 1e6:.0f} MB are left; free some space or choose another "
            "directory."
        )


def _append(output: IO[bytes], chunk: np.ndarray, checksum: int) -> int:
    """Puts a chunk on disk; returns the checksum after it."""
    # Plain writes: on a full disk a memory map would kill the process.
    content = np.ascontiguousarray(chunk).data
    output.write(content)
    output.flush()
    os.fsync(output.fileno())
    return zlib.crc32(content, checksum)
