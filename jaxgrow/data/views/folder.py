"""Objects in folders: <class>/<object>/<view>.<any image format>.

If the folder holds `train` and `test`, by any of their names in `splits.roles_of`, and
these hold classes, `test` is partition e, or `val` if there is no `test`. Otherwise a
part of the objects is held out by the hash of `<class>/<object>`.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.files import is_hidden, list_images, map_in_threads, printable
from jaxgrow.data.images import decode_image
from jaxgrow.data.splits import roles_of
from jaxgrow.data.views.config import ViewDataConfig
from jaxgrow.data.views.listing import Listing
from jaxgrow.data.views.pixels import resize_view
from jaxgrow.data.views.sides import azimuths_of_names
from jaxgrow.data.views.split import Candidate, divide
from jaxgrow.data.views.synsets import choose_classes
from jaxgrow.errors import UserError


_WHITE = 255


@dataclasses.dataclass(frozen=True)
class _Object:
    """One object: its folder and the files of its views, relative to the root."""

    path: str
    class_name: str
    held_out: bool | None
    files: dict[str, str]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that orders numbers inside names by value.

    >>> sorted(["view10", "view2", "front"], key=natural_key)
    ['front', 'view2', 'view10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [
        (0, int(part), part) if i % 2 else (1, 0, part) for i, part in enumerate(parts)
    ]


class ObjectFolders:
    """A folder of classes, which are folders of objects, which hold the views."""

    def __init__(self, config: ViewDataConfig, seed: int):
        assert config.path is not None  # checked by ViewDataConfig
        self._config, self._seed, self._root = config, seed, config.path
        listed = list_images(self._root)
        found, unused = _find_objects(self._root, listed.names)
        self._remarks = [*listed.remarks(self._root), *unused]
        self._names = tuple(
            choose_classes({o.class_name for o in found}, config.classes, names={})
        )
        self._objects = [o for o in found if o.class_name in self._names]
        self._view_names = config.view_names or _common_views(self._objects, self._root)
        self._observed = self._find_views()

    def fingerprint(self) -> str:
        """Hash names and contents; above 2 GiB, names, sizes and times."""
        files = [
            o.files[name]
            for o in self._objects
            for name in self._view_names
            if name in o.files
        ]
        return fingerprint_files([self._root / f for f in files], files)

    def list_objects(self) -> Listing:
        candidates = [
            Candidate(
                object_id=o.path,
                label=self._names.index(o.class_name),
                identity=o.path,
                held_out=o.held_out,
            )
            for o in self._objects
        ]
        entries, notes = divide(candidates, self._names, self._config, self._seed)
        notes = (*notes, *self._remarks)
        num_missing = int((~self._observed).sum())
        if num_missing:
            notes = (
                *notes,
                f"{num_missing} of {self._observed.size} views in {self._root} are "
                "missing",
            )
        azimuths = azimuths_of_names(self._view_names)
        names = ", ".join(self._view_names)
        if azimuths is None:
            said = (
                f"views {names} have no azimuths, as not all of these names are sides, "
                "such as front, right, back and left, or degrees, such as az090"
            )
        else:
            degrees = ", ".join(f"{azimuth:g}" for azimuth in azimuths)
            said = f"views {names} are taken to be at {degrees} degrees, by their names"
        notes = (*notes, said)
        kept = [
            o for o, e in zip(self._objects, entries, strict=True) if e.part is not None
        ]
        return Listing(
            class_names=self._names,
            entries=entries,
            observed=self._observed,
            azimuths=azimuths,
            view_names=self._view_names,
            notes=notes,
            read=functools.partial(self._read, kept),
        )

    def _read(self, kept: Sequence[_Object]) -> Iterator[UInt8[np.ndarray, "v h w 3"]]:
        return map_in_threads(self._views, kept)

    def _views(self, one: _Object) -> UInt8[np.ndarray, "v h w 3"]:
        size, resize = self._config.size, self._config.resize
        views = np.full((len(self._view_names), size, size, 3), _WHITE, np.uint8)
        for view, name in zip(views, self._view_names, strict=True):
            if name in one.files:
                file = self._root / one.files[name]
                view[:] = resize_view(decode_image(file), size, resize, str(file))
        return views

    def _find_views(self) -> Bool[np.ndarray, "n v"]:
        observed = np.array(
            [[name in o.files for name in self._view_names] for o in self._objects]
        )
        for one, there in zip(self._objects, observed, strict=True):
            if not there.any():
                raise UserError(
                    f"object {one.path} in {self._root} has none of the views "
                    f"{', '.join(self._view_names)}: name its files so"
                )
            if not there.all() and not self._config.allow_missing:
                missing = self._view_names[int(there.argmin())]
                raise UserError(
                    f"object {one.path} in {self._root} has no view {missing}: add it, "
                    "or set allow_missing to take the object along without it"
                )
        return observed


def _find_objects(root: Path, names: Sequence[str]) -> tuple[list[_Object], list[str]]:
    """Return the objects, and a sentence on those that are not used."""
    roles = roles_of({name.split("/")[0] for name in names if "/" in name})
    held_out = "test" if "test" in roles.values() else "val"
    roles = {top: role for top, role in roles.items() if role in ("train", held_out)}
    unused: set[str] = set()
    folders: dict[str, dict[str, str]] = {}
    for name in names:
        if roles and name.split("/")[0] not in roles:
            unused.add(name.rpartition("/")[0])
            continue
        if name.count("/") != 2 + bool(roles):
            layout = (
                f"<{' or '.join(roles)}>/" * bool(roles) + "<class>/<object>/<view>"
            )
            raise UserError(f"image {name} in {root} is not at {layout}: move it there")
        path, file = printable(name).rsplit("/", 1)
        views = folders.setdefault(path, {})
        view = Path(file).stem
        if view in views:
            raise UserError(
                f"object {path} in {root} has view {view} twice ({views[view]} and "
                f"{name}): keep one of them"
            )
        views[view] = name
    if not folders:
        raise UserError(
            f"folder {root} holds no images: put them at <class>/<object>/<view>.png"
        )
    _refuse_empty(root, list(roles), set(folders))
    objects = [
        _Object(
            path=path,
            class_name=path.split("/")[-2],
            held_out=roles[path.split("/")[0]] == held_out if roles else None,
            files=views,
        )
        for path, views in sorted(
            folders.items(), key=lambda item: natural_key(item[0])
        )
    ]
    if not unused:
        return objects, []
    return objects, [
        f"{len(unused)} objects, such as {printable(min(unused))}, are not used: "
        f"folders beside them are called {' and '.join(sorted(roles))}"
    ]


def _refuse_empty(root: Path, tops: Sequence[str], objects: set[str]) -> None:
    """Refuse classes and objects without a view, instead of ignoring them."""
    classes = {path.rsplit("/", 1)[0] for path in objects}
    parents = [root / top for top in tops] or [root]
    for what, pattern, full in (("class", "*/", classes), ("object", "*/*/", objects)):
        for folder in sorted(f for parent in parents for f in parent.glob(pattern)):
            name = printable(folder.relative_to(root).as_posix())
            if name not in full and not any(map(is_hidden, name.split("/"))):
                raise UserError(
                    f"{what} {name} in {root} holds no images: add some or remove it"
                )


def _common_views(objects: Sequence[_Object], root: Path) -> tuple[str, ...]:
    views = sorted({view for o in objects for view in o.files}, key=natural_key)
    if len(views) < 2:
        raise UserError(
            f"the objects in {root} have one view, {views[0]}: at least 2 are needed"
        )
    return tuple(views)
