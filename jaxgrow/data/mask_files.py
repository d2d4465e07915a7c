"""Masks from image files, whose white part is the hole."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from jaxgrow.data import images
from jaxgrow.data.files import list_images, map_in_threads
from jaxgrow.data.resample import area_means, running_sums
from jaxgrow.errors import UserError


def load_mask(file: str | Path) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Read the hole pixels of a mask image; the bool is True if it is black and white.

    Values of 128 and above are holes; in a file of zeros and ones, the ones.
    """
    values = images.decode_grey(file)
    if values.max() == 1:
        return values == 1, True
    return values >= 128, bool(np.isin(values, (0, 255)).all())


def shrink_mask(
    mask: Bool[np.ndarray, "h w"],
    resolution: int,
    box: tuple[int, int, int, int] | None = None,
) -> Bool[np.ndarray, "r r"]:
    """Scale a mask, or its part in `box`, to a square of the same relative hole area.

    The cells with the largest part of hole become the hole. Their number follows from
    the area, but is at least one and leaves at least one known cell. Among equal cells
    those nearest to the centre of the whole hole are taken.

    Args:
        mask: True is a hole; neither all true nor all false.
        resolution: Cells along a side.
        box: Left, upper, right, lower edge in pixels.
    """
    left, upper, right, lower = box or (0, 0, mask.shape[1], mask.shape[0])
    part = mask[upper:lower, left:right]
    size = (0, 0, part.shape[1], part.shape[0])
    coverage = area_means(running_sums(part[..., None]), size, resolution)[..., 0]
    rows, columns = np.nonzero(mask)
    middle_y = (rows.mean() + 0.5 - upper) / (lower - upper)
    middle_x = (columns.mean() + 0.5 - left) / (right - left)
    centres = (np.arange(resolution) + 0.5) / resolution
    away = np.hypot(centres[:, None] - middle_y, centres[None, :] - middle_x)
    score = coverage - 1e-6 * away / away.max()
    count = round(float(part.mean()) * resolution**2)
    return top_cells(score, min(max(count, 1), resolution**2 - 1))


def top_cells(score: Float[np.ndarray, "r r"], count: int) -> Bool[np.ndarray, "r r"]:
    """Return a mask of the `count` highest scores, the first among equal ones."""
    mask = np.zeros(score.size, bool)
    mask[np.argsort(-score, axis=None, kind="stable")[:count]] = True
    return mask.reshape(score.shape)


class MaskFolder:
    """All usable masks of a folder, scaled to squares of one resolution.

    Attributes:
        masks: (n, r, r), True is a hole.
        areas: (n,), hole fraction of each mask.
        names: Paths below the folder, one per mask.
        skipped: Paths of masks without a hole or without a known pixel.
        not_binary: Paths of masks with grey values.
    """

    def __init__(self, folder: Path, resolution: int):
        files = list_images(folder)
        if not files:
            raise UserError(f"mask folder {folder} holds no images: add some masks")

        def load(name: str):
            mask, binary = load_mask(folder / name)
            usable = mask.any() and not mask.all()
            return (shrink_mask(mask, resolution) if usable else None), binary

        loaded = dict(zip(files, map_in_threads(load, files), strict=True))
        usable = {name: mask for name, (mask, _) in loaded.items() if mask is not None}
        if not usable:
            raise UserError(
                f"no mask in {folder} has both a hole and known pixels: white (128 and "
                "above) marks the hole, black the rest"
            )
        self.names = tuple(usable)
        self.skipped = tuple(name for name in files if name not in usable)
        self.not_binary = tuple(n for n, (_, binary) in loaded.items() if not binary)
        self.masks = np.stack(list(usable.values()))
        self.areas = self.masks.mean(axis=(1, 2))
