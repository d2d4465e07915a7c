"""Resizing and scaling of images for the network of FID.

FID moves by whole points with the resizing. The one rule here is that of Parmar,
Zhang and Zhu (2022, "clean-fid"): each channel by itself, in float, with Pillow's
bicubic filter, which smooths where it shrinks; no rounding to 8 bits afterwards; cut
to [0, 255]; then (x - 128) / 128, as the network of 2015 takes it. The pixels must be
8-bit, like those of the files that other programs would read.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Shaped, UInt8
from PIL import Image

from jaxgrow.data import arrays
from jaxgrow.errors import UserError
from jaxgrow.typing import UnitImage


SIDE = 299
RESIZING = "clean-fid: Pillow's bicubic to 299 px per channel in float, not rounded"
"""For a result file."""

_SHARPNESS = -0.5  # the a of Keys (1981), as in Pillow

FeaturesOfImages = Callable[[UnitImage], Float[Array, "b d"]]
FeaturesOfPixels = Callable[[UInt8[Array, "b h w 3"]], Float[Array, "b d"]]


def pixel_features(features_fn: FeaturesOfImages) -> FeaturesOfPixels:
    """Return a jittable function from 8-bit pixels of any size to features.

    `features_fn` takes images of 299 px, which become 2 x - 1 in it.
    """
    return lambda pixels: features_fn(network_input(resize(pixels)))


def resize(pixels: Shaped[Array, "b h w 3"]) -> Float[Array, "b 299 299 3"]:
    """Resize 8-bit pixels to 299 x 299, in [0, 255], on the device.

    Raises:
        UserError: The pixels are not uint8.
    """
    if pixels.dtype != jnp.uint8:
        raise UserError(f"FID takes 8-bit pixels, not {pixels.dtype}: convert them.")
    rows, columns = (
        jnp.asarray(bicubic_weights(n, SIDE), jnp.float32) for n in pixels.shape[1:3]
    )
    x = pixels.astype(jnp.float32)
    # The columns first, as Pillow does; GPUs otherwise round the factors to 10 bits.
    for subscripts, weights in (("jw,bhwc->bhjc", columns), ("ih,bhwc->biwc", rows)):
        x = jnp.einsum(subscripts, weights, x, precision=lax.Precision.HIGHEST)
    return jnp.clip(x, 0.0, 255.0)


def resize_one(pixels: Any) -> Float[np.ndarray, "299 299 3"]:
    """Resize one image (h, w, 3) as `resize` does, on the host by Pillow.

    For files of many sizes: `resize` would be compiled once for each.

    Raises:
        UserError: The pixels are not uint8 of that shape.
    """
    pixels = arrays.as_picture(pixels, "the image")
    channels = []
    for channel in np.moveaxis(pixels, 2, 0):
        image = Image.fromarray(channel.astype(np.float32))
        resized = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        channels.append(np.asarray(resized).clip(0.0, 255.0))
    return np.stack(channels, axis=2)


def network_input(resized: Float[Array, "b h w 3"]) -> UnitImage:
    """Scale x in [0, 255] to y with 2 y - 1 = (x - 128) / 128."""
    return resized / 256.0


def bicubic_weights(old: int, new: int) -> Float[np.ndarray, "n m"]:
    """Return the weight of each of `old` pixels in each of `new`, as in Pillow.

    Keys' cubic, as wide as the larger of an old and a new pixel, cut off at the border
    of the image and scaled to a sum of one.
    """
    scale = old / new
    width = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    distance = np.abs((np.arange(old) + 0.5)[None] - centres[:, None]) / width
    a, t = _SHARPNESS, distance
    near = ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    far = a * (((t - 5.0) * t + 8.0) * t - 4.0)
    weights = np.where(t < 1.0, near, np.where(t < 2.0, far, 0.0))
    return weights / weights.sum(axis=1, keepdims=True)
