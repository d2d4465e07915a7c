"""Images in folders and tar archives, Places365 among them."""

import hashlib
import io
import os
import re
import tarfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.files import (
    is_hidden,
    list_images,
    map_in_threads,
    refuse_if_mostly_broken,
)
from jaxgrow.data.image_files import MAX_MEGAPIXELS, header_fault, looks_like_image
from jaxgrow.data.images import decode_image
from jaxgrow.errors import UserError


GroupBy = Literal["file", "folder", "prefix"]

_HASHED_BYTES = 2 * 1024**3  # the content of larger sets is not hashed
# Places365: folder, archive and list of each part, and of its two editions.
_TRAIN_FOLDER = r"data_(256|large)(_standard|_challenge)?|train_(256|large)"
_TRAIN_TAR = (
    r"(train_(256|large)_places365(standard|challenge)|places365standard_easyformat)"
    r"\.tar"
)
_TRAIN_LISTS = ("places365_train_standard.txt", "places365_train_challenge.txt")
_VAL_FOLDER, _VAL_TAR, _VAL_LIST = (
    r"val_(256|large)",
    r"val_(256|large)\.tar",
    "places365_val.txt",
)


def group_of(name: str, group_by: GroupBy) -> str:
    """Return the subject of an image: its path, folder, or path less the last number.

    >>> group_of("mills/windmill_12.webp", "prefix")
    'mills/windmill'
    """
    path = Path(name)
    if group_by == "folder":
        return path.parent.as_posix()
    stem = path.with_suffix("").as_posix()
    return re.sub(r"[-_ .]*\d+$", "", stem) if group_by == "prefix" else name


