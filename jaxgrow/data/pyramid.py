"""Every image at every resolution, computed once.

Speck et al. (2023) name rebuilding the data for each resolution as their bottleneck.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from jaxgrow.data import cache
from jaxgrow.data.file_sources import fingerprint_files
from jaxgrow.data.files import list_images
from jaxgrow.data.mask_files import load_mask, shrink_mask
from jaxgrow.data.resample import area_means, block_means, halve, running_sums
from jaxgrow.data.sources import Source
from jaxgrow.errors import UserError


_CROPS = 0xC2095  # stream of draws of its own
_FORMAT = 2  # a change of the pixels' computation changes it


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """Square crops at several resolutions; row i is the same crop in each.

    Attributes:
        images: (n, r, r, 3) of each resolution r, or (n, r, r, 1) of 0 and 1 for
            masks; mapped from disk, read-only.
        names: Name of each row's image.
        image_index: Which image of the source each row shows.
        skipped: Names of broken images, which have no rows.
        was_damaged: Whether a damaged cache was found and rebuilt.
    """

    images: dict[int, UInt8[np.ndarray, "n _ _ c"]]
    names: tuple[str, ...]
    image_index: Int[np.ndarray, " n"]
    skipped: tuple[str, ...]
    was_damaged: bool


def load_pyramid(
    source: Source,
    resolutions: Sequence[int],
    *,
    crops_per_image: int,
    min_crop: float,
    seed: int,
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Pyramid:
    """Crops of `source`, from the cache or made now.

    Every pixel is the exact mean of its area of the crop, rounded once. Crops with
    fewer pixels than the largest resolution are first enlarged to it by cubic
    interpolation.

    Args:
        source: Images of any size of at least 2 pixels a side.
        resolutions: Each the largest one halved some number of times.
        crops_per_image: See `crop_boxes`.
        min_crop: Side of the smallest crop, as a part of the short side.
        seed: Of the crops.
        cache_dir: Folder of the cache; `runtime.cache_folder()` if None.
        on_progress: Called with the images done and their total, when building.

    Raises:
        UserError: The cache cannot be written, or over a fifth of the images are
            broken.
    """
    _check_halves(resolutions)

    def cut(i: int) -> cache.Levels | None:
        pixels = _read(source, i)
        if pixels is None:
            return None
        return cut_levels(pixels, boxes_of(pixels, i), resolutions)

    def boxes_of(pixels, i):
        return _boxes(pixels, i, crops_per_image, min_crop, seed)

    identity = ["images", source.fingerprint(), crops_per_image, min_crop, seed]
    recipe = _recipe(identity, source, cut, resolutions, 3, crops_per_image)
    return _load(recipe, cache_dir, on_progress)


def load_mask_pyramid(
    source: Source,
    mask_folder: Path,
    resolutions: Sequence[int],
    *,
    crops_per_image: int,
    min_crop: float,
    seed: int,
    cache_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Pyramid:
    """The masks of the images' own, in the same rows and crops as `load_pyramid`.

    The mask of image `a/b.jpg` is the file `a/b` of any image type in `mask_folder`.
    Every crop keeps its hole's area, but has at least one hole and one known pixel.

    Raises:
        UserError: As `load_pyramid`; also if an image has no mask or two, or a mask
            has another size than its image, no hole, or no known pixel.
    """
    partners = pair_masks(source.names, mask_folder)

    def cut(i: int) -> cache.Levels | None:
        pixels = _read(source, i)
        if pixels is None:
            return None
        mask = _paired_mask(source.names[i], mask_folder / partners[i], pixels)
        boxes = _boxes(pixels, i, crops_per_image, min_crop, seed)
        edges = [(x, y, x + side, y + side) for x, y, side in boxes.tolist()]
        return {
            r: np.stack([shrink_mask(mask, r, e)[..., None] for e in edges]).astype(
                np.uint8
            )
            for r in resolutions
        }

    masks = fingerprint_files([mask_folder / name for name in partners], partners)
    images = source.fingerprint()
    identity = ["masks", images, masks, crops_per_image, min_crop, seed]
    recipe = _recipe(identity, source, cut, resolutions, 1, crops_per_image)
    return _load(recipe, cache_dir, on_progress)


def crop_boxes(
    height: int,
    width: int,
    num_crops: int,
    min_crop: float,
    rng: np.random.Generator,
) -> Int[np.ndarray, "n 3"]:
    """Left, upper edge and side of square crops, in pixels.

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
) -> cache.Levels:
    """Crops of one image at every resolution; see `load_pyramid`."""
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
        means, size = halve(means), size // 2


def pair_masks(names: Sequence[str], mask_folder: Path) -> list[str]:
    """For each image name, the mask file with the same path but for its ending."""
    found: dict[str, str] = {}
    for file in list_images(mask_folder):
        stem = Path(file).with_suffix("").as_posix()
        if stem in found:
            raise UserError(
                f"masks {found[stem]} and {file} in {mask_folder} have the same name: "
                "keep one of them"
            )
        found[stem] = file
    partners = [found.get(Path(name).with_suffix("").as_posix()) for name in names]
    lone = [n for n, mask in zip(names, partners, strict=True) if mask is None]
    if lone:
        some = ", ".join(lone[:3]) + (", ..." if len(lone) > 3 else "")
        raise UserError(
            f"{len(lone)} of {len(names)} images have no mask of the same name in "
            f"{mask_folder} ({some}): add the masks, or set pairing to random"
        )
    return [mask for mask in partners if mask is not None]


def _paired_mask(name: str, file: Path, pixels: UInt8[np.ndarray, "h w 3"]):
    mask, _ = load_mask(file)
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


def _boxes(pixels, i, crops_per_image, min_crop, seed) -> Int[np.ndarray, "n 3"]:
    rng = np.random.default_rng((_CROPS, seed, i))
    height, width = pixels.shape[:2]
    return crop_boxes(height, width, crops_per_image, min_crop, rng)


def _read(source: Source, i: int) -> UInt8[np.ndarray, "h w 3"] | None:
    try:
        return source[i]
    except UserError:  # a broken image: the stack counts it
        return None


def _recipe(identity, source, cut, resolutions, channels, rows) -> cache.Recipe:
    sides = sorted(resolutions)
    text = json.dumps([_FORMAT, sides, *identity])
    return cache.Recipe(
        key=hashlib.sha256(text.encode()).hexdigest()[:32],
        names=source.names,
        cut=cut,
        resolutions=sides,
        channels=channels,
        rows_per_image=rows,
        where="the data",
    )


def _load(recipe, cache_dir, on_progress) -> Pyramid:
    stack = cache.load_or_build(recipe, cache_dir, on_progress)
    kept = np.setdiff1d(np.arange(len(recipe.names)), stack.skipped)
    image_index = np.repeat(kept, recipe.rows_per_image)
    return Pyramid(
        images=stack.arrays,
        names=tuple(recipe.names[i] for i in image_index),
        image_index=image_index,
        skipped=tuple(recipe.names[i] for i in stack.skipped),
        was_damaged=stack.was_damaged,
    )


def _check_halves(resolutions: Sequence[int]) -> None:
    largest = max(resolutions)
    halves = {
        largest >> k for k in range(largest.bit_length()) if largest % (1 << k) == 0
    }
    wrong = sorted(set(resolutions) - halves)
    if wrong or min(resolutions) < 2:
        raise UserError(
            f"resolutions {list(resolutions)} do not halve from {largest} down to 2 or "
            "more: choose for example 4, 8, 16, 32"
        )
