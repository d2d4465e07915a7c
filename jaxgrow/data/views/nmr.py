"""NMR: ShapeNet objects rendered by Kato, as Niemeyer et al. (2020, DVR) publish them.

    NMR_Dataset/<synset>/softras_{train,val,test}.lst     one object id per line
    NMR_Dataset/<synset>/<object>/image/0000.png ...      24 views on white
    NMR_Dataset/<synset>/<object>/cameras.npz

The training lists give partitions d and c, the test lists e; the validation lists are
not used. The top folder is optional.
"""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.files import map_in_threads
from jaxgrow.data.images import decode_image
from jaxgrow.data.views.archives import FolderFiles, ZipFiles, open_archive
from jaxgrow.data.views.cameras import azimuths_of, find_views, read_eyes
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.listing import Entry, Listing
from jaxgrow.data.views.pixels import resize_view
from jaxgrow.data.views.split import Candidate, divide
from jaxgrow.data.views.synsets import choose_classes
from jaxgrow.errors import UserError


_LISTS = {"softras_train.lst": False, "softras_test.lst": True}  # True: held out
_CHECKED = 3  # objects of each class whose cameras are read


@dataclasses.dataclass(frozen=True)
class _Listed:
    """Content of the lists; `folders` are those of the entries."""

    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    folders: tuple[str, ...]
    notes: tuple[str, ...]

    def wanted(self) -> list[str]:
        """Return the folders of the objects that have a part."""
        pairs = zip(self.folders, self.entries, strict=True)
        return [folder for folder, entry in pairs if entry.part is not None]

    def samples(self) -> list[str]:
        """Return the folders of the first few wanted objects of each class."""
        wanted: dict[int, list[str]] = {}
        for folder, entry in zip(self.folders, self.entries, strict=True):
            if entry.part is not None:
                wanted.setdefault(entry.label, []).append(folder)
        return [folder for folders in wanted.values() for folder in folders[:_CHECKED]]


