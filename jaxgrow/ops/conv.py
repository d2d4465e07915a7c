"""Convolutions, NHWC pictures and HWIO kernels."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.devices import backend
from jaxgrow.ops import conv_cpu, conv_gpu, onednn
from jaxgrow.ops.pooling import upsample
from jaxgrow.ops.windows import ConvWindow, Padding, convolve_plainly, make_window


def conv2d(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k m i o"],
    stride: int = 1,
    padding: Padding = None,
    *,
    precision: lax.PrecisionLike = None,
) -> Float[Array, "b p q o"]:
    """Return the convolution of every picture with the kernel, of the same type.

    On CPU it has reverse-mode gradients only, and products of full precision.
    `padding` is SAME or VALID, numbers of zeros before and after rows and columns, or
    None for (k - 1) / 2 on every side, as PyTorch pads odd kernels.
    """
    window = make_window(x, kernel, stride, padding)
    if onednn.can_convolve(x, kernel, window):
        return onednn.convolve_by_onednn(x, kernel, window)
    if backend.on_cpu():
        return conv_cpu.convolve_on_cpu(x, kernel, window)
    if backend.on_gpu():
        return conv_gpu.convolve_on_gpu(x, kernel, window, precision)
    return convolve_plainly(x, kernel, window, precision=precision)


def conv2d_branches(
    x: Float[Array, "b h w i"], kernels: Sequence[Float[Array, "_ _ _ _"]]
) -> Float[Array, "b h w o"]:
    """Return convolutions with odd kernels of several sizes, channels side by side.

    XLA runs them as one, the smaller kernels with a margin of zeros, which starts fewer
    kernels on a GPU. oneDNN runs them one by one, which spares the zeros.
    """
    if onednn.available(x, *kernels):
        return jnp.concatenate([conv2d(x, kernel) for kernel in kernels], axis=-1)
    side = max(kernel.shape[0] for kernel in kernels)
    filled = []
    for kernel in kernels:
        margin = ((side - kernel.shape[0]) // 2,) * 2
        filled.append(jnp.pad(kernel, (margin, margin, (0, 0), (0, 0))))
    return conv2d(x, jnp.concatenate(filled, axis=-1))


def conv2d_transposed(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "b p q o"]:
    """Return the transposed 3x3 convolution of stride 2, which doubles the side.

    Equal to PyTorch's ConvTranspose2d(3, stride=2, padding=1, output_padding=1) with
    the kernel flipped in both directions. It runs as a 2x2 convolution to the four
    phases of the output, which are then interleaved: XLA's weight gradient of the
    dilated form is 20 times slower on CPU.
    """
    # Output row 2y takes the middle tap at y; row 2y + 1 the outer two at y and y + 1.
    k = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    taps = np.array([[1, 3], [0, 2]])  # (phase, offset) -> tap; 3 is the padded zero
    k = k[taps[:, None, :, None], taps[None, :, None, :]]  # (p, q, dy, dx, i, o)
    k = rearrange(k, "p q dy dx i o -> dy dx i (p q o)")
    y = conv2d(x, k, padding=((0, 1), (0, 1)))
    return rearrange(y, "b h w (p q o) -> b (h p) (w q) o", p=2, q=2)


def upsample_conv2d(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "b p q o"]:
    """Return `conv2d(upsample(x), kernel)`; oneDNN spares 5/9 of the products.

    Row v of x is rows 2v and 2v + 1 of the doubled picture, which four rows of the
    output see: 2v - 1 by the last tap, 2v by the last two, 2v + 1 by the first two and
    2v + 2 by the first. With the taps added up this is a transposed 4x4 convolution of
    stride 2, and its gradients are convolutions of stride 2.
    """
    if not onednn.available(x, kernel):
        return conv2d(upsample(x), kernel)
    b, h, w, _ = x.shape
    sums = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
    taps = jnp.einsum("rk,cl,klio->rcoi", sums, sums, kernel)
    shape = (b, 2 * h, 2 * w, kernel.shape[-1])
    return onednn.convolve_transposed(
        x, taps, ConvWindow((2, 2), ((1, 1), (1, 1))), shape
    )


def channel_multiple(dtype: Any) -> int:
    """Return the multiple of channels that convolutions of this type are fast with.

    It is 8 for bfloat16 and 4 for float32 on a GPU, and 1 elsewhere.
    """
    if not backend.on_gpu():
        return 1
    return conv_gpu.ALIGNED_BYTES // jnp.dtype(dtype).itemsize
