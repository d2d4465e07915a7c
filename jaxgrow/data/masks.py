"""Holes for inpainting: rectangles, wide strokes, scratches and files.

True or 1 is a hole. Shapes are drawn in units of the picture's side and rasterised at
the resolution that uses them, because a large mask scaled down to 4 or 8 pixels would
lose or flood its hole. Every mask has at least one hole and one known pixel. Mask `i`
of a seed is the same shape at every resolution, as far as the pixels allow.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxgrow.data.mask_files import MaskFolder, top_cells
from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Decay, Share, Weight


EVALUATION_BINS = ((0, 10), (10, 20), (20, 30), (30, 40), (40, 50))  # percent of area
_TRAIN, _EVALUATE = 0x3A5C, 0x3A5CE  # separate streams of random numbers
_MAX_ASPECT = 2.5
_MAX_STROKES = 5  # in one mask
_MAX_PIECES = 5  # straight pieces in one stroke
_MAX_LENGTH = 0.8  # of a piece, in sides of the picture
_MAX_WIDTH = 0.4  # of a stroke, in sides of the picture
_SCRATCH_WIDTH = 0.04  # the same of a scratch
_SCRATCH_AREA = 0.01, 0.05  # of scratches in training, as parts of the picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskConfig(Checked):
    """Mixture of hole shapes; each mask has one, drawn in proportion to the weights."""

    rectangle: Weight = 1.0
    """Weight of single rectangles."""
    stroke: Weight = 0.0
    """Weight of wide brush strokes, after LaMa (Suvorov et al. 2022)."""
    scratch: Weight = 0.0
    """Weight of thin strokes over 1 to 5 % of the picture, like scratches and text."""
    folder: Weight = 0.0
    """Weight of your own masks from `folder_path`."""
    min_area: Share = 0.05
    """Smallest hole of a rectangle or stroke mask, as a part of the picture."""
    max_area: Decay = 0.40
    """Largest hole of a rectangle or stroke mask, as a part of the picture."""
    folder_path: Path | None = None
    """Folder of mask images: white (128 and above) is the hole."""
    pairing: Literal["random", "by-name"] = "random"
    """Draw folder masks at random, or take for a/b.jpg the mask a/b.(any type)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any(self.weights):
            raise UserError(
                "the weights of all masks are 0: give one of rectangle, stroke, "
                "scratch and folder"
            )
        if self.min_area > self.max_area:
            raise UserError(
                f"mask areas from {self.min_area} to {self.max_area} are impossible: "
                "lower min_area"
            )
        needs_folder = self.folder > 0 or self.pairing == "by-name"
        if needs_folder and self.folder_path is None:
            raise UserError("masks from files need a folder: set folder_path")

    @property
    def weights(self) -> tuple[float, ...]:
        """Weights of the shapes."""
        return self.rectangle, self.stroke, self.scratch, self.folder


def rectangle_mask(
    rng: np.random.Generator, resolution: int, area: tuple[float, float]
) -> Bool[np.ndarray, "r r"]:
    """Draw a rectangle of uniform area within `area`, with sides at most 2.5 to 1."""
    lo, hi = _pixel_limits(area, resolution)
    heights, widths = _rectangle_sides(resolution, lo, hi)
    target = min(max(resolution**2 * _uniform(rng, *area), lo), hi)
    aspect = _MAX_ASPECT ** _uniform(rng, -1.0, 1.0)
    height = min(max(math.sqrt(target * aspect), target / resolution), resolution)
    # The nearest rectangle of whole pixels whose area is allowed.
    miss = (heights - height) ** 2 + (widths - target / height) ** 2
    i = int(np.argmin(miss))
    top = int(rng.random() * (resolution - heights[i] + 1))
    left = int(rng.random() * (resolution - widths[i] + 1))
    mask = np.zeros((resolution, resolution), bool)
    mask[top : top + heights[i], left : left + widths[i]] = True
    return mask


def stroke_mask(
    rng: np.random.Generator,
    resolution: int,
    area: tuple[float, float],
    max_width: float = _MAX_WIDTH,
) -> Bool[np.ndarray, "r r"]:
    """Draw zigzag strokes: all pixels with centres within half a width.

    The strokes are up to `max_width` sides wide. Pieces are added while the hole stays
    within `area`. If whole pieces cannot meet
    it, all pieces grow or shrink together to an area drawn from it. No piece is
    thinner than a pixel's diagonal, so that each covers pixels.
    """
    lo, hi = _pixel_limits(area, resolution)
    field = np.full((resolution, resolution), np.inf)  # < 0 inside, in pixels
    count = 0
    for start, end, width in _stroke_pieces(rng, max_width):
        half_width = max(width * resolution, math.sqrt(2)) / 2
        distance = _distance_to_piece(resolution, start * resolution, end * resolution)
        joined = np.minimum(field, distance - half_width)
        joined_count = int((joined <= 0).sum())
        if joined_count <= hi or count < lo:
            field, count = joined, joined_count
        if joined_count > hi:
            break
    if not lo <= count <= hi:
        count = lo + int(rng.random() * (hi - lo + 1))
        return top_cells(-field, count)
    return field <= 0


