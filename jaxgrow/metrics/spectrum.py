"""Sharpness and tiling of a filled hole, relative to the photograph.

Both figures compare the pixels of the hole in a composite and in its original; 0 means
like the photograph.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.metrics.image import EIGHT_BIT_NOISE, PerImage, masked_mean
from jaxgrow.typing import HoleMask, UnitImage


PERIODS = (2, 4)
"""Distance in pixels of the marks that the last two up-samplings can leave."""

_CUTOFF = 0.25  # cycles per pixel: half the Nyquist frequency
# GPUs and TPUs otherwise round the factors to 10 or 8 bits.
_einsum = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)


def high_frequency_error(
    composite: UnitImage, real: UnitImage, mask: HoleMask
) -> PerImage:
    """Return the hole's fine detail relative to the photograph's in dB (< 0: blur).

    10 log10((P(composite) + q) / (P(real) + q)), where P is the mean square, over the
    hole and the channels, of the image without its radial frequencies below half the
    Nyquist frequency (`high_pass`), and q the power of 8-bit rounding.
    """
    power, power_real = (
        masked_mean(jnp.square(high_pass(x)), mask) + EIGHT_BIT_NOISE
        for x in (composite, real)
    )
    return 10.0 * jnp.log10(power / power_real)


def high_pass(x: UnitImage) -> Float[Array, "b h w 3"]:
    """Remove all radial frequencies up to half the Nyquist frequency.

    The spectrum is that of the image mirrored at its borders (type-II cosine
    transform): coefficient (j, k) has the frequency |(j / h, k / w)| / 2 in cycles per
    pixel and is kept above 1/4.
    """
    rows, columns = (_cosine_basis(n) for n in x.shape[1:3])
    j, k = (np.arange(n) / (2 * n) for n in x.shape[1:3])
    keep = np.float32(np.hypot(j[:, None], k[None]) > _CUTOFF)
    spectrum = _einsum("jh,kw,bhwc->bjkc", rows, columns, x)
    return _einsum("jh,kw,jk,bjkc->bhwc", rows, columns, keep, spectrum)


def mosaic_index(composite: UnitImage, real: UnitImage, mask: HoleMask) -> PerImage:
    """Return the share of detail that repeats with the up-sampling, minus the real one.

    max over p of `grid_share(composite)` minus max over p of `grid_share(real)`, p in
    (2, 4) px: 0 for detail like the photograph's, however sharp or blurred, and near 1
    for a smooth filling under a checkerboard. NaN where the hole is too small to tell.
    """
    shares, shares_real = (
        jnp.stack([grid_share(x, mask, period) for period in PERIODS])
        for x in (composite, real)
    )
    # A share is NaN for both images or for neither: it depends on the mask alone.
    return jnp.nanmax(shares, axis=0) - jnp.nanmax(shares_real, axis=0)


def grid_share(x: UnitImage, mask: HoleMask, period: int) -> PerImage:
    """Return the energy share of a pattern that repeats every `period` pixels.

    Take from the image its moving mean over `period` pixels in both directions, which
    removes linear ramps and leaves such patterns whole. Sort the n pixels of the hole
    into P = period^2 classes by their place in the grid. With T the sum of squares
    about the mean and B the part of it between classes (analysis of variance),

        share = (B - c T) / ((1 - c) (T + q n)),  c = (P - 1) / (n - 1):

    c is the B / T of pixels in random order, so unrelated detail has 0 on average and
    a pure pattern 1; q is the power of 8-bit rounding. Pixels whose moving mean leaves
    the image do not count. NaN if fewer than 2 P pixels are left.
    """
    h, w = x.shape[1:3]
    margin = period // 2
    inside = np.zeros((1, h, w, 1), np.float32)
    inside[:, margin : h - margin, margin : w - margin] = 1.0
    mask = mask * inside
    row, column = np.mgrid[:h, :w] % period
    classes = np.eye(period**2, dtype=np.float32)[row * period + column]  # one-hot
    detail = (x - _moving_mean(x, period)) * mask
    counts = _einsum("bhwo,hwp->bpo", mask, classes)
    sums = _einsum("bhwc,hwp->bpc", detail, classes)
    n = counts.sum(axis=(1, 2))
    about_mean = jnp.square(sums.sum(axis=1)).sum(axis=1) / jnp.maximum(n, 1.0)
    between = (jnp.square(sums) / jnp.maximum(counts, 1.0)).sum(axis=(1, 2))
    total = jnp.square(detail).sum(axis=(1, 2, 3)) - about_mean
    between = between - about_mean
    # Classes without a pixel, possible where the hole is a thin line, do not count.
    num_classes = (counts > 0).sum(axis=(1, 2))
    by_chance = (num_classes - 1) / jnp.maximum(n - 1, 1.0)
    floor = 3 * n * EIGHT_BIT_NOISE
    share = (between - by_chance * total) / ((1 - by_chance) * (total + floor))
    return jnp.where(n >= 2 * period**2, share, jnp.nan)


def _moving_mean(x: UnitImage, period: int) -> Float[Array, "b h w 3"]:
    """Average period + 1 pixels per direction, half weight on the first and last.

    Right where the window lies inside the image; outside of it counts as 0.
    """
    weights = np.ones(period + 1)
    weights[[0, -1]] = 0.5
    rows, columns = (
        sum(
            weight / period * np.eye(n, k=offset - period // 2)
            for offset, weight in enumerate(weights)
        )
        for n in x.shape[1:3]
    )
    return _einsum("ih,jw,bhwc->bijc", np.float32(rows), np.float32(columns), x)


def _cosine_basis(n: int) -> Float[np.ndarray, "n n"]:
    """Return the orthonormal type-II cosine basis, one row per frequency."""
    k, t = np.arange(n)[:, None], np.arange(n)[None]
    basis = np.cos(np.pi * (2 * t + 1) * k / (2 * n)) * np.sqrt(2 / n)
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)