class ImageFolder:
    """Image files at any depth below a folder.

    Files with an unreadable header are left out at once. Damage beyond the header
    raises a `UserError` when the image is read.

    Attributes:
        names: Paths below the folder, sorted.
        groups: Subject of each image; see `group_of`.
        skipped: Path of each file that was left out -> a sentence that says why.
        remarks: Sentences on files that are no pictures.
    """

    def __init__(
        self,
        folder: Path,
        *,
        group_by: GroupBy = "file",
        names: Sequence[str] | None = None,
        without: Path | None = None,
        max_megapixels: float = MAX_MEGAPIXELS,
    ):
        """Find and check the images.

        Args:
            folder: Folder of the images.
            group_by: Rule by which two images show one subject.
            names: Trusted list of paths below `folder`, which saves walking through a
                large tree.
            without: Folder, perhaps below `folder`, whose files are not taken.
            max_megapixels: Largest picture that is decoded.

        Raises:
            UserError: The folder does not exist or has no images, or over a fifth of
                them are broken.
        """
        self.folder, self._max_megapixels = folder, max_megapixels
        self.skipped: dict[str, str] = {}
        self.remarks: list[str] = []
        if names is None:
            found = list_images(folder, without=without)
            self.remarks = found.remarks(folder)
            if not found.names:
                raise UserError(
                    f"folder {folder} holds no images: put some in, as .jpg, .png, "
                    ".webp, .bmp, .gif or .tif files"
                )
            self.skipped = _faults(
                found.names,
                lambda n: header_fault(folder / n, max_megapixels=max_megapixels),
            )
            refuse_if_mostly_broken(self.skipped, len(found.names), str(folder))
            names = [n for n in found.names if n not in self.skipped]
        self.names = tuple(names)
        self.groups = tuple(group_of(name, group_by) for name in names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        file = self.folder / self.names[i]
        return decode_image(file, max_megapixels=self._max_megapixels)

    def fingerprint(self) -> str:
        """Hash names and contents; above 2 GiB, names, sizes and times."""
        paths = [self.folder / name for name in self.names]
        return fingerprint_files(paths, self.names)


class ImageTar:
    """Image files inside an uncompressed tar archive, read in place.

    Attributes:
        names: Paths inside the archive, sorted.
        groups: Subject of each image; see `group_of`.
        skipped: Path of each picture that cannot be read -> a sentence that says why.
        remarks: Sentences on pictures that are not used.
    """

    def __init__(
        self,
        archive: Path,
        *,
        group_by: GroupBy = "file",
        max_megapixels: float = MAX_MEGAPIXELS,
    ):
        self.archive, self._max_megapixels = archive, max_megapixels
        self.skipped: dict[str, str] = {}
        self.remarks: list[str] = []
        try:
            with archive.open("rb") as file:
                places = self._places_in(file)
        except FileNotFoundError:
            raise UserError(
                f"archive {archive} does not exist: check its path"
            ) from None
        # Damaged headers make tarfile raise errors of many types.
        except Exception as error:
            raise UserError(
                f"archive {archive} cannot be read ({error}): it must be a whole, "
                "uncompressed .tar; unpack other kinds and give the folder"
            ) from error
        total = len(places) + len(self.skipped)
        if not total:
            raise UserError(f"archive {archive} holds no images: give another file")
        refuse_if_mostly_broken(self.skipped, total, str(archive))
        self.names = tuple(sorted(places))
        self.groups = tuple(group_of(name, group_by) for name in self.names)
        self._places = [places[name] for name in self.names]
        self._file = os.open(archive, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def _places_in(self, file: io.BufferedReader) -> dict[str, tuple[int, int]]:
        """Return name -> offset and size of the pictures, links resolved."""
        places: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        end = os.fstat(file.fileno()).st_size
        for member in _members(file):
            path = PurePosixPath(member.name)
            if any(is_hidden(part) for part in path.parts if part != "."):
                continue
            if member.islnk() or member.issym():
                start = path.parent if member.issym() else PurePosixPath()
                target = os.path.normpath(start / member.linkname)
                links[member.name] = target
            elif member.isfile():
                whole = member.offset_data + member.size <= end
                head = os.pread(file.fileno(), 64, member.offset_data)
                if not looks_like_image(member.name, head[: member.size]):
                    continue
                if member.issparse() or not whole:
                    self.skipped[member.name] = f"{member.name} is sparse or cut short"
                else:
                    places[member.name] = (member.offset_data, member.size)
        by_path = {os.path.normpath(name): place for name, place in places.items()}
        next_of = {os.path.normpath(name): target for name, target in links.items()}
        for name, first in links.items():
            target = first
            for _ in links:  # a chain of links; one that closes ends too
                target = next_of.get(target, target)
            if target in by_path:
                places[name] = by_path[target]
            elif looks_like_image(name, b""):
                self.skipped[name] = f"{name} is a link to {first}, which is not there"
        return places

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        offset, size = self._places[i]
        # Unlike seek and read, pread lets several threads share the file.
        content = os.pread(self._file, size, offset)
        name = f"{self.names[i]} in {self.archive}"
        return decode_image(content, name, max_megapixels=self._max_megapixels)

    def fingerprint(self) -> str:
        """Hash the archive's content, above 2 GiB its size and time, and the limit.

        The limit decides which pictures are left out when they are decoded.
        """
        names = [*self.names, f"{self._max_megapixels} megapixels"]
        return fingerprint_files([self.archive], names)


def open_images(
    path: Path,
    group_by: GroupBy,
    *,
    without: Path | None = None,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> ImageFolder | ImageTar:
    """Open the images of a folder, or of a tar archive if `path` is a file."""
    if path.is_file():
        return ImageTar(path, group_by=group_by, max_megapixels=max_megapixels)
    return ImageFolder(
        path, group_by=group_by, without=without, max_megapixels=max_megapixels
    )


def open_places365(
    path: Path,
) -> tuple[ImageFolder | ImageTar, ImageFolder | ImageTar | None]:
    """Open the training and validation images of a Places365 download.

    `path` is a tar, or a folder with any of: the training images, standard or
    challenge, of 256 pixels or large, as a folder (data_256, data_large, with or
    without _standard; train_256, train_large) or tar; val_256 or val_large or its tar;
    and the lists of file names. Without a training part the validation images are
    returned first, to be trained on, and None second.

    Raises:
        UserError: The folder holds several training parts, or nothing that can be read.
    """
    if path.is_file():
        return ImageTar(path), None
    train = _part(path, _TRAIN_FOLDER, _TRAIN_TAR)
    val = _part(path, _VAL_FOLDER, _VAL_TAR, like=train)
    if train is None:
        return (
            ImageFolder(path) if val is None else _open_part(val, (_VAL_LIST,))
        ), None
    return _open_part(train, _TRAIN_LISTS), val and _open_part(val, (_VAL_LIST,))


def _part(
    root: Path, folders: str, tars: str, *, like: Path | None = None
) -> Path | None:
    """Return the only part in `root`, or that of the size of another part."""
    here = sorted(root.glob("*"))
    found = [p for p in here if re.fullmatch(folders, p.name) and p.is_dir()]
    found = found or [p for p in here if re.fullmatch(tars, p.name)]
    if like is not None and len(found) > 1:
        size = "large" if "_large" in like.name else "256"
        found = [p for p in found if size in p.name]
    if len(found) > 1:
        raise UserError(
            f"folder {root} holds {' and '.join(p.name for p in found)}: give one of "
            "them as path, and its validation images as val_path"
        )
    return found[0] if found else None


def _open_part(part: Path, lists: Sequence[str]) -> ImageFolder | ImageTar:
    if part.is_file():
        return ImageTar(part)
    found = [part.parent / name for name in lists if (part.parent / name).is_file()]
    if len(found) > 1:  # of both editions
        found = [file for file in found if file.stem.endswith(part.name.split("_")[-1])]
    if not found:
        return ImageFolder(part)
    # Editors may put a byte-order mark first.
    text = found[0].read_text("utf-8-sig", "surrogateescape")
    # "/a/airfield/00000001.jpg 0" or "Places365_val_00000001.jpg 165"
    names = [
        line.rsplit(" ", 1)[0].lstrip("/") for line in text.splitlines() if line.strip()
    ]
    return ImageFolder(part, names=names)


def fingerprint_files(
    paths: Sequence[Path], names: Sequence[str], *, hashed_bytes: int = _HASHED_BYTES
) -> str:
    """Hash names and contents by SHA-256; names, sizes and times above a total size.

    Args:
        paths: The files; an absent one is hashed as such.
        names: Names that the hash depends on.
        hashed_bytes: Largest total size of which the content is read, 2 GiB.
    """
    stamps = list(map_in_threads(_stamp, paths))
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape"))
    if sum(size for size, _ in stamps) > hashed_bytes:
        for size, time in stamps:
            digest.update(f"{size} {time}\n".encode())
    else:
        for content in map_in_threads(_hash_file, paths):
            digest.update(content)
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    """Return size in bytes and time of change in ns; (-1, -1) if there is no file."""
    try:
        stat = path.stat()
    except OSError:  # also a link to itself
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _hash_file(path: Path) -> bytes:
    try:
        if not path.is_file():  # a FIFO would be waited for
            return b""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return b""


def _faults(
    names: Sequence[str], fault_of: Callable[[str], str | None]
) -> dict[str, str]:
    """Return name -> fault of those that have one."""
    faults = zip(names, map_in_threads(fault_of, names), strict=True)
    return {name: fault for name, fault in faults if fault is not None}


def _members(file: io.BufferedReader) -> Iterator[tarfile.TarInfo]:
    """Yield the members of an archive; `tarfile` would keep a million of them."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
            if member.size < 0:  # the next member would lie before this one
                raise tarfile.ReadError(f"{member.name} has a negative size")
            yield member