class Nmr:
    """The archive, read in place, or its unpacked folder."""

    def __init__(self, config: ViewDataConfig, seed: int):
        assert config.path is not None  # checked by ViewDataConfig
        self._config, self._seed, self._path = config, seed, config.path

    def fingerprint(self) -> str:
        """Hash an archive's content, or names, sizes and times of a folder's files."""
        if not self._path.is_dir():
            return fingerprint_files([self._path], [])
        assert isinstance(self._files, FolderFiles)
        cameras = [f"{folder}/cameras.npz" for folder in self._listed.samples()]
        return self._files.fingerprint([*self._views_of_wanted(), *cameras])

    def list_objects(self) -> Listing:
        """List the objects, after checking that their views exist and their cameras.

        Raises:
            UserError: A file is missing, or no camera has a wanted azimuth.
        """
        self._refuse_absent()
        listed, (indices, notes) = self._listed, self._indices
        return Listing(
            class_names=listed.class_names,
            entries=listed.entries,
            observed=np.ones((len(listed.entries), len(indices)), bool),
            azimuths=self._config.azimuths,
            view_names=self._config.sides,
            notes=(*listed.notes, *notes),
            read=self._read,
        )

    def _read(self) -> Iterator[UInt8[np.ndarray, "v h w 3"]]:
        indices, _ = self._indices
        return map_in_threads(
            lambda folder: np.stack([self._view(folder, i) for i in indices]),
            self._listed.wanted(),
        )

    def _view(self, folder: str, index: int) -> UInt8[np.ndarray, "h w 3"]:
        name = _view_name(folder, index)
        pixels = decode_image(self._files.read(name), name)
        return resize_view(pixels, self._config.size, self._config.resize, name)

    @functools.cached_property
    def _files(self) -> FolderFiles | ZipFiles:
        return open_archive(self._path)

    @functools.cached_property
    def _listed(self) -> _Listed:
        return _read_lists(self._files, self._config, self._seed)

    @functools.cached_property
    def _indices(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Return the archive's index of each view, by its cameras; and notes."""
        wanted, samples = self._config.views, self._listed.samples()
        cameras = [f"{folder}/cameras.npz" for folder in samples]
        absent = set(self._files.absent(cameras))
        there = [name for name in cameras if name not in absent]
        if not there:
            return wanted, (
                f"no cameras.npz in {self._path}: its views are taken to be in the "
                "order of the published archive, unchecked",
            )
        orders = {}
        for name in there:
            azimuths = azimuths_of(read_eyes(self._files.read(name), name), name)
            orders[find_views(azimuths, self._config.azimuths, name)] = name
        if len(orders) > 1:
            one, other = list(orders.values())[:2]
            raise UserError(
                f"cameras {one} and {other} have their views in different orders: give "
                "the archive as it was published"
            )
        (found,) = orders
        if found == wanted:
            return wanted, ()
        return found, (
            f"the cameras in {self._path} say that its views at "
            f"{_degrees(self._config)} are {found} and not {wanted}, so that these "
            "are read",
        )

    def _views_of_wanted(self) -> list[str]:
        indices, _ = self._indices
        return [_view_name(f, i) for f in self._listed.wanted() for i in indices]

    def _refuse_absent(self) -> None:
        absent = self._files.absent(self._views_of_wanted())
        if not absent:
            return
        folder, name = absent[0].rsplit("/image/", 1)
        if self._files.has_folder(folder):
            raise UserError(
                f"object {folder} in {self._path} has no view image/{name} "
                f"({len(absent)} views are missing in all): unpack or download the "
                "data again"
            )
        synset, object_id = folder.split("/")[-2:]
        raise UserError(
            f"the lists of class {synset} name object {object_id}, which is not in "
            f"{self._path}: unpack or download the data again"
        )


def _read_lists(
    files: FolderFiles | ZipFiles, config: ViewDataConfig, seed: int
) -> _Listed:
    root, synsets = _find_synsets(files)
    classes = choose_classes(synsets, config.classes)
    candidates, folders = [], []
    for label, (synset, class_name) in enumerate(classes.items()):
        ids = []
        for listing, held_out in _LISTS.items():
            name = f"{root}{synset}/{listing}"
            if files.absent([name]):
                raise UserError(
                    f"class {class_name} in {files.path} has no list {listing}: "
                    "download the data again, or leave the class out of classes"
                )
            text = files.read(name).decode("utf-8-sig", errors="backslashreplace")
            for object_id in dict.fromkeys(text.split()):
                candidates.append(
                    Candidate(f"{synset}/{object_id}", label, object_id, held_out)
                )
                ids.append(object_id)
        if not ids:
            raise UserError(
                f"class {class_name} in {files.path} is empty: leave it out of classes"
            )
        folders += [f"{root}{synset}/{object_id}" for object_id in ids]
    entries, notes = divide(candidates, tuple(classes.values()), config, seed)
    return _Listed(tuple(classes.values()), entries, tuple(folders), notes)


def _find_synsets(files: FolderFiles | ZipFiles) -> tuple[str, list[str]]:
    """Return the path of the top folder, with a slash or empty, and its synsets."""
    places = [
        name.rsplit("/", 2)[:-1]
        for listing in _LISTS
        for name in files.ending_with(listing)
        if not name.startswith("__MACOSX/")
    ]
    if not places:
        raise UserError(
            f"{files.path} holds no <synset>/softras_train.lst: give NMR_Dataset.zip "
            "or its unpacked folder"
        )
    roots = {"/".join(place[:-1]) for place in places}
    root = min(roots, key=lambda path: (path.count("/"), len(path), path))
    synsets = sorted({p[-1] for p in places if "/".join(p[:-1]) == root})
    return f"{root}/" if root else "", synsets


def _view_name(folder: str, index: int) -> str:
    return f"{folder}/image/{index:04d}.png"


def _degrees(config: ViewDataConfig) -> str:
    return ", ".join(f"{azimuth:g}" for azimuth in config.azimuths) + " degrees"
