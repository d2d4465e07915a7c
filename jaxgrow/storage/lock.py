"""A lock on a folder that one process holds at a time."""

import contextlib
import datetime
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxgrow.errors import UserError
from jaxgrow.storage import files


_NAME = ".lock"


@contextlib.contextmanager
def held(folder: Path, command: Sequence[str]) -> Iterator[None]:
    """Hold the lock of a folder in a `with` block; the folder is made if need be.

    The lock is `flock` on a file in the folder, which names its owner. It ends with the
    process, so that a kill leaves nothing to clean up. A folder that is still empty at
    the end is removed. On a disk without `flock` there is no lock.

    Args:
        folder: The folder.
        command: Command line of this process, for the message to others.

    Raises:
        UserError: Another process holds the lock, the disk refuses, or the folder was
            deleted or moved inside the block.
    """
    path = folder / _NAME
    with files.disk_errors(folder):
        is_new = not folder.exists()
        lock = _open_locked(path)
        if lock is not None:
            _write_owner(lock, command)
    if lock is None:
        yield
        return
    try:
        yield
        _check_there(path, lock)
    except Exception as error:
        if not isinstance(error, UserError):
            _check_there(path, lock, error)
        raise
    finally:
        with contextlib.suppress(OSError):
            if _is_there(path, lock):
                path.unlink()
            if is_new:
                folder.rmdir()  # only if it is empty
        os.close(lock)


def _write_owner(lock: int, command: Sequence[str]) -> None:
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": datetime.datetime.now().isoformat(" ", "seconds"),
        "command": list(command),
    }
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps(owner).encode(), 0)


def _open_locked(path: Path) -> int | None:
    """Return the open file, which another process may remove at any moment.

    None if the disk has no locks.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # its folder was removed just now
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            content = os.pread(lock, 1 << 16, 0)
            os.close(lock)
            raise UserError(_in_use(path.parent, content)) from None
        except OSError:  # this disk has no locks
            path.unlink()
            os.close(lock)
            return None
        if _is_there(path, lock):
            return lock
        os.close(lock)


def _is_there(path: Path, lock: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except OSError:
        return False


def _check_there(path: Path, lock: int, error: Exception | None = None) -> None:
    if not _is_there(path, lock):
        raise UserError(
            f"{path.parent} was deleted or moved while this command wrote into it: put "
            "it back and give the same command again, or start anew."
        ) from error


def _in_use(folder: Path, content: bytes) -> str:
    owner = "another process"
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(content)
        owner = (
            f"process {found['pid']} on {found['host']} since {found['started']} "
            f"({' '.join(found['command'])})"
        )
    return (
        f"{folder} is in use by {owner}: wait for its end, or choose another directory."
    )
