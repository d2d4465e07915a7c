"""Convolutions for a GPU's tensor cores."""

import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.ops.windows import (
    FEW_CHANNELS,
    ConvWindow,
    convolve_densely,
    convolve_plainly,
    is_smaller_than_kernel,
    shifts,
)


ALIGNED_BYTES = 16
"""Bytes of a pixel's channels that cuDNN's fast kernels read at once."""

_NARROW = 32  # channels that fill half of a tile of the tensor cores' kernels


def convolve_on_gpu(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k m i o"],
    window: ConvWindow,
    precision: lax.PrecisionLike,
) -> Float[Array, "b p q o"]:
    """Convolve in the formulation that suits the channels.

    Those of narrow layers cost wide ones, such as the autoencoder's, more memory
    traffic than the library's convolution.
    """
    x, kernel = _fill_picture(x, kernel)
    k, _, i, o = kernel.shape
    is_plain = precision is None and window.strides == (1, 1)
    if is_plain and window.is_centred(kernel) and max(i, o) <= _NARROW:
        if k == 1:
            return x @ kernel[0, 0]
        if o <= FEW_CHANNELS:
            return _convolve_to_few(x, kernel)
        if is_smaller_than_kernel(x, kernel):
            return convolve_densely(x, kernel)
        if x.shape[2] % 2 == 0:
            return _convolve_in_pairs(x, kernel)
    return convolve_plainly(x, kernel, window, precision=precision)


def _fill_picture(
    x: Float[Array, "b h w _"], kernel: Float[Array, "k m _ o"]
) -> tuple[Float[Array, "b h w i"], Float[Array, "k m i o"]]:
    """Add channels of zeros to a picture of few channels and to its kernel."""
    multiple = ALIGNED_BYTES // x.dtype.itemsize
    extra = (0, -x.shape[-1] % multiple if x.shape[-1] <= FEW_CHANNELS else 0)
    none = (0, 0)
    kernel = jnp.pad(kernel, (none, none, extra, none))
    return jnp.pad(x, (none, none, none, extra)), kernel


def _convolve_to_few(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Multiply every pixel by all taps at once, then sum the shifted products.

    It reads x once, in a matrix product. A library's convolution to 3 channels takes
    several times as long on an H100, its kernel's gradient most of all.
    """
    k, o = kernel.shape[0], kernel.shape[-1]
    columns = rearrange(kernel, "k l i o -> i (k l o)")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    products = jnp.matmul(x, columns, preferred_element_type=wide)
    terms = [
        shifted[..., (r * k + c) * o : (r * k + c + 1) * o]
        for (r, c), shifted in shifts(products, k, 1)
    ]
    return sum(terms[1:], terms[0]).astype(x.dtype)


def _convolve_in_pairs(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Convolve to two neighbouring columns at once, from pairs of columns.

    A pair of pixels is one pixel of twice the channels, without a copy. Of the wide
    kernel's columns a sixth (k = 5) or half (k = 3) are zeros, but an H100 multiplies
    twice as fast with 64 channels as with 32.
    """
    b, h, w, i = x.shape
    k, o = kernel.shape[0], kernel.shape[-1]
    lead = k // 2 % 2  # the window of a pair begins at an even column
    taps = (lead + k + 2) // 2  # pairs that it sees
    columns = [
        jnp.pad(kernel, ((0, 0), (left, 2 * taps - k - left), (0, 0), (0, 0)))
        for left in (lead, lead + 1)
    ]
    wide = rearrange(columns, "q k (t p) i o -> k t (p i) (q o)", p=2)
    before = (k // 2 + lead) // 2
    window = ConvWindow((1, 1), ((k // 2, k // 2), (before, taps - 1 - before)))
    y = convolve_plainly(x.reshape(b, h, w // 2, 2 * i), wide, window)
    return y.reshape(b, h, w, o)
