"""Pairs of image files: a real picture, the one generated from it, and the hole."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from jaxgrow.data.files import list_images, stem_of
from jaxgrow.data.images import decode_image
from jaxgrow.data.mask_reading import load_mask
from jaxgrow.errors import UserError


Note = Callable[[str], None]


class FilePair(NamedTuple):
    """Two files of one name, and the mask of that name or the only one."""

    name: str
    real: Path
    fake: Path
    mask: Path | None


class LoadedPair(NamedTuple):
    """The pixels of a pair; `hole` is True where the pixel was generated."""

    name: str
    real: UInt8[np.ndarray, "h w 3"]
    fake: UInt8[np.ndarray, "h w 3"]
    hole: Bool[np.ndarray, "h w"] | None


def files_by_name(folder: Path) -> dict[str, Path]:
    """Return path below the folder -> image file; raise a `UserError` if empty."""
    found = {name: folder / name for name in list_images(folder).names}
    if not found:
        raise UserError(f"{folder} holds no images: give a folder of images.")
    return found


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Return path below the folder without its suffix -> image file, sorted.

    Raises:
        UserError: No folder, an empty one, or two files that differ in type only.
    """
    found: dict[str, Path] = {}
    for name, path in files_by_name(folder).items():
        stem = stem_of(name)
        if stem in found:
            raise UserError(
                f"{found[stem]} and {path} differ in type only: rename one."
            )
        found[stem] = path
    return found


def pair_folders(real: Path, fake: Path, masks: Path | None) -> list[FilePair]:
    """Pair the files of two folders by name: a/b.jpg goes with a/b.png.

    Args:
        real: Folder of the originals.
        fake: Folder of the generated images, one per original.
        masks: Folder of masks under the same names, one mask file for all, or None.

    Raises:
        UserError: A folder is missing or empty, or a name is not in all of them.
    """
    reals, fakes = files_by_stem(real), files_by_stem(fake)
    folders = [(real, reals), (fake, fakes)]
    by_name: dict[str, Path] = {}
    if masks is not None and not masks.is_file():
        by_name = files_by_stem(masks)
        folders.append((masks, by_name))
    for (here, names), (there, others) in itertools.permutations(folders, 2):
        # One set of masks may serve several results.
        if here is not masks and (alone := [n for n in names if n not in others]):
            mend = (
                "add them" if there is masks else "pair all, or compare them unpaired"
            )
            raise UserError(
                f"{len(alone)} of {len(names)} images in {here} have no counterpart in "
                f"{there} ({names[alone[0]].name} is the first): {mend}."
            )
    return [
        FilePair(name, reals[name], fakes[name], by_name.get(name, masks))
        for name in reals
    ]


def load_pair(pair: FilePair, *, invert: bool) -> LoadedPair:
    """Decode the files of a pair.

    Raises:
        UserError: A file is broken, sizes differ, or the mask has no hole.
    """
    real, fake = decode_image(pair.real), decode_image(pair.fake)
    _check_size(pair.fake, fake, pair.real, real)
    if pair.mask is None:
        return LoadedPair(pair.name, real, fake, None)
    hole, _ = load_mask(pair.mask, invert=invert)
    _check_size(pair.mask, hole, pair.real, real)
    if not hole.any():
        raise UserError(
            f"{pair.mask} has no hole to measure in: white marks the hole, or invert "
            "the masks."
        )
    return LoadedPair(pair.name, real, fake, hole)


class KnownPixels:
    """Statistics of pixels outside of the holes that generated images change."""

    def __init__(self) -> None:
        self._changed, self._worst, self._inverted, self._total = 0, 0, 0, 0

    def add(self, pair: LoadedPair) -> None:
        if pair.hole is None:
            return
        change = np.abs(pair.real.astype(np.int16) - pair.fake)[~pair.hole]
        worst = int(change.max(initial=0))
        self._changed += worst > 0
        self._worst = max(worst, self._worst)
        self._inverted += bool(pair.hole.mean() > 0.5)
        self._total += 1

    def report(self, note: Note) -> None:
        """Call `note` with a sentence for each oddity."""
        if self._changed:
            note(
                f"{self._changed} of {self._total} generated images differ from the "
                f"real ones outside of the hole, by up to {self._worst} of 255"
            )
        if self._inverted > self._total / 2:
            note("most masks are more than half hole: they look inverted")


def _check_size(
    path: Path, pixels: np.ndarray, other: Path, wanted: np.ndarray
) -> None:
    (h, w), (wanted_h, wanted_w) = pixels.shape[:2], wanted.shape[:2]
    if (h, w) != (wanted_h, wanted_w):
        raise UserError(
            f"{path} has {w}x{h} pixels and {other} {wanted_w}x{wanted_h}: give both "
            "in one size."
        )
