"""Scaling of views to one size."""

import numpy as np
from jaxtyping import UInt8

from jaxgrow.data.pyramid import cut_levels
from jaxgrow.errors import UserError


def resize_view(
    pixels: UInt8[np.ndarray, "h w 3"], size: int, resize: bool, name: str
) -> UInt8[np.ndarray, "s s 3"]:
    """Return a view at `size` x `size` pixels.

    A larger view is reduced to exact area means, a smaller one enlarged by cubic
    interpolation.

    Raises:
        UserError: It has another size and `resize` is off, or it is not square.
    """
    height, width = pixels.shape[:2]
    if (height, width) == (size, size):
        return pixels
    if height != width:
        raise UserError(
            f"view {name} has {width}x{height} pixels: pad or crop it to a square"
        )
    if not resize:
        raise UserError(
            f"view {name} has {width}x{height} pixels, not {size}x{size}: set "
            "data.resize to scale it, or to work at its size both data.size and "
            f"autoencoder.image_size to {width}"
        )
    whole = np.array([[0, 0, width]])
    return cut_levels(pixels, whole, (size,))[size][0]
