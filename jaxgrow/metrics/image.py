"""Pixel metrics per image: L1, MSE, PSNR and SSIM, over all pixels or a hole.

Every function takes images in [0, 1] and returns one value per image, so that the
caller decides how to average. With a mask (1 = hole) the mean runs over the pixels of
the hole and the three channels, otherwise over the whole image.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.typing import HoleMask, UnitImage


PerImage = Float[Array, " b"]

EIGHT_BIT_NOISE = (1 / 255) ** 2 / 12
"""Mean squared error of rounding to 8 bits: errors below it mean nothing."""

_SIGMA = 1.5
_WINDOW = 11
_C1, _C2 = 0.01**2, 0.03**2


def l1(x: UnitImage, y: UnitImage, mask: HoleMask | None = None) -> PerImage:
    """Return the mean absolute difference."""
    return masked_mean(jnp.abs(x - y), mask)


def mse(x: UnitImage, y: UnitImage, mask: HoleMask | None = None) -> PerImage:
    """Return the mean squared difference."""
    return masked_mean(jnp.square(x - y), mask)


def psnr(x: UnitImage, y: UnitImage, mask: HoleMask | None = None) -> PerImage:
    """Return the peak signal-to-noise ratio in dB, from the MSE of the same pixels."""
    return psnr_of_mse(mse(x, y, mask))


def psnr_of_mse(mse: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Return -10 log10(mse), with an mse below `EIGHT_BIT_NOISE` counted as that.

    The floor caps the PSNR at 58.9 dB: a hole that a method happens to fill exactly
    would otherwise make every mean over images infinite.
    """
    return -10.0 * jnp.log10(jnp.maximum(mse, EIGHT_BIT_NOISE))


def ssim(x: UnitImage, y: UnitImage, mask: HoleMask | None = None) -> PerImage:
    """Return the structural similarity (Wang et al. 2004) as scikit-image does.

    Without a mask it is the mean of `ssim_map` over the pixels whose window lies
    inside the image, the figure of `structural_similarity(gaussian_weights=True,
    sigma=1.5, use_sample_covariance=False, data_range=1)`. With a mask it is the mean
    of the map over the hole, border pixels included.
    """
    # Averages of 1 - SSIM: float32 sums of values near 1 lose the fifth decimal.
    dissimilarity = 1.0 - ssim_map(x, y)
    if mask is None:
        h, w = x.shape[1:3]
        margin = (window_size(h, w) - 1) // 2
        dissimilarity = dissimilarity[:, margin : h - margin, margin : w - margin]
    return 1.0 - masked_mean(dissimilarity, mask)


def ssim_map(x: UnitImage, y: UnitImage) -> Float[Array, "b h w 3"]:
    """Return SSIM at every pixel and channel, with a Gaussian window of sigma 1.5.

    The window is 11 x 11, or the largest odd square that fits into a smaller image
    (3 at 4 px, 7 at 8 px); images are mirrored at the border, edge pixel included.
    """
    mean_x, mean_y, var_x, var_y, covariance = _window_moments(x, y)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance * (2 * covariance + _C2) / (var_x + var_y + _C2)


def window_size(height: int, width: int) -> int:
    """Return the side of the SSIM window: 11, or the largest odd number that fits."""
    shortest = min(height, width, _WINDOW)
    return shortest - (shortest % 2 == 0)


def masked_mean(values: Float[Array, "b h w c"], mask: HoleMask | None) -> PerImage:
    """Return the mean per image over all pixels, or over those with mask 1."""
    if mask is None:
        return values.mean(axis=(1, 2, 3))
    pixels = jnp.maximum(mask.sum(axis=(1, 2, 3)), 1.0)
    return (values * mask).sum(axis=(1, 2, 3)) / (pixels * values.shape[-1])


def _window_moments(x: UnitImage, y: UnitImage) -> Float[Array, "5 b h w 3"]:
    """Return means, variances and covariance of x and y around each pixel.

    Columns first, then rows, each about the mean of its own window: E[x^2] - E[x]^2
    would lose in float32 the small variances that decide SSIM where an image is flat.
    """
    size = window_size(*x.shape[1:3])
    offsets = np.arange(size) - (size - 1) // 2
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    weights = jnp.float32(weights / weights.sum())
    means, variances = jnp.stack([x, y]), jnp.zeros((3, *x.shape))
    for axis in (2, 3):
        means, variances = _moments_along(axis, means, variances, weights)
    return jnp.concatenate([means, variances])


def _moments_along(axis: int, means: Array, variances: Array, weights: Array):
    """Pool the moments of windows along one axis (law of total variance)."""
    size, n = len(weights), means.shape[axis]
    border = [(0, 0)] * means.ndim
    border[axis] = ((size - 1) // 2, (size - 1) // 2)
    padded_means = jnp.pad(means, border, mode="symmetric")
    padded_variances = jnp.pad(variances, border, mode="symmetric")

    def neighbour(padded, i):
        return lax.dynamic_slice_in_dim(padded, i, n, axis)

    def add_mean(i, total):
        return total + weights[i] * neighbour(padded_means, i)

    def add_variance(i, total):
        dx, dy = neighbour(padded_means, i) - pooled
        between = jnp.stack([dx * dx, dy * dy, dx * dy])
        return total + weights[i] * (neighbour(padded_variances, i) + between)

    # Loops, not 22 unrolled slices: those take seconds to compile.
    pooled = lax.fori_loop(0, size, add_mean, jnp.zeros_like(means))
    return pooled, lax.fori_loop(0, size, add_variance, jnp.zeros_like(variances))
