"""Several images of an object from one of its views: controls without a new view."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8


_CROP = 0.875  # 224 of 256, as ten-crop testing has it (Krizhevsky et al. 2012)


def flips(images: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n 2 h w 3"]:
    """Return every image and its mirror image."""
    return np.stack([images, images[:, :, ::-1]], axis=1)


def crops(images: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n 5 h w 3"]:
    """Return every image, and its corners of 7/8 the side, enlarged to the whole."""
    h, w = images.shape[1:3]
    a, b = round(_CROP * h), round(_CROP * w)
    corners = [
        images[:, top : top + a, left : left + b]
        for top in (0, h - a)
        for left in (0, w - b)
    ]
    enlarged = [
        jnp.rint(jax.image.resize(corner.astype(np.float32), images.shape, "bilinear"))
        for corner in corners
    ]
    return np.stack([images, *(np.asarray(x, np.uint8) for x in enlarged)], axis=1)
