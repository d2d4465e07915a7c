"""The inpainter: holes in pictures of any size, filled by a trained generator."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from jaxgrow.data import arrays
from jaxgrow.devices import settings
from jaxgrow.errors import UserError
from jaxgrow.inpainting.coarse_to_fine import fill
from jaxgrow.inpainting.fill import paint
from jaxgrow.inpainting.saved_models import (
    SavedGenerator,
    find_generator,
    load_generator,
)
from jaxgrow.nets.growing import Generator


_paint = jax.jit(paint, static_argnums=0)
_PIXELS = 16_384  # per call: one shape, compiled once, whatever comes in


class Inpainter:
    """Paints the holes of pictures of any size; arrays or Pillow in, NumPy out.

        inpainter = Inpainter.load()
        filled = inpainter(images, masks)

    Attributes:
        resolution: Side of the squares that the network paints, in pixels.
        info: Notes in the file of the weights.
    """

    @settings.fixed()
    def __init__(self, saved: SavedGenerator):
        self.resolution = saved.resolution
        self.info: dict[str, Any] = saved.info
        self._net = Generator(saved.config, saved.resolution)
        # As arguments: weights that are closed over become constants of the program.
        self._weights = jax.device_put((saved.params, saved.stats))

    @classmethod
    def load(
        cls, source: Path | str | None = None, resolution: int | None = None
    ) -> "Inpainter":
        """Build an inpainter with the weights that `source` means.

        Args:
            source: A .safetensors file, a run directory, or None for the weights that
                come with the package.
            resolution: Of the weights to take, in pixels; None = the largest, but 16 px
                of those that come with the package.

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
    def __call__(self, images: Sequence[Any], masks: Any) -> list[np.ndarray]: ...

    @overload
    def __call__(self, images: Any, masks: Any) -> np.ndarray | list[np.ndarray]: ...

    @settings.fixed()
    def __call__(self, images: Any, masks: Any) -> np.ndarray | list[np.ndarray]:
        """Fill the holes of pictures; known pixels stay as they are, bit for bit.

        Holes are filled from coarse to fine, see `jaxgrow.inpainting.coarse_to_fine`.
        The result for a picture does not depend on the others in the batch.

        Args:
            images: uint8: one picture (h, w, 3), a batch (n, h, w, 3), or a list of
                pictures of any sizes. Grey ones are (h, w) or (h, w, 1). NumPy, JAX and
                PyTorch arrays are taken, and Pillow pictures as they are stored.
            masks: As many, of the same sizes, (h, w) or (h, w, 1) each. Holes are
                True, 1, or 255 in integers; values between 0 and those are split at
                the middle, with a warning.

        Returns:
            An array of the shape of `images`, or a list of those. Pictures without a
            hole come back unchanged, with a warning.

        Raises:
            UserError: Wrong types, shapes or values, or a mask that leaves no pixel.
        """
        batch = None if arrays.is_list(images) else arrays.as_array(images, "images")
        if batch is not None and batch.ndim != 4 and not arrays.is_picture(batch):
            raise UserError(
                f"images has the shape {batch.shape}: give one picture (h, w, 3), a "
                "batch (n, h, w, 3) or a list of pictures."
            )
        is_single = batch is not None and batch.ndim < 4
        given = [images] if is_single else arrays.as_items(images, "images")
        holes = [masks] if is_single else arrays.as_items(masks, "masks")
        if len(given) != len(holes):
            raise UserError(
                f"{len(given)} images and {len(holes)} masks: give one mask for "
                "each image."
            )
        notes: list[str] = []
        pairs = [
            _checked(picture, hole, i, notes)
            for i, (picture, hole) in enumerate(zip(given, holes, strict=True))
        ]
        for note in notes:
            warnings.warn(note, UserWarning, stacklevel=3)
        filled = [
            _like(picture, fill(*pair, self._paint, self.resolution))
            for picture, pair in zip(given, pairs, strict=True)
        ]
        return filled if batch is None else np.array(filled).reshape(batch.shape)

    def _paint(
        self,
        squares: Float[np.ndarray, "n r r 3"],
        holes: Bool[np.ndarray, "n r r"],
    ) -> Float[np.ndarray, "n r r 3"]:
        """Return squares in [0, 255] whose holes are painted."""
        n, size = len(squares), max(1, _PIXELS // self.resolution**2)
        spare = -n % size
        images = np.pad(squares / 127.5 - 1.0, ((0, spare), *3 * [(0, 0)]))
        mask = np.pad(holes[..., None], ((0, spare), *3 * [(0, 0)])).astype(np.float32)
        batches = [slice(i, i + size) for i in range(0, n, size)]
        weights = self._weights
        painted = [_paint(self._net, weights, images[b], mask[b]) for b in batches]
        return 127.5 * (np.concatenate(painted)[:n] + 1.0)


def _like(picture: Any, filled: UInt8[np.ndarray, "h w 3"]) -> np.ndarray:
    """Return the result in the shape of its picture; grey stays grey."""
    shape = np.asarray(picture).shape
    if shape[2:] == (3,):
        return filled
    return np.asarray(Image.fromarray(filled).convert("L")).reshape(shape)


def _checked(
    image: Any, mask: Any, i: int, notes: list[str]
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Return picture `i` and its holes; add warnings to `notes`.

    Raises:
        UserError: Wrong types, shapes or values.
    """
    image = arrays.as_picture(image, f"image {i}")
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
    mask = arrays.as_array(mask, f"mask {i}")
    if mask.ndim == 3 and mask.shape[-1] == 1:
        mask = mask[..., 0]
    if mask.ndim != 2:
        raise UserError(f"mask {i} has the shape {mask.shape}: give (h, w).")
    if mask.dtype == bool or mask.size == 0:
        return mask.astype(bool)
    top = 1 if mask.dtype.kind == "f" or mask.max() <= 1 else 255
    if not (mask.min() >= 0 and mask.max() <= top):  # also NaN
        raise UserError(
            f"mask {i} has values from {mask.min()} to {mask.max()}: give booleans, "
            "floats from 0 to 1 or integers from 0 to 255, the highest in the hole."
        )
    if not np.isin(mask, (0, top)).all():
        notes.append(f"mask {i} is not binary: values from {(top + 1) // 2} are hole.")
    return mask >= top / 2
