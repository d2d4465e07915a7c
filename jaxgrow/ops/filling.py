"""Channels of zeros behind a layer's own, for the tensor cores of a GPU.

Their kernels want multiples of 8 channels in bfloat16 and of 4 in float32, and 27 is
neither. Features keep their zeros from layer to layer: cut off and put back around each
convolution they would cost it a copy on either side. Only batch norm cuts them off, for
its statistics.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.devices import backend


_ALIGNED_BYTES = 16  # cuDNN's fast kernels read so many of a pixel's channels at once


def fill_up(
    x: Float[Array, "b h w _"], kernel: Float[Array, "k l _ _"]
) -> tuple[Float[Array, "b h w i"], Float[Array, "k l i o"]]:
    """Both with channels of zeros, as a GPU's kernels want; as they are elsewhere.

    x may bring such channels already, behind those that the kernel reads.

    Raises:
        ValueError: x has channels that are neither read nor filled up.
    """
    if not backend.on_gpu():
        return x, kernel
    multiple = _ALIGNED_BYTES // x.dtype.itemsize
    i, o = x.shape[-1], kernel.shape[-1]
    if i != kernel.shape[2] and (i < kernel.shape[2] or i % multiple):
        raise ValueError(f"a kernel {kernel.shape} does not read {i} channels")
    i, o = i + -i % multiple, o + -o % multiple
    return with_channels(x, i), _with_sides(kernel, (*kernel.shape[:2], i, o))


def with_channels(x: Float[Array, "*n _"], channels: int) -> Float[Array, "*n c"]:
    """The first `channels` channels, or all with zeros behind them."""
    if x.shape[-1] > channels:
        return x[..., :channels]
    return _with_sides(x, (*x.shape[:-1], channels))


def _with_sides(x: Float[Array, "..."], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Zeros at the end of every axis that is too short."""
    short = [(0, side - have) for have, side in zip(x.shape, shape, strict=True)]
    return jnp.pad(x, short)
