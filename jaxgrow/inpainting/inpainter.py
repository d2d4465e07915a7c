"""The inpainter: holes in pictures of any size, filled by a trained generator."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxgrow.data import crops
from jaxgrow.errors import UserError
from jaxgrow.inpainting.fill import make_paint_fn
from jaxgrow.inpainting.saved_models import (
    SavedGenerator,
    find_generator,
    load_generator,
)
from jaxgrow.nets.growing import Generator


_BATCH = 8  # squares per call: one shape, compiled once, whatever comes in


class Inpainter:
    """Paints the holes of pictures of any size; NumPy in, NumPy out.

        inpainter = Inpainter.load()
        filled = inpainter(images, masks)

    Attributes:
        resolution: Side of the squares that the network paints, in pixels.
        info: Notes in the file of the weights.
    """

    def __init__(self, saved: SavedGenerator):
        self.resolution = saved.resolution
        self.info: dict[str, Any] = saved.info
        net = Generator(saved.config, saved.resolution)
        self._paint = make_paint_fn(net, saved.params, saved.stats)

    @classmethod
    def load(
        cls, source: Path | str | None = None, resolution: int | None = None
    ) -> "Inpainter":
        """Build an inpainter with the weights that `source` means.

        Args:
            source: A .safetensors file, a run directory, or None for the weights that
                come with the package.
            resolution: Of the weights to take, in pixels; None = the largest.

        Raises:
            UserError: No such weights, or the file is damaged or of another kind.
        """
        saved = load_generator(find_generator(source, resolution))
        if resolution not in (None, saved.resolution):
            raise UserError(
                f"{source} holds weights for {saved.resolution} px, not {resolution}: "
                "leave the resolution out or name another file."
            )
        return cls(saved)

    @overload
    def __call__(self, images: np.ndarray, masks: Any) -> np.ndarray: ...

    @overload
    def __call__(
        self, images: Sequence[np.ndarray], masks: Any
    ) -> list[np.ndarray]: ...

    def __call__(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        masks: np.ndarray | Sequence[np.ndarray],
    ) -> np.ndarray | list[np.ndarray]:
        """Fill the holes of pictures; known pixels stay as they are, bit for bit.

        Each hole is painted on a square crop around it at the network's resolution
        and pasted back at full size (see `jaxgrow.data.crops`). The result for a
        picture does not depend on the others in the batch.

        Args:
            images: uint8: one picture (h, w, 3), a batch (n, h, w, 3), or a sequence
                of pictures of any sizes.
            masks: As many, of the same sizes, (h, w) or (h, w, 1) each. Holes are
                True, 1, or 255 in integers; values between 0 and those are split at
                the middle, with a warning.

        Returns:
            An array of the shape of `images`, or a list. Pictures without a hole come
            back unchanged, with a warning.

        Raises:
            UserError: Wrong types, shapes or values, or a mask that leaves no pixel.
        """
        is_single = isinstance(images, np.ndarray) and images.ndim == 3
        pictures, holes = ([images], [masks]) if is_single else (images, masks)
        if len(pictures) != len(holes):
            raise UserError(
                f"{len(pictures)} images and {len(holes)} masks: give one mask for "
                "each image."
            )
        notes: list[str] = []
        pairs = [
            _checked(picture, hole, i, notes)
            for i, (picture, hole) in enumerate(zip(pictures, holes, strict=True))
        ]
        for note in notes:
            warnings.warn(note, UserWarning, stacklevel=2)
        filled = self._fill(pairs)
        if isinstance(images, np.ndarray):
            return np.array(filled, np.uint8).reshape(images.shape)
        return filled

    def _fill(
        self,
        pairs: list[tuple[UInt8[np.ndarray, "_ _ 3"], Bool[np.ndarray, "_ _"]]],
    ) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        plans = [crops.plan(mask, self.resolution) for _, mask in pairs]
        squares = [
            crops.shrink(image, mask, window, self.resolution)
            for (image, mask), (windows, _) in zip(pairs, plans, strict=True)
            for window in windows
        ]
        painted = iter(self._paint_squares(squares))
        filled = []
        for (image, mask), (windows, owner) in zip(pairs, plans, strict=True):
            result = image.copy()
            for i, window in enumerate(windows):
                values = crops.enlarge(next(painted), image, mask, window)
                crops.paste(result, values, window, owner, i)
            filled.append(result)
        return filled

    def _paint_squares(
        self,
        squares: list[tuple[Float[np.ndarray, "r r 3"], Bool[np.ndarray, "r r"]]],
    ) -> Float[np.ndarray, "n r r 3"]:
        """Return composites of squares in [0, 255]; zeros fill up the last batch."""
        num_padded = -(-len(squares) // _BATCH) * _BATCH
        side = self.resolution
        images = np.zeros((num_padded, side, side, 3), np.float32)
        holes = np.zeros((num_padded, side, side, 1), np.float32)
        for i, (values, hole) in enumerate(squares):
            images[i], holes[i, ..., 0] = values / 127.5 - 1.0, hole
        for i in range(0, num_padded, _BATCH):
            chunk = slice(i, i + _BATCH)
            painted = self._paint(jnp.asarray(images[chunk]), jnp.asarray(holes[chunk]))
            images[chunk] = np.asarray(painted)
        return (images + 1.0) * 127.5


def _checked(
    image: Any, mask: Any, i: int, notes: list[str]
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Return picture `i` and its holes; add warnings to `notes`.

    Raises:
        UserError: Wrong types, shapes or values.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8:
        raise UserError(
            f"image {i} is of type {image.dtype}: give uint8 values from 0 to 255."
        )
    if image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise UserError(f"image {i} has the shape {image.shape}: give (h, w, 3).")
    hole = _checked_mask(mask, i, notes)
    if hole.shape != image.shape[:2]:
        raise UserError(
            f"mask {i} has {hole.shape[1]}x{hole.shape[0]} pixels and its image "
            f"{image.shape[1]}x{image.shape[0]}: give both in one size."
        )
    if hole.all():
        raise UserError(
            f"mask {i} is all hole, which leaves nothing to go by: 1 marks the hole; "
            "invert a mask that marks what is known."
        )
    if hole.mean() > 0.5:
        notes.append(
            f"mask {i} is {hole.mean():.0%} hole: it looks inverted, 1 marks the hole."
        )
    if not hole.any():
        notes.append(f"mask {i} has no hole: its image comes back unchanged.")
    return image, hole


def _checked_mask(mask: Any, i: int, notes: list[str]) -> Bool[np.ndarray, "h w"]:
    mask = np.asarray(mask)
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise UserError(f"mask {i} has the shape {mask.shape}: give (h, w).")
    if mask.dtype == bool or mask.size == 0:
        return mask.astype(bool)
    if mask.dtype.kind not in "uif":
        raise UserError(f"mask {i} is of type {mask.dtype}: give booleans or numbers.")
    top = 1 if mask.dtype.kind == "f" or mask.max() <= 1 else 255
    if not (mask.min() >= 0 and mask.max() <= top):  # also NaN
        raise UserError(
            f"mask {i} has values from {mask.min()} to {mask.max()}: give booleans, "
            "floats from 0 to 1 or integers from 0 to 255, the highest in the hole."
        )
    if not np.isin(mask, (0, top)).all():
        notes.append(f"mask {i} is not binary: values from {(top + 1) // 2} are hole.")
    return mask >= top / 2
