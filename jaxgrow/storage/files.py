"""Atomic writing and checked reading of files; errors are sentences for the user."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from jaxgrow.errors import UserError


_Json = TypeVar("_Json")

_MEND_SPACE = "free some space or choose another directory"
_MEND_ACCESS = "choose a directory that you may write to"
_MEND_BY_ERRNO = {
    errno.ENOSPC: _MEND_SPACE,
    errno.EDQUOT: _MEND_SPACE,
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EROFS: _MEND_ACCESS,
    errno.EACCES: _MEND_ACCESS,
    errno.EPERM: _MEND_ACCESS,
    errno.ENOTDIR: _MEND_ACCESS,
    errno.EISDIR: _MEND_ACCESS,
    errno.EEXIST: _MEND_ACCESS,
    errno.ENAMETOOLONG: "choose a shorter path",
}
# Raised by code that finds other JSON than it expects.
_UNEXPECTED = (
    *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    *(RecursionError, StopIteration),
)
# Errors whose text a library may wrap in an exception of its own.
_WRAPPED = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


@contextlib.contextmanager
def disk_errors(path: Path, doing: str = "write") -> Iterator[None]:
    """Turn errors of the disk when writing or reading `path` into a `UserError`.

    These are a disk that is full, read-only, over quota or forbidden, raised as
    `OSError` or as another exception whose text or cause names the error. Every other
    exception passes unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        code = disk_errno(error)
        if code is None:
            raise
        reason, mend = os.strerror(code).lower(), _MEND_BY_ERRNO[code]
        raise UserError(f"cannot {doing} {path}: {reason}; {mend}.") from error


def disk_errno(error: BaseException) -> int | None:
    """Return the errno of the disk's error behind `error`; None if there is none."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _MEND_BY_ERRNO:
            return cause.errno
        text = str(cause).lower()
        for code in _WRAPPED:
            if os.strerror(code).lower() in text:
                return code
        cause = cause.__cause__
    return None


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` atomically: a reader sees either the old or the new bytes.

    The new ones are on the disk when it returns, and survive a power cut.

    Raises:
        UserError: The disk is full, read-only or forbidden; the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(data)
                sync(file.fileno())
            os.replace(temporary, path)
            for folder in (path.parent, path.parent.parent):  # each may be new
                sync_path(folder)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def sync_tree(folder: Path) -> None:
    """Wait until a folder and everything below it is on the disk."""
    for path in [*folder.rglob("*"), folder, folder.parent]:
        sync_path(path)


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except PermissionError:  # as in the folder of all users' folders
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Wait until an open file is on the disk, if its file system can tell."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def write_json(path: Path, obj: Any) -> None:
    """Write `plain(obj)` as indented JSON; see `write_bytes`."""
    text = json.dumps(plain(obj), indent=2, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def plain(obj: Any) -> Any:
    """Convert `obj` to dicts, lists, strings, numbers and None, for JSON.

    Dataclasses become dicts, tuples and arrays lists, paths strings, NumPy scalars
    numbers, and numbers that are not finite None. The result is equal after a round
    trip through JSON.
    """
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        obj = {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj)}
    if isinstance(obj, np.generic | np.ndarray):
        obj = obj.tolist()
    if isinstance(obj, dict):
        return {str(name): plain(value) for name, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [plain(value) for value in obj]
    if isinstance(obj, Path):
        return str(obj)
    if isinstance(obj, float) and not math.isfinite(obj):
        return None
    if obj is None or isinstance(obj, str | bool | int | float):
        return obj
    raise TypeError(f"{type(obj).__name__} has no form in JSON: {obj!r}")


def hash_files(paths: Iterable[Path]) -> str:
    """Return the sha256 of the contents of files, in their order, in hexadecimal.

    Raises:
        UserError: One of them is missing or cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with disk_errors(path, "read"), path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError:
            raise UserError(f"no weights at {path}: no such file.") from None
    return digest.hexdigest()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of reading and interpreting a run's file into a `UserError`."""
    try:
        with disk_errors(path, "read"):
            yield
    except UserError:
        raise
    except _UNEXPECTED as error:
        reason = str(error).strip("'\"") or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"it has no {reason}"
        raise UserError(
            f"{path} is damaged or of another version of jaxgrow ({reason[:200]}): put "
            "a whole copy in its place, or delete it if it can be made again."
        ) from error


def read_json(path: Path, kind: type[_Json], absent: _Json | None = None) -> _Json:
    """Read a JSON file that holds a dict or a list.

    Args:
        path: The file.
        kind: `dict` or `list`.
        absent: Returned if there is no such file.

    Raises:
        FileNotFoundError: There is no such file, and `absent` is None.
        UserError: It is damaged, of another kind, or cannot be read.
    """
    if absent is not None and not path.exists():
        return absent
    with reading(path):
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, kind):
            raise TypeError(f"it holds no {kind.__name__}")
        return found


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of one JSON object per line; [] if there is no such file.

    A last line that a kill cut short is left out.

    Raises:
        UserError: Another line is no JSON object, or the file cannot be read.
    """
    if not path.exists():
        return []
    rows = []
    with reading(path):
        *lines, last = path.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate([*lines, last], start=1):
            try:
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError("it is no object")
            except (ValueError, RecursionError) as error:
                if number <= len(lines):
                    raise ValueError(f"line {number}: {error}") from error
            else:
                rows.append(row)
    return rows
