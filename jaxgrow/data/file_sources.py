"""Images in folders and tar archives, Places365 among them."""

import hashlib
import os
import re
import tarfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.files import list_images, map_in_threads, refuse_if_mostly_broken
from jaxgrow.data.images import SUFFIXES, check_header, decode_image
from jaxgrow.errors import UserError


GroupBy = Literal["file", "folder", "prefix"]

_HASHED_BYTES = 2 * 1024**3  # the content of larger sets is not hashed
_TRAIN_FOLDERS = ("data_256_standard", "data_256", "train_256")
_TRAIN_LIST, _VAL_LIST = "places365_train_standard.txt", "places365_val.txt"
_TRAIN_TAR, _VAL_TAR = "train_256_places365standard.tar", "val_256.tar"


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
        skipped: Paths of the files that were left out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        group_by: GroupBy = "file",
        names: Sequence[str] | None = None,
    ):
        """Find and check the images.

        Args:
            folder: Folder of the images.
            group_by: Rule by which two images show one subject.
            names: Trusted list of paths below `folder`, which saves walking through a
                large tree.

        Raises:
            UserError: The folder does not exist or has no images, or over a fifth of
                them are broken.
        """
        self.folder = folder
        self.skipped: tuple[str, ...] = ()
        if names is None:
            names = list_images(folder)
            if not names:
                raise UserError(
                    f"folder {folder} holds no images: put some in, as .jpg, .png, "
                    ".webp, .bmp, .gif or .tif files"
                )
            good = list(map_in_threads(lambda n: check_header(folder / n), names))
            self.skipped = tuple(n for n, ok in zip(names, good, strict=True) if not ok)
            refuse_if_mostly_broken(self.skipped, len(names), str(folder))
            names = [n for n, ok in zip(names, good, strict=True) if ok]
        self.names = tuple(names)
        self.groups = tuple(group_of(name, group_by) for name in names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        return decode_image(self.folder / self.names[i])

    def fingerprint(self) -> str:
        """Hash names and contents; above 2 GiB, names, sizes and times."""
        paths = [self.folder / name for name in self.names]
        return fingerprint_files(paths, self.names)


class ImageTar:
    """Image files inside an uncompressed tar archive, read in place.

    Attributes:
        names: Paths inside the archive, sorted.
        groups: Subject of each image; see `group_of`.
    """

    def __init__(self, archive: Path, *, group_by: GroupBy = "file"):
        self.archive = archive
        places: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(archive, "r:") as tar:
                for member in tar:
                    # tarfile keeps all members, a million of them, unless cleared.
                    tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                    if member.isfile() and _is_image(member.name):
                        places[member.name] = (member.offset_data, member.size)
        except FileNotFoundError:
            raise UserError(
                f"archive {archive} does not exist: check its path"
            ) from None
        except tarfile.TarError as error:
            raise UserError(
                f"archive {archive} cannot be read ({error}): it must be a whole, "
                "uncompressed .tar; unpack other kinds and give the folder"
            ) from error
        if not places:
            raise UserError(f"archive {archive} holds no images: give another file")
        self.names = tuple(sorted(places))
        self.groups = tuple(group_of(name, group_by) for name in self.names)
        self._places = [places[name] for name in self.names]
        self._file = os.open(archive, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        offset, size = self._places[i]
        # Unlike seek and read, pread lets several threads share the file.
        content = os.pread(self._file, size, offset)
        return decode_image(content, f"{self.names[i]} in {self.archive}")

    def fingerprint(self) -> str:
        """Hash the archive's content; above 2 GiB, its size and time."""
        return fingerprint_files([self.archive], self.names)


def open_images(path: Path, group_by: GroupBy) -> ImageFolder | ImageTar:
    """Open the images of a folder, or of a tar archive if `path` is a file."""
    if path.is_file():
        return ImageTar(path, group_by=group_by)
    return ImageFolder(path, group_by=group_by)


def open_places365(
    path: Path,
) -> tuple[ImageFolder | ImageTar, ImageFolder | ImageTar | None]:
    """Open the training and validation images of a Places365 download.

    `path` is a tar, or a folder with any of: the training folder (data_256,
    data_256_standard or train_256) or its tar, val_256 or its tar, and the lists of
    file names. Without a training part the validation images are returned first, to
    be trained on, and None second.
    """
    if path.is_file():
        return ImageTar(path), None
    train = _part(path, _TRAIN_FOLDERS, _TRAIN_TAR, _TRAIN_LIST)
    val = _part(path, ("val_256",), _VAL_TAR, _VAL_LIST)
    first = train or val or ImageFolder(path)
    return first, val if train else None


def _part(
    root: Path, folders: Sequence[str], tar: str, listing: str
) -> ImageFolder | ImageTar | None:
    for folder in folders:
        if (root / folder).is_dir():
            if not (root / listing).is_file():
                return ImageFolder(root / folder)
            lines = (root / listing).read_text().splitlines()
            # "/a/airfield/00000001.jpg 0" or "Places365_val_00000001.jpg 165"
            names = [line.rsplit(" ", 1)[0].lstrip("/") for line in lines if line]
            return ImageFolder(root / folder, names=names)
    return ImageTar(root / tar) if (root / tar).is_file() else None


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
    digest = hashlib.sha256("\n".join(names).encode())
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
    except FileNotFoundError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _hash_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _is_image(name: str) -> bool:
    path = Path(name)
    return path.suffix.lower() in SUFFIXES and path.name[0] != "."
