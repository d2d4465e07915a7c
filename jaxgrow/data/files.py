"""Listing and reading many image files."""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

from jaxgrow.data.image_files import looks_like_image
from jaxgrow.errors import UserError


_T = TypeVar("_T")
_R = TypeVar("_R")
_BLOCK = 256  # results that may wait in memory
MAX_BROKEN_FRAC = 0.2
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")
_SYSTEM_FOLDERS = ("__macosx", "@eadir", "$recycle.bin")
_MASK_FOLDERS = ("mask", "masks")


class FoundImages(NamedTuple):
    """The images of a folder.

    Attributes:
        names: Paths below the folder, sorted.
        others: Path of each other file -> the reason why it is no picture. Hidden
            files and those of operating systems are left out of both.
    """

    names: list[str]
    others: dict[str, str]

    def remarks(self, folder: Path) -> list[str]:
        """Return a sentence, without a full stop, for each reason in `others`."""
        reasons = dict.fromkeys(self.others.values())
        by_reason = {
            reason: [name for name, why in self.others.items() if why == reason]
            for reason in reasons
        }
        return [
            f"passed over in {folder}: {some_of(names)} ({reason})"
            for reason, names in by_reason.items()
        ]


def list_images(folder: Path, *, without: Path | None = None) -> FoundImages:
    """List the images at any depth below `folder`.

    An image is what begins or is named like one. Links are followed, each folder once.
    Folders called mask or masks whose files have the names of pictures beside them are
    not listed.

    Args:
        folder: Folder to walk through.
        without: A file or folder, perhaps below `folder`, that is not listed.

    Raises:
        UserError: `folder` is not a folder, or cannot be read.
    """
    if not folder.is_dir():
        there = "is a file" if folder.is_file() else "is no folder"
        what = there if os.path.lexists(folder) else "does not exist"
        raise UserError(f"folder {folder} {what}: give the path of a folder of images")
    names, others, visited = [], {}, set()
    skipped = {os.path.realpath(without)} if without is not None else set()

    def unreadable(error: OSError) -> None:
        others[os.path.relpath(error.filename, folder)] = str(error.strerror)

    for root, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        here = os.path.realpath(root)
        if here in visited or here in skipped:
            folders.clear()
            continue
        visited.add(here)
        folders[:] = [name for name in folders if not is_hidden(name)]
        for file in files:
            path = os.path.join(root, file)
            if is_hidden(file) or (skipped and os.path.realpath(path) in skipped):
                continue
            name = (Path(root) / file).relative_to(folder).as_posix()
            if fault := _fault(path):
                others[name] = fault
            else:
                names.append(name)
    if here := others.get("."):
        raise UserError(f"folder {folder} cannot be read ({here}): check your rights")
    masks = _mask_names(names)
    others |= dict.fromkeys(masks, "masks of the pictures beside them")
    return FoundImages(sorted(set(names) - masks), dict(sorted(others.items())))


def is_hidden(name: str) -> bool:
    """True for the names of hidden files and of those that systems leave behind."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES + _SYSTEM_FOLDERS


def stem_of(name: str) -> str:
    """Return a path without its suffix, in the one form that pairs are found by.

    Systems write accents as one character (NFC) or as two (NFD).
    """
    return unicodedata.normalize("NFC", PurePosixPath(name).with_suffix("").as_posix())


def printable(name: str) -> str:
    r"""Return a name with bytes that are not UTF-8 spelled out, as in ``caf\\xe9``."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def some_of(names: Sequence[str]) -> str:
    """Return the first three names, after their number if there are more.

    >>> some_of(["a", "b", "c", "d"])
    '4 files, a, b, c, ...'
    """
    listed = first_of(names)
    return listed if len(names) <= 3 else f"{len(names)} files, {listed}"


def first_of(names: Sequence[str]) -> str:
    """Return the first three names, with dots after them if there are more."""
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _fault(path: str) -> str | None:
    """Return the reason why a file is no picture; None if it is or may be one."""
    if looks_like_image(path, b""):
        return None  # the decoder will tell
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return "no regular file"
        with open(path, "rb") as file:
            return None if looks_like_image(path, file.read(64)) else "no picture"
    except OSError as error:
        return str(error.strerror)


def _mask_names(names: Sequence[str]) -> set[str]:
    """Return the files in folders of masks whose pictures lie beside the folder."""
    stems = {stem_of(name) for name in names}
    inside: dict[PurePosixPath, list[PurePosixPath]] = {}
    for path in map(PurePosixPath, names):
        for parent in path.parents:
            if parent.name.lower() in _MASK_FOLDERS:
                inside.setdefault(parent, []).append(path)
    return {
        str(path)
        for folder, paths in inside.items()
        if all(
            stem_of(str(folder.parent / path.relative_to(folder))) in stems
            for path in paths
        )
        for path in paths
    }


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


def refuse_if_mostly_broken(
    broken: Mapping[str, str] | Sequence[str], total: int, where: str
) -> None:
    """Raise a `UserError` if no image is left or more than a fifth is broken.

    Args:
        broken: Names of the broken images, perhaps with the sentence on each.
        total: Number of images.
        where: Their place, for the error.
    """
    if len(broken) == total or len(broken) > MAX_BROKEN_FRAC * total:
        names = list(broken)
        some = first_of(names)
        why = f"; {broken[names[0]]}" if isinstance(broken, Mapping) and names else ""
        raise UserError(
            f"{len(broken)} of {total} images in {where} cannot be read ({some}): "
            f"replace or remove them{why}"
        )