def mask_bank(
    config: MaskConfig, resolution: int, num_masks: int, seed: int
) -> UInt8[np.ndarray, "n r r 1"]:
    """Draw training masks of 0 and 1; the first `k` of a bank are the bank of `k`.

    `min_area` and `max_area` bound rectangles and strokes; scratches cover 1 to 5 %,
    and masks from files keep their own area.
    """
    mixture, area = _Mixture(config, resolution), (config.min_area, config.max_area)
    bank = np.empty((num_masks, resolution, resolution, 1), np.uint8)
    for i in range(num_masks):
        rng = np.random.default_rng((_TRAIN, seed, i))
        bank[i, ..., 0] = mixture.draw(rng, area, _SCRATCH_AREA, (0.0, 1.0))
    return bank


def evaluation_masks(
    config: MaskConfig, resolution: int, num_images: int, seed: int
) -> dict[str, UInt8[np.ndarray, "n r r 1"]]:
    """Draw one mask per image in each bin of hole area, shapes mixed as in `config`.

    Keys are percents, "0-10" to "40-50"; a bin includes its upper end. Every mask is
    inside its bin, or as near as its pixels allow. Rectangles replace masks from files
    if the folder has none in a bin.
    """
    mixture = _Mixture(config, resolution)
    pixels = resolution**2
    bins = {}
    for k, (low, high) in enumerate(EVALUATION_BINS):
        most = max(high * pixels // 100, 1)
        area = (min(low * pixels // 100 + 1, most) / pixels, most / pixels)
        bank = np.empty((num_images, resolution, resolution, 1), np.uint8)
        for i in range(num_images):
            rng = np.random.default_rng((_EVALUATE, seed, k, i))
            bank[i, ..., 0] = mixture.draw(rng, area, area, area)
        bins[f"{low}-{high}"] = bank
    return bins


class _Mixture:
    """Mixture of masks of one configuration at one resolution."""

    def __init__(self, config: MaskConfig, resolution: int):
        self.resolution = resolution
        self.steps = np.cumsum(config.weights) / np.sum(config.weights)
        self.folder = None
        if config.folder > 0 and config.folder_path is not None:
            self.folder = MaskFolder(config.folder_path, resolution)

    def draw(
        self, rng: np.random.Generator, area, scratch_area, file_area
    ) -> Bool[np.ndarray, "r r"]:
        """Draw a mask whose area lies within the limits for its kind."""
        kind = int(np.searchsorted(self.steps, rng.random(), side="right"))
        if kind == 1:
            return stroke_mask(rng, self.resolution, area)
        if kind == 2:
            return stroke_mask(rng, self.resolution, scratch_area, _SCRATCH_WIDTH)
        if kind == 3 and self.folder is not None:
            lo, hi = file_area
            inside = (self.folder.areas >= lo - 1e-9) & (self.folder.areas <= hi + 1e-9)
            if inside.any():
                rows = np.flatnonzero(inside)
                return self.folder.masks[rows[int(rng.random() * len(rows))]]
        return rectangle_mask(rng, self.resolution, area)


def _uniform(rng: np.random.Generator, lo: float, hi: float) -> float:
    return lo + (hi - lo) * float(rng.random())


def _pixel_limits(area: tuple[float, float], resolution: int) -> tuple[int, int]:
    """Return the fewest and most hole pixels, equal if no whole number fits `area`."""
    pixels = resolution**2
    lo = math.ceil(area[0] * pixels - 1e-6)
    hi = math.floor(area[1] * pixels + 1e-6)
    if lo > hi:
        lo = hi = round(pixels * (area[0] + area[1]) / 2)
    return min(max(lo, 1), pixels - 1), min(max(hi, 1), pixels - 1)


@functools.lru_cache(maxsize=32)
def _rectangle_sides(resolution: int, lo: int, hi: int):
    """Return heights and widths of all rectangles of lo..hi pixels or nearest to it."""
    heights, widths = np.mgrid[1 : resolution + 1, 1 : resolution + 1].reshape(2, -1)
    miss = np.abs(heights * widths - np.clip(heights * widths, lo, hi))
    miss[-1] = resolution**2  # the whole picture leaves nothing known
    nearest = miss == miss.min()
    return heights[nearest], widths[nearest]


def _stroke_pieces(rng: np.random.Generator, max_width: float):
    """Yield start and end (y, x) and width of each straight piece, in sides."""
    for _ in range(1 + int(rng.random() * _MAX_STROKES)):
        start = rng.random(2)
        for _ in range(1 + int(rng.random() * _MAX_PIECES)):
            angle = _uniform(rng, 0.0, 2 * math.pi)
            length = _uniform(rng, 0.05, 1.0) * _MAX_LENGTH
            step = length * np.array([math.sin(angle), math.cos(angle)])
            end = (start + step).clip(0.0, 1.0)
            yield start, end, _uniform(rng, 0.05, 1.0) * max_width
            start = end


def _distance_to_piece(
    resolution: int, start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "r r"]:
    """Compute the distance of each pixel centre to the segment from start to end."""
    length = math.hypot(*(end - start))
    unit_y, unit_x = (end - start) / length if length > 0 else (1.0, 0.0)
    centres = np.arange(resolution) + 0.5
    y, x = (centres - start[0])[:, None], (centres - start[1])[None, :]
    forward = unit_y * y + unit_x * x
    sideways = unit_x * y - unit_y * x
    beyond = forward - forward.clip(0.0, length)
    return np.sqrt(beyond**2 + sideways**2)
