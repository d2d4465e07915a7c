"""The older form of NMR, as SoftRas (Liu et al. 2019) publishes it.

    <synset>_{train,val,test}_images.npz     uint8 (objects, 24, 4, 64, 64), RGBA

The training files give partitions d and c, the test files e; the validation files are
not used. They are read object by object, because one file may hold 2 GB.
"""

import contextlib
import functools
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.views.archives import ZIP_ERRORS
from jaxgrow.data.views.config import NUM_RENDERED, ViewDataConfig
from jaxgrow.data.views.listing import Entry, Listing
from jaxgrow.data.views.pixels import resize_view
from jaxgrow.data.views.split import Candidate, divide
from jaxgrow.data.views.synsets import choose_classes
from jaxgrow.errors import UserError


_NAME = re.compile(r"(.+)_(?:train|test)_images\.npz")


class _File(NamedTuple):
    """One of the files; `is_inverted` is found from its first object."""

    path: Path
    label: int
    held_out: bool
    num_objects: int
    is_inverted: bool


class SoftRas:
    """A folder of SoftRas's files."""

    def __init__(self, config: ViewDataConfig, seed: int):
        assert config.path is not None  # checked by ViewDataConfig
        self._config, self._seed, self._path = config, seed, config.path
        if not self._path.is_dir():
            raise UserError(
                f"path {self._path} is a file: give the folder of the "
                "<synset>_train_images.npz"
            )
        matches = [_NAME.fullmatch(file.name) for file in self._path.iterdir()]
        ids = {match[1] for match in matches if match}
        if not ids:
            raise UserError(
                f"folder {self._path} holds no <synset>_train_images.npz: give the "
                "folder of SoftRas's files"
            )
        self._classes = choose_classes(ids, config.classes)
        self._paths = [
            (self._path / f"{synset}_{part}_images.npz", label, part == "test")
            for label, synset in enumerate(self._classes)
            for part in ("train", "test")
        ]
        for path, _, _ in self._paths:
            if not path.is_file():
                raise UserError(
                    f"file {path} does not exist: download it, or leave its class out "
                    "of classes"
                )

    def fingerprint(self) -> str:
        """Hash the files' content; above 2 GiB their sizes and times."""
        paths = [path for path, _, _ in self._paths]
        return fingerprint_files(paths, [path.name for path in paths])

    def list_objects(self) -> Listing:
        """List the objects of all files, and note files with inverted colours.

        Raises:
            UserError: A file is damaged or holds other arrays, or a class is empty.
        """
        files = [_look_into(*place) for place in self._paths]
        names = tuple(self._classes.values())
        for label, name in enumerate(names):
            if not any(file.num_objects for file in files if file.label == label):
                raise UserError(
                    f"class {name} in {self._path} is empty: leave it out of classes"
                )
        candidates = []
        for file in files:
            ids = [
                f"{file.path.name.removesuffix('_images.npz')}/{i:05d}"
                for i in range(file.num_objects)
            ]
            candidates += [Candidate(i, file.label, i, file.held_out) for i in ids]
        entries, notes = divide(candidates, names, self._config, self._seed)
        inverted = [file.path.name for file in files if file.is_inverted]
        if inverted:
            some = ", ".join(inverted[:3]) + (", ..." if len(inverted) > 3 else "")
            notes = (
                *notes,
                f"{len(inverted)} files in {self._path} have inverted colours, black "
                f"ground instead of white, and are turned back ({some})",
            )
        return Listing(
            class_names=names,
            entries=entries,
            observed=np.ones((len(entries), len(self._config.views)), bool),
            azimuths=self._config.azimuths,
            view_names=self._config.sides,
            notes=notes,
            read=functools.partial(self._read, files, entries),
        )

    def _read(
        self, files: list[_File], entries: tuple[Entry, ...]
    ) -> Iterator[UInt8[np.ndarray, "v h w 3"]]:
        rest = iter(entries)
        for file in files:
            with _open_rows(file.path) as (content, shape):
                for _ in range(shape[0]):
                    row = _read_row(content, shape, file.path)
                    if next(rest).part is None:
                        continue
                    views = row[list(self._config.views), :3].transpose(0, 2, 3, 1)
                    if file.is_inverted:
                        views = 255 - views
                    size, resize = self._config.size, self._config.resize
                    name = str(file.path)
                    yield np.stack([resize_view(v, size, resize, name) for v in views])


def _look_into(path: Path, label: int, held_out: bool) -> _File:
    with _open_rows(path) as (content, shape):
        row = _read_row(content, shape, path) if shape[0] else None
    is_inverted = row is not None and _has_black_ground(row, path)
    return _File(path, label, held_out, shape[0], is_inverted)


def _has_black_ground(row: UInt8[np.ndarray, "v 4 h w"], path: Path) -> bool:
    """True if the corners, which no object reaches, are black instead of white."""
    corners = np.median(row[:, :3, :: row.shape[2] - 1, :: row.shape[3] - 1])
    if 16 < corners < 239:
        raise UserError(
            f"views in {path} have a ground of {corners:.0f}, neither white (255) nor "
            "inverted (0): download the file again"
        )
    return bool(corners <= 16)


@contextlib.contextmanager
def _open_rows(path: Path) -> Iterator[tuple[zipfile.ZipExtFile, tuple[int, ...]]]:
    """Open the single array of an .npz, as a stream of its values and its shape."""
    with contextlib.ExitStack() as stack:
        with _explain(path):
            archive = stack.enter_context(zipfile.ZipFile(path))
            (name,) = archive.namelist()
            content = stack.enter_context(archive.open(name))
            stored = archive.getinfo(name).file_size
            assert isinstance(content, zipfile.ZipExtFile)  # the stub gives IO[bytes]
            version = np.lib.format.read_magic(content)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, is_fortran, dtype = read_header(content)
        if len(shape) != 5 or shape[1] != NUM_RENDERED or shape[2] != 4:
            raise UserError(
                f"file {path} holds an array of shape {shape}, not (objects, "
                f"{NUM_RENDERED}, 4, height, width): give SoftRas's files"
            )
        if dtype != np.uint8 or is_fortran:
            order = " in Fortran's order" if is_fortran else ""
            raise UserError(
                f"file {path} holds {dtype}{order}, not uint8 in C's order: give "
                "SoftRas's files"
            )
        side, claimed = shape[3], content.tell() + math.prod(shape)
        if shape[0] < 0 or side < 2 or shape[4] != side:
            raise UserError(
                f"file {path} says that it holds {shape[0]} objects with views of "
                f"{shape[4]}x{side} pixels: give SoftRas's files"
            )
        # A header alone can claim any size; zip packs at most 1032 bytes into one.
        if claimed != stored or claimed > 1032 * path.stat().st_size:
            raise UserError(
                f"file {path} says that it holds {claimed} bytes, and does not: "
                "download it again"
            )
        yield content, shape


def _read_row(
    content: zipfile.ZipExtFile, shape: tuple[int, ...], path: Path
) -> UInt8[np.ndarray, "v 4 h w"]:
    num_bytes = math.prod(shape[1:])
    with _explain(path):
        row = content.read(num_bytes)
        if len(row) < num_bytes:
            raise EOFError("the array ends early")
    return np.frombuffer(row, np.uint8).reshape(shape[1:])


@contextlib.contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except (*ZIP_ERRORS, ValueError, KeyError) as error:
        raise UserError(
            f"file {path} cannot be read ({error}): it is no .npz of one array, or "
            "damaged; download it again"
        ) from error
