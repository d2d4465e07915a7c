"""Sources of images, and their split into training and validation.

A source gives random access to uint8 images of any size, each with a name and a
subject.
"""

import dataclasses
import functools
import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from jaxgrow.data.array_sources import TfdsImages, digits, idx_images
from jaxgrow.data.file_sources import (
    GroupBy,
    ImageFolder,
    ImageTar,
    open_images,
    open_places365,
)
from jaxgrow.data.files import printable, some_of
from jaxgrow.data.image_files import MAX_MEGAPIXELS
from jaxgrow.data.splits import draw, draw_held_out, split_by_folders
from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Count, Fraction, Positive, Range


PHOTOS = Path(__file__).parents[1] / "assets" / "photos"
VALIDATION_SUBJECTS = {
    "cathedral",
    "dam",
    "empire-state",
    "great-wall",
    "opera-house",
    "parthenon",
    "picosdeeuropa-by-aitzol-berasategi",
    "statue-of-liberty",
    "taj-mahal",
}
_ENOUGH_CROPS = 50_000
MIN_CROP = 0.35
"""Side of the smallest crop, as a part of the image's short side."""


@runtime_checkable
class ImageSource(Protocol):
    """Random access to images; `groups` holds each image's subject."""

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def groups(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> UInt8[np.ndarray, "h w 3"]: ...

    def fingerprint(self) -> str:
        """Return a hash that changes when names or pixels do."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Images to train and validate on."""

    source: Literal["photos", "folder", "places365", "tfds", "idx", "digits"] = "photos"
    """photos: the 57 in the package; folder: your own images, or a .tar of them;
    places365: its folder or a .tar; tfds: a prepared TensorFlow data set; idx: a folder
    of MNIST-like files; digits: scikit-learn's 8x8 digits."""
    path: Path | None = None
    """Folder or .tar of the images; for tfds its data directory."""
    val_path: Path | None = None
    """Validation images; left out, a part of the others is held out."""
    val_fraction: Fraction = 0.1
    """Part of the images held out when the source has no validation set: the chance of
    each, so that images added later move none of the others."""
    group_by: GroupBy = "file"
    """Unit that is never split: one file, one folder, or file names that differ only in
    the number at their end."""
    crops_per_image: Annotated[int, Range(1, 65_536)] | None = None
    """Random crops of each training image, the first of them the whole centre square;
    left out, as many as make 50,000 in all, from 1 (and for idx and digits) to 256."""
    val_crops_per_image: Annotated[int, Range(1, 65_536)] = 8
    """Crops of each validation image; the first is the whole centre square."""
    max_images: Count | None = None
    """Use at most this many training images, chosen at random, and `val_fraction` of
    this number for validation."""
    max_megapixels: Positive = MAX_MEGAPIXELS
    """folder: largest picture that is read, in millions of pixels."""
    tfds_name: str = "places365_small"
    """Name of the TensorFlow data set."""
    cache_dir: Path | None = None
    """Folder of the scaled images; left out, jaxgrow in the user's cache folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source in ("folder", "places365", "idx") and self.path is None:
            raise UserError(
                f"source {self.source} needs the folder of its data: set path"
            )
        if self.source not in ("folder", "places365") and self.val_path is not None:
            raise UserError(
                f"source {self.source} holds out images by itself: leave val_path "
                f"{self.val_path} out"
            )


class Subset:
    """Some images of a source, in the order of `indices`."""

    def __init__(self, source: ImageSource, indices: Int[np.ndarray, " n"]):
        self.source, self.indices = source, tuple(int(i) for i in indices)
        self.names = tuple(source.names[i] for i in self.indices)
        self.groups = tuple(source.groups[i] for i in self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        return self.source[self.indices[i]]

    def fingerprint(self) -> str:
        """Hash the whole source and the names taken from it."""
        whole = self.source.fingerprint()
        names = "\n".join([whole, *self.names]).encode(errors="surrogateescape")
        return hashlib.sha256(names).hexdigest()


def embedded_photos() -> ImageFolder:
    """Open the package's 57 photographs of places; see their ATTRIBUTION.md."""
    names = sorted(path.name for path in PHOTOS.glob("*.webp"))
    return ImageFolder(PHOTOS, group_by="prefix", names=names)


def open_split(
    config: DataConfig, seed: int, *, without: Path | None = None
) -> tuple[ImageSource, ImageSource]:
    """Open training and validation images, with no subject in both.

    The embedded photographs have a fixed split, and a source with a validation part
    keeps it; a folder called val or test beside one called train is such a part.
    Otherwise each subject is drawn by a hash of `seed` and its name, so that images may
    be added without moving others; see `draw_held_out`. Pictures in the folder
    `without`, say of masks, are not taken.

    Raises:
        UserError: The data cannot be found or read, or cannot be split.
    """
    train, val = _open(config, without)
    if val is None:
        train, val = _hold_out(train, config, seed)
    if config.max_images is not None:
        num_val = max(1, round(config.max_images * config.val_fraction))
        train = _choose(train, config.max_images, seed)
        val = _choose(val, num_val, seed)
    return train, val


def num_crops(config: DataConfig, num_images: int) -> int:
    """Return the training crops per image, by default from the number of images."""
    if config.crops_per_image is not None:
        return config.crops_per_image
    if config.source in ("idx", "digits"):
        return 1
    return min(256, max(1, _ENOUGH_CROPS // num_images))


def _open(
    config: DataConfig, without: Path | None
) -> tuple[ImageSource, ImageSource | None]:
    if config.source == "photos":
        return embedded_photos(), None
    if config.source == "digits":
        return digits(), None
    if config.source == "tfds":
        train = TfdsImages(config.tfds_name, "train", config.path)
        return train, TfdsImages(config.tfds_name, "validation", config.path)
    assert config.path is not None  # checked by DataConfig
    if config.source == "idx":
        return idx_images(config.path, "train"), idx_images(config.path, "t10k")
    open_folder = functools.partial(
        open_images,
        group_by=config.group_by,
        without=without,
        max_megapixels=config.max_megapixels,
    )
    if config.val_path is not None:
        _refuse_overlap(config.path, config.val_path)
    if config.source == "places365":
        train, val = open_places365(config.path)
    else:
        train, val = open_folder(config.path), None
    if val is None:
        train, val = _by_folders(train, config.val_path)
    return train, val if config.val_path is None else open_folder(config.val_path)


def _by_folders(
    source: ImageFolder | ImageTar, val_path: Path | None
) -> tuple[ImageSource, ImageSource | None]:
    """Return the parts that the folders of a source are named for.

    What is called test validates if nothing is called val, and else is left out.
    """
    roles = split_by_folders(source.names)
    if roles is None:
        return source, None
    held_out = "val" if "val" in roles else "test"
    used = {"train": "training"}
    if val_path is None:
        used[held_out] = "validation"
    parts = []
    for role, purpose in used.items():
        part = Subset(source, np.flatnonzero([found == role for found in roles]))
        source.remarks.append(
            f"{len(part)} pictures in folders named for {purpose}, such as "
            f"{printable(part.names[0])}, are used for it"
        )
        parts.append(part)
    others = [n for n, r in zip(source.names, roles, strict=True) if r not in used]
    if others:
        source.remarks.append(
            f"neither trained nor validated on, as folders beside them are named for "
            f"that: {printable(some_of(others))}"
        )
    return parts[0], None if val_path is not None else parts[1]


def _refuse_overlap(path: Path, val_path: Path) -> None:
    # Path.resolve fails on a link that leads to itself.
    train, val = Path(os.path.realpath(path)), Path(os.path.realpath(val_path))
    if train == val or train in val.parents or val in train.parents:
        raise UserError(
            f"validation images in {val_path} are among the training images in {path}: "
            "move one out of the other, or leave val_path out"
        )


def _hold_out(
    source: ImageSource, config: DataConfig, seed: int
) -> tuple[ImageSource, ImageSource]:
    held_out, subjects = VALIDATION_SUBJECTS, set(source.groups)
    if config.source != "photos":
        if len(subjects) < 2:
            raise UserError(
                f"all {len(source)} images show one subject, {min(subjects)!r}, so "
                "that none can be held out: add others, set group_by to file, or give "
                "val_path"
            )
        held_out = draw_held_out(source.groups, config.val_fraction, seed)
    inside = np.array([group in held_out for group in source.groups])
    share = inside.mean() / config.val_fraction
    has_remarks = isinstance(source, ImageFolder | ImageTar)
    if has_remarks and config.source != "photos" and not 0.5 <= share <= 2:
        source.remarks.append(
            f"{inside.sum()} of {len(source)} pictures, {inside.mean():.0%} and not "
            f"{config.val_fraction:.0%}, are held out: group_by {config.group_by} "
            f"makes {len(subjects)} subjects, which are held out whole"
        )
    train, val = np.flatnonzero(~inside), np.flatnonzero(inside)
    return Subset(source, train), Subset(source, val)


def _choose(source: ImageSource, num_images: int, seed: int) -> ImageSource:
    """Take the images of the least draws, which more images hardly change."""
    if len(source) <= num_images:
        return source
    draws = [draw(seed, "choice", name) for name in source.names]
    return Subset(source, np.sort(np.argsort(draws)[:num_images]))
