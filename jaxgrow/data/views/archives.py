"""Files of a data set that is a folder, or a zip archive that is read in place."""

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.files import map_in_threads
from jaxgrow.errors import UserError


# Raised by `zipfile` for a damaged archive.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError)
_MAX_BYTES = 2**26  # of one unpacked file: a view, a list or cameras


class FolderFiles:
    """Files below a folder, by their paths relative to it."""

    def __init__(self, folder: Path):
        self.path = folder

    def ending_with(self, ending: str) -> list[str]:
        """List the files named `ending` one or two folders further down, sorted."""
        found = [*self.path.glob(f"*/{ending}"), *self.path.glob(f"*/*/{ending}")]
        return sorted(file.relative_to(self.path).as_posix() for file in found)

    def absent(self, names: Sequence[str]) -> list[str]:
        """Return those of the files that do not exist."""
        there = map_in_threads(lambda name: (self.path / name).is_file(), names)
        return [name for name, ok in zip(names, there, strict=True) if not ok]

    def has_folder(self, name: str) -> bool:
        return (self.path / name).is_dir()

    def read(self, name: str) -> bytes:
        """Read a file; raise a `UserError` if it cannot be read."""
        try:
            size = (self.path / name).stat().st_size
            if size > _MAX_BYTES:
                raise UserError(
                    f"file {self.path / name} has {size} bytes, more than {_MAX_BYTES} "
                    "of a view or list: replace it"
                )
            return (self.path / name).read_bytes()
        except OSError as error:
            raise UserError(
                f"file {self.path / name} cannot be read ({error.strerror}): replace it"
            ) from error

    def fingerprint(self, names: Iterable[str]) -> str:
        """Hash the files' names, sizes and times."""
        files = sorted(names)
        return fingerprint_files([self.path / n for n in files], files, hashed_bytes=0)


class ZipFiles:
    """Files inside a zip archive, by their paths in it; threads may share it."""

    def __init__(self, archive: Path):
        """Read the archive's directory.

        Raises:
            UserError: The file is not a zip archive, or cut short.
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
        """List the files named `ending` at least one folder down, sorted."""
        return sorted(n for n in self._zip.NameToInfo if n.endswith("/" + ending))

    def absent(self, names: Sequence[str]) -> list[str]:
        """Return those of the files that do not exist."""
        return [name for name in names if name not in self._zip.NameToInfo]

    def has_folder(self, name: str) -> bool:
        return any(n.startswith(name + "/") for n in self._zip.NameToInfo)

    def read(self, name: str) -> bytes:
        """Read a file; raise a `UserError` if it is damaged or absurdly large."""
        size = self._zip.getinfo(name).file_size
        if size > _MAX_BYTES:
            raise UserError(
                f"{name} in archive {self.path} unpacks to {size} bytes, more than "
                f"{_MAX_BYTES} of a view or list: download the archive again"
            )
        try:
            return self._zip.read(name)
        except ZIP_ERRORS as error:
            raise UserError(
                f"{name} in archive {self.path} cannot be read ({error}): download it "
                "again, or unpack it and give the folder"
            ) from error


def open_archive(path: Path) -> FolderFiles | ZipFiles:
    return FolderFiles(path) if path.is_dir() else ZipFiles(path)
