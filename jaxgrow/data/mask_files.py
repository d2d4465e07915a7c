"""Folders of masks, scaled to squares."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from jaxgrow.data.files import list_images, map_in_threads
from jaxgrow.data.mask_reading import load_mask
from jaxgrow.data.resample import area_means, running_sums
from jaxgrow.errors import UserError


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


def try_masks(
    folder: Path, names: Sequence[str], convert: Callable = lambda mask: mask
) -> tuple[dict[str, tuple[Any, bool]], dict[str, str]]:
    """Read masks; one that cannot be read does not end it.

    Returns:
        Name -> `convert` of the mask and whether it has two values; and name -> the
        sentence that says why it cannot be read.
    """

    def load(name: str) -> tuple[Any, bool] | str:
        try:
            mask, is_binary = load_mask(folder / name)
        except UserError as error:
            return str(error)
        return convert(mask), is_binary

    loaded = dict(zip(names, map_in_threads(load, names), strict=True))
    faults = {name: what for name, what in loaded.items() if isinstance(what, str)}
    masks = {n: what for n, what in loaded.items() if not isinstance(what, str)}
    return masks, faults


class MaskFolder:
    """All usable masks of a folder, scaled to squares of one resolution.

    Attributes:
        masks: (n, r, r), True is a hole.
        areas: (n,), hole fraction of each mask.
    """

    def __init__(self, folder: Path, resolution: int):
        files = list_images(folder).names
        if not files:
            raise UserError(f"mask folder {folder} holds no images: add some masks")

        def shrink(mask: Bool[np.ndarray, "h w"]) -> np.ndarray | None:
            usable = mask.any() and not mask.all()
            return shrink_mask(mask, resolution) if usable else None

        loaded, faults = try_masks(folder, files, shrink)
        usable = [mask for mask, _ in loaded.values() if mask is not None]
        if not usable:
            why = f"; {next(iter(faults.values()))}" if faults else ""
            raise UserError(
                f"no mask in {folder} has both a hole and known pixels: white (128 and "
                f"above) marks the hole, black the rest{why}"
            )
        self.masks = np.stack(usable)
        self.areas = self.masks.mean(axis=(1, 2))
