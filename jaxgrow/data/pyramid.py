"""Square crops of images at several resolutions, computed once and cached.

Speck et al. (2023) name rebuilding the data for each resolution as their bottleneck.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from jaxgrow.data import cache
from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.files import (
    first_of,
    list_images,
    map_in_threads,
    refuse_if_mostly_broken,
    stem_of,
)
from jaxgrow.data.image_files import MAX_MEGAPIXELS
from jaxgrow.data.mask_files import shrink_mask
from jaxgrow.data.mask_reading import load_mask
from jaxgrow.data.resample import area_means, average_2x2, block_means, running_sums
from jaxgrow.data.sources import ImageSource
from jaxgrow.errors import UserError


# Keys are resolutions: the middle axes have that length.
Levels = dict[int, UInt8[np.ndarray, "k _ _ c"]]
_CROPS = 0xC2095  # a stream of random numbers of its own
_FORMAT = 4  # to be raised when the computation of the pixels changes


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """Square crops at several resolutions; row i is the same crop in each.

    Attributes:
        images: (n, r, r, 3) at each resolution r, or (n, r, r, 1) of 0 and 1 for
            masks; mapped from disk, read-only.
        names: Name of each row's image.
        image_index: Index of each row's image in the source.
        skipped: Names of broken images, which have no rows.
        was_damaged: True if a damaged cache was found and rebuilt.
        digest: Hash of all pixels.
    """

    images: dict[int, UInt8[np.ndarray, "n _ _ c"]]
    names: tuple[str, ...]
    image_index: Int[np.ndarray, " n"]
    skipped: tuple[str, ...]
    was_damaged: bool
    digest: str


def load_pyramid(
    source: ImageSource,
    resolutions: Sequence[int],
    *,
    crops_per_image: int,
    min_crop: float,
    seed: int,
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Pyramid:
    """Return crops of `source`, from the cache or made now.

    Every pixel is the exact mean of its area of the crop, rounded once. Crops with
    fewer pixels than the largest resolution are first enlarged to it by cubic
    interpolation.

    Args:
        source: Images of any size of at least 2 pixels a side.
        resolutions: Each is the largest one halved some number of times.
        crops_per_image: See `crop_boxes`.
        min_crop: Side of the smallest crop, as a part of the short side.
        seed: Seed of the crops.
        cache_dir: Folder of the cache; `runtime.cache_folder()` if None.
        on_progress: Called with the images done and their total, when building.

    Raises:
        UserError: The cache cannot be written, or over a fifth of the images are
            broken.
    """
    _check_halves(resolutions)

    def cut(i: int, pixels: np.ndarray, boxes: np.ndarray) -> Levels:
        return cut_levels(pixels, boxes, resolutions)

    job = _Job(source, cut, sorted(resolutions), 3, crops_per_image, min_crop, seed)
    return _load(job, ["images", source.fingerprint()], cache_dir, on_progress)


def load_mask_pyramid(
    source: ImageSource,
    mask_folder: Path,
    resolutions: Sequence[int],
    *,
    crops_per_image: int,
    min_crop: float,
    seed: int,
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Pyramid:
    """Return the masks paired with the images, in the rows and crops of `load_pyramid`.

    The mask of image `a/b.jpg` is the file `a/b` of any image type in `mask_folder`.
    Every crop keeps its hole's area, but has at least one hole and one known pixel.

    Raises:
        UserError: As `load_pyramid`; also if an image has no mask or two, or a mask
            has another size than its image, no hole, or no known pixel.
    """
    partners, sides = pair_masks(source.names, mask_folder), sorted(resolutions)

    def cut(i: int, pixels: np.ndarray, boxes: np.ndarray) -> Levels:
        mask = _paired_mask(source.names[i], mask_folder / partners[i], pixels)
        edges = [(x, y, x + side, y + side) for x, y, side in boxes.tolist()]
        levels = {r: np.stack([shrink_mask(mask, r, e) for e in edges]) for r in sides}
        return {r: rows[..., None].astype(np.uint8) for r, rows in levels.items()}

    masks = fingerprint_files([mask_folder / name for name in partners], partners)
    job = _Job(source, cut, sides, 1, crops_per_image, min_crop, seed)
    return _load(job, ["masks", source.fingerprint(), masks], cache_dir, on_progress)


def crop_boxes(
    height: int, width: int, num_crops: int, min_crop: float, rng: np.random.Generator
) -> Int[np.ndarray, "n 3"]:
    """Draw square crops: their left and upper edges and sides, in pixels.

    The first is the largest square in the middle. The others have sides uniform
    between `min_crop` and 1 times the short side, anywhere inside the image.
    """
    short = min(height, width)
    scale, x, y = rng.random((num_crops, 3)).T
    sides = np.rint(short * (min_crop + (1 - min_crop) * scale)).astype(int).clip(2)
    left, upper = x * (width - sides + 1), y * (height - sides + 1)
    boxes = np.stack([left.astype(int), upper.astype(int), sides], axis=1)
    boxes[0] = ((width - short) // 2, (height - short) // 2, short)
    return boxes


def cut_levels(
    pixels: UInt8[np.ndarray, "h w 3"],
    boxes: Int[np.ndarray, "k 3"],
    resolutions: Sequence[int],
) -> Levels:
    """Cut crops from one image at every resolution; see `load_pyramid`."""
    size = max(resolutions)
    sums = None
    means = np.empty((len(boxes), size, size, 3))
    for crop, (left, upper, side) in zip(means, boxes.tolist(), strict=True):
        edges = (left, upper, left + side, upper + side)
        if side % size == 0:
            square = pixels[upper : upper + side, left : left + side]
            crop[:] = block_means(square, size)
        elif side > size:
            sums = running_sums(pixels) if sums is None else sums
            crop[:] = area_means(sums, edges, size)
        else:
            larger = Image.fromarray(pixels).resize(
                (size, size), Image.Resampling.BICUBIC, edges
            )
            crop[:] = np.asarray(larger)
    levels = {}
    while True:
        if size in resolutions:
            levels[size] = (means + 0.5).astype(np.uint8)
        if size == min(resolutions):
            return levels
        means, size = average_2x2(means), size // 2


def pair_masks(names: Sequence[str], mask_folder: Path) -> list[str]:
    """Return the mask file of the same path but for its suffix, for each image name."""
    found: dict[str, str] = {}
    for file in list_images(mask_folder).names:
        stem = stem_of(file)
        if stem in found:
            raise UserError(
                f"masks {found[stem]} and {file} in {mask_folder} have the same name: "
                "keep one of them"
            )
        found[stem] = file
    partners = [found.get(stem_of(name)) for name in names]
    lone = [n for n, mask in zip(names, partners, strict=True) if mask is None]
    if lone:
        raise UserError(
            f"{len(lone)} of {len(names)} images have no mask of the same name in "
            f"{mask_folder} ({first_of(lone)}): add the masks, or set pairing to random"
        )
    return [mask for mask in partners if mask is not None]


def _paired_mask(name: str, file: Path, pixels: UInt8[np.ndarray, "h w 3"]):
    allowed = pixels.shape[0] * pixels.shape[1] / 1e6  # as its picture was
    mask, _ = load_mask(file, max_megapixels=max(MAX_MEGAPIXELS, allowed))
    if mask.shape != pixels.shape[:2]:
        (h, w), (mask_h, mask_w) = pixels.shape[:2], mask.shape
        raise UserError(
            f"mask {file} has {mask_w}x{mask_h} pixels but image {name} has {w}x{h}: "
            "scale it to the same size"
        )
    if mask.all() or not mask.any():
        what = "no hole" if not mask.any() else "nothing but hole"
        raise UserError(
            f"mask {file} has {what}: white (128 and above) marks the hole, and black "
            "the rest"
        )
    return mask


@dataclasses.dataclass(frozen=True)
class _Job:
    source: ImageSource
    cut: Callable[[int, np.ndarray, np.ndarray], Levels]
    """Cuts image i, of these pixels, at these boxes."""
    resolutions: Sequence[int]
    channels: int
    crops_per_image: int
    min_crop: float
    seed: int

    def levels_of(self, i: int) -> Levels | None:
        """Rows of image i at every resolution; None if it is broken."""
        try:
            pixels = self.source[i]
        except UserError:
            return None
        rng = np.random.default_rng((_CROPS, self.seed, i))
        height, width = pixels.shape[:2]
        boxes = crop_boxes(height, width, self.crops_per_image, self.min_crop, rng)
        return self.cut(i, pixels, boxes)


def _load(
    job: _Job,
    identity: list,
    cache_dir: Path | None,
    on_progress: Callable[[int, int], None] | None,
) -> Pyramid:
    names = job.source.names
    num_rows = len(names) * job.crops_per_image
    num_bytes = num_rows * job.channels * sum(r**2 for r in job.resolutions)
    build = num_bytes, functools.partial(_fill, job, on_progress)
    crops = [job.crops_per_image, job.min_crop, job.seed]
    key = cache.hash_json([_FORMAT, job.resolutions, *identity, *crops])[:32]
    cached = cache.open_or_build(key, cache_dir, lambda: build)
    skipped = cached.about["skipped"]
    kept = np.setdiff1d(np.arange(len(names)), skipped)
    image_index = np.repeat(kept, job.crops_per_image)
    return Pyramid(
        images={r: cached.arrays[f"r{r}"] for r in job.resolutions},
        names=tuple(names[i] for i in image_index),
        image_index=image_index,
        skipped=tuple(names[i] for i in skipped),
        was_damaged=cached.was_damaged,
        digest=cache.hash_json(cached.checksums),
    )


def _fill(
    job: _Job, on_progress: Callable[[int, int], None] | None, writer: cache.ArrayWriter
) -> dict[str, Any]:
    skipped, total = [], len(job.source)
    for i, levels in enumerate(map_in_threads(job.levels_of, range(total))):
        if levels is None:
            skipped.append(i)
        else:
            for r in job.resolutions:
                writer.append(f"r{r}", levels[r])
        if on_progress is not None:
            on_progress(i + 1, total)
    broken = [job.source.names[i] for i in skipped]
    refuse_if_mostly_broken(broken, total, "the data")
    return {"skipped": skipped}


def _check_halves(resolutions: Sequence[int]) -> None:
    largest = max(resolutions)
    if min(resolutions) < 2 or any(
        largest % r or (largest // r).bit_count() > 1 for r in resolutions
    ):
        raise UserError(
            f"resolutions {list(resolutions)} do not halve from {largest} down to 2 or "
            "more: choose for example 4, 8, 16, 32"
        )
