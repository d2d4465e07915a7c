"""Windows that kernels move over pictures, and the pixels that their taps see."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float


RowsAndColumns: TypeAlias = tuple[int, int]
"""For rows and for columns; of padding, before and after."""
Padding: TypeAlias = str | Sequence[RowsAndColumns] | None
"""SAME, VALID, zeros around rows and columns, or None for (k - 1) / 2 everywhere."""

FEW_CHANNELS = 4
"""Channels, as of pictures (3) and masks (1), that fill too little of a vector."""
COLUMNS = 4
"""Columns that a convolution from or to few channels computes at once."""


_LARGEST_DENSE_SIDE = 4


class ConvWindow(NamedTuple):
    """Strides and zero padding of a convolution."""

    strides: RowsAndColumns
    pads: tuple[RowsAndColumns, RowsAndColumns]

    def is_centred(self, kernel: Float[Array, "k m _ _"]) -> bool:
        """True for odd square kernels padded by (k - 1) / 2 and equal strides."""
        k, m = kernel.shape[:2]
        (s, t), pad = self.strides, (k // 2, k // 2)
        return k == m and k % 2 == 1 and s == t and self.pads == (pad, pad)


def make_window(
    x: Float[Array, "b h w _"],
    kernel: Float[Array, "k m _ _"],
    stride: int,
    padding: Padding,
) -> ConvWindow:
    """Return the window with its padding in numbers."""
    sides, strides = kernel.shape[:2], (stride, stride)
    if padding is None:
        padding = [(side // 2, side // 2) for side in sides]
    elif isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], sides, strides, padding)
    rows, columns = ((int(before), int(after)) for before, after in padding)
    return ConvWindow(strides, (rows, columns))


def convolve_plainly(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k m j o"],
    window: ConvWindow,
    *,
    groups: int = 1,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "b p q o"]:
    """Convolve as XLA does."""
    return lax.conv_general_dilated(
        x,
        kernel,
        window.strides,
        window.pads,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
        precision=precision,
    )


def is_smaller_than_kernel(x: Array, kernel: Array) -> bool:
    """True for square pictures of at most 4 px that are smaller than the kernel."""
    h, w = x.shape[1:3]
    return h == w <= _LARGEST_DENSE_SIDE and kernel.shape[0] > h


def convolve_densely(
    x: Float[Array, "b r r i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b r r o"]:
    """Multiply a picture that is smaller than the kernel by one matrix.

    A convolution is mostly padding there, and XLA's on CPU misses its fast path. With
    gradients that takes 20 times as long for 5x5 on 4x4 pixels of 27 channels, and 50
    times for 3x3 on 2x2 pixels of 512.
    """
    b, r, _, i = x.shape
    k, o = kernel.shape[0], kernel.shape[-1]
    tap = np.arange(r)[:, None] - np.arange(r)[None, :] + k // 2  # (input, output)
    inside = (tap >= 0) & (tap < k)
    tap = np.clip(tap, 0, k - 1)
    matrix = kernel[tap[:, None, :, None], tap[None, :, None, :]]  # (r, r, r, r, i, o)
    matrix *= (inside[:, None, :, None] & inside[None, :, None, :])[..., None, None]
    matrix = matrix.transpose(0, 1, 4, 2, 3, 5).reshape(r * r * i, r * r * o)
    return (x.reshape(b, r * r * i) @ matrix).reshape(b, r, r, o)


def to_columns(kernel: Float[Array, "k m i o"]) -> Float[Array, "k n i p"]:
    """Return the kernel to `COLUMNS` neighbouring columns, n = m + COLUMNS - 1.

    At strides (1, COLUMNS) it gives their channels in order, p = COLUMNS o.
    """
    frames = [(column, COLUMNS - 1 - column) for column in range(COLUMNS)]
    shifted = [jnp.pad(kernel, ((0, 0), frame, (0, 0), (0, 0))) for frame in frames]
    return jnp.concatenate(shifted, axis=-1)


def shifts(
    x: Float[Array, "b h w c"], k: int, stride: int
) -> list[tuple[tuple[int, int], Float[Array, "b p q c"]]]:
    """Return (tap, pixels that it sees) of a k x k window, where it sees any."""
    b, h, w, c = x.shape
    p, q = (-(-side // stride) for side in (h, w))
    pad = k // 2
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))

    def taps(side: int) -> list[int]:
        tops = range(-pad, side - pad, stride)
        return [i for i in range(k) if any(0 <= top + i < side for top in tops)]

    def shifted(i: int, j: int) -> Array:
        stop = (b, i + stride * (p - 1) + 1, j + stride * (q - 1) + 1, c)
        return lax.slice(padded, (0, i, j, 0), stop, (1, stride, stride, 1))

    return [((i, j), shifted(i, j)) for i in taps(h) for j in taps(w)]


def saving(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the forward pass of a function whose gradients need its two arrays."""
    return lambda a, b, *static: (function(a, b, *static), (a, b))
