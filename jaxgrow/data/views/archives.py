"""Files of a data set that is a zip archive, read in place, or a folder."""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.files import map_in_threads
from jaxgrow.errors import UserError


T = TypeVar("T")
_FEW = 500  # below this, starting threads costs more than it saves


class FolderFiles:
    """Files below a folder, by their paths relative to it."""

    def __init__(self, folder: Path):
        self.path = folder

    def ending_with(self, ending: str) -> list[str]:
        """Files `ending`, at most two folders further down, sorted."""
        found = [*self.path.glob(f"*/{ending}"), *self.path.glob(f"*/*/{ending}")]
        return sorted(file.relative_to(self.path).as_posix() for file in found)

    def absent(self, names: Sequence[str]) -> list[str]:
        """Those of the files that are not there."""
        there = _map(lambda name: (self.path / name).is_file(), names)
        return [name for name, ok in zip(names, there, strict=True) if not ok]

    def has_folder(self, name: str) -> bool:
        return (self.path / name).is_dir()

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            UserError: It cannot be read.
        """
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            raise UserError(
                f"file {self.path / name} cannot be read ({error.strerror}): replace it"
            ) from error

    def fingerprint(self, names: Iterable[str]) -> str:
        """Hash of the files' names, sizes and times."""
        files = sorted(names)
        digest = hashlib.sha256("\n".join(files).encode())
        for line in _map(self._stamp, files):
            digest.update(line)
        return digest.hexdigest()

    def _stamp(self, name: str) -> bytes:
        try:
            stat = (self.path / name).stat()
        except FileNotFoundError:
            return b"absent\n"
        return f"{stat.st_size} {stat.st_mtime_ns}\n".encode()


class ZipFiles:
    """Files inside a zip archive, by their paths in it; threads may share it."""

    def __init__(self, archive: Path):
        """Reads the archive's directory.

        Raises:
            UserError: The file is no zip archive, or not the whole of it.
        """
        self.path = archive
        try:
            self._zip = zipfile.ZipFile(archive)
        except (zipfile.BadZipFile, OSError) as error:
            raise UserError(
                f"archive {archive} cannot be read ({error}): it is no zip, or cut "
                "short; download it again"
            ) from error

    def ending_with(self, ending: str) -> list[str]:
        """Files `ending`, at least one folder down, sorted."""
        return sorted(n for n in self._zip.NameToInfo if n.endswith("/" + ending))

    def absent(self, names: Sequence[str]) -> list[str]:
        """Those of the files that are not there."""
        return [name for name in names if name not in self._zip.NameToInfo]

    def has_folder(self, name: str) -> bool:
        return any(n.startswith(name + "/") for n in self._zip.NameToInfo)

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            UserError: It is damaged.
        """
        try:
            return self._zip.read(name)
        except (
            zipfile.BadZipFile,
            zlib.error,
            OSError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise UserError(
                f"{name} in archive {self.path} cannot be read ({error}): download it "
                "again, or unpack it and give the folder"
            ) from error


def _map(fn: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    return map(fn, names) if len(names) < _FEW else map_in_threads(fn, names)


def open_files(path: Path) -> FolderFiles | ZipFiles:
    return FolderFiles(path) if path.is_dir() else ZipFiles(path)


def fingerprint_archive(path: Path) -> str:
    """Hash of an archive's content, or above 2 GiB of its size and time."""
    return fingerprint_files([path], [])
