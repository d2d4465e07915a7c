"""Exact area means, also where the edges of cells cut through pixels.

Pillow's box filter gives a pixel either full weight or none, so that a square of 84
pixels scaled to 64 would be jagged.
"""

import numpy as np
from jaxtyping import Bool, Float, UInt8


def running_sums(
    pixels: UInt8[np.ndarray, "h w c"] | Bool[np.ndarray, "h w c"],
) -> Float[np.ndarray, "h+1 w+1 c"]:
    """Compute the integral image: (y, x) sums the pixels above y and left of x."""
    # Channels first, because NumPy accumulates contiguous values three times faster.
    h, w, channels = pixels.shape
    sums = np.zeros((channels, h + 1, w + 1))
    inside = sums[:, 1:, 1:]
    inside[:] = np.moveaxis(pixels, 2, 0)
    np.cumsum(inside, axis=1, out=inside)
    np.cumsum(inside, axis=2, out=inside)
    return np.moveaxis(sums, 0, 2)


def block_means(
    pixels: UInt8[np.ndarray, "h h c"], size: int
) -> Float[np.ndarray, "s s c"]:
    """Compute means over the `size` x `size` cells of a square, each of whole pixels.

    Equals `area_means`, but needs no sums over the rest of the image.
    """
    k, channels = len(pixels) // size, pixels.shape[2]
    # The sums reach 255 k, then 255 k^2. Up to k = 256 the former fit into 16 bits
    # and float32 holds the latter exactly. The sum along a row is a matrix product,
    # because NumPy's reductions over few neighbours take five times longer.
    integer, real = (np.uint16, np.float32) if k <= 256 else (np.uint32, np.float64)
    rows = pixels.reshape(size, k, -1).sum(axis=1, dtype=integer).astype(real)
    same_channel = np.tile(np.eye(channels, dtype=real), (k, 1))
    sums = rows.reshape(size, size, k * channels) @ same_channel
    return sums.astype(np.float64) / k**2


def area_means(
    sums: Float[np.ndarray, "H W c"], box: tuple[int, int, int, int], size: int
) -> Float[np.ndarray, "s s c"]:
    """Compute means over the `size` x `size` equal cells of a box.

    Between pixel edges the running sum of an image is bilinear, so that its linear
    interpolation is exact. `sums` are the image's `running_sums`; `box` has the left,
    upper, right and lower edge in pixels.
    """
    left, upper, right, lower = box
    inside = sums[upper : lower + 1, left : right + 1]
    bands = _interpolate(inside, np.linspace(0, lower - upper, size + 1))
    bands = np.ascontiguousarray(np.diff(bands, axis=0).swapaxes(0, 1))
    cells = np.diff(_interpolate(bands, np.linspace(0, right - left, size + 1)), axis=0)
    return cells.swapaxes(0, 1) * (size**2 / ((right - left) * (lower - upper)))


def average_2x2(means: Float[np.ndarray, "n r r c"]) -> Float[np.ndarray, "n s s c"]:
    """Compute means over blocks of 2x2."""
    rows = means[:, ::2] + means[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def _interpolate(
    values: Float[np.ndarray, "a b c"], positions: Float[np.ndarray, " p"]
) -> Float[np.ndarray, "p b c"]:
    """Interpolate linearly along the first axis."""
    below = positions.astype(int).clip(max=len(values) - 2)
    part = (positions - below)[:, None, None]
    return values[below] * (1 - part) + values[below + 1] * part
