"""Checks of the disk's space and of a checkpoint's files."""

import errno
import json
import re
import shutil
import tempfile
from pathlib import Path

import jax
import tensorstore as ts

from jaxgrow.errors import UserError
from jaxgrow.storage import files


_SAFE = re.compile(r"[\w/.,=+@ ~-]*")


def make_alias(directory: Path) -> tempfile.TemporaryDirectory[str] | None:
    """Return a new folder whose link `to` leads to `directory`; None if none is needed.

    Orbax and TensorStore take paths for URLs and patterns, in which characters such as
    % # ? [ have a meaning. Paths below the link have no such character.

    Raises:
        UserError: The directory of temporary files has such a path too, or several
            processes, whose links would differ, share the directory.
    """
    if _SAFE.fullmatch(str(directory)):
        return None
    folder = tempfile.TemporaryDirectory(prefix="jaxgrow-")
    if jax.process_count() > 1 or not _SAFE.fullmatch(folder.name):
        folder.cleanup()
        raise UserError(
            f"checkpoints cannot be kept in {directory}, whose path has characters "
            "with a meaning in URLs: choose one of letters, digits, - and _."
        )
    (Path(folder.name) / "to").symlink_to(directory, target_is_directory=True)
    return folder


def check_space(directory: Path, num_bytes: int) -> None:
    """Raise `UserError` early for a save that would fail halfway."""
    needed = num_bytes * 5 // 4 + 2**20
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"cannot write {directory}: a checkpoint needs {needed / 2**20:.1f} MiB "
            f"and {free / 2**20:.1f} are left; free some space or choose another "
            "directory."
        )


def read_through(directory: Path, num_arrays: int) -> None:
    """Read every array and description one by one, and raise where Orbax would.

    Orbax reads all of them at the same time. When one fails, the traces of the others
    appear on stderr.
    """
    descriptions = [directory / "_METADATA", directory / "_sharding"]
    for path in [*descriptions, *directory.glob("array_metadatas/*")]:
        json.loads(path.read_bytes())
    store = {"driver": "ocdbt", "base": f"file://{directory}/"}
    keys = [key.decode() for key in ts.KvStore.open(store).result().list().result()]
    names = [key.removesuffix(".zarray") for key in keys if key.endswith("/.zarray")]
    if len(names) != num_arrays:
        raise ValueError(f"{len(names)} arrays instead of {num_arrays}")
    for name in names:
        array = {
            "driver": "zarr",
            "kvstore": {**store, "path": name},
            "fill_missing_data_reads": False,
        }
        ts.open(array).result().read().result()


def is_damage(error: BaseException | None) -> bool:
    """Return True for damaged files, and False for memory, permissions or devices."""
    while error is not None:
        if isinstance(error, MemoryError | jax.errors.JaxRuntimeError):
            return False
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            return error.errno == errno.EIO
        if files.disk_errno(error) is not None:
            return False
        error = error.__cause__
    return True
