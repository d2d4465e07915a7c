"""Convolutions on CPU without oneDNN, where XLA's own are slow.

XLA is fast with many channels on both sides. The other cases have formulations here.
Forward-mode gradients (`jax.jvp`) do not exist.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.ops.windows import (
    COLUMNS,
    FEW_CHANNELS,
    ConvWindow,
    convolve_densely,
    convolve_plainly,
    is_smaller_than_kernel,
    saving,
    shifts,
    to_columns,
)


_TINY = 2  # side of an output that XLA convolves slowly


def convolve_on_cpu(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k m i o"], window: ConvWindow
) -> Float[Array, "b p q o"]:
    """Convolve in the fastest formulation."""
    (k, _, i, o), (h, w) = kernel.shape, x.shape[1:3]
    stride = window.strides[0]
    if not window.is_centred(kernel):
        return convolve_plainly(x, kernel, window)
    if stride == 1 and is_smaller_than_kernel(x, kernel):
        return convolve_densely(x, kernel)
    if k == 1 or max(h, w) <= _TINY * stride:
        return _convolve_by_taps(x, kernel, stride)
    if stride == 1 and min(i, o) <= FEW_CHANNELS and w % COLUMNS == 0:
        return _convolve_thinly(x, kernel)
    return convolve_plainly(x, kernel, window)


def _convolve_by_taps(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "b p q o"]:
    """Sum a matrix product for each tap that sees pixels."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    terms = [
        jnp.matmul(shifted, kernel[i, j], preferred_element_type=wide)
        for (i, j), shifted in shifts(x, kernel.shape[0], stride)
    ]
    return sum(terms[1:], terms[0]).astype(x.dtype)


@jax.custom_vjp
def _convolve_thinly(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Compute four neighbouring columns at once, as channels of a wider convolution.

    It multiplies by some zeros, but gathers a third of the patches and fills the
    vector registers: about twice as fast as XLA's convolution from or to 3 channels.
    """
    b, h, w, _ = x.shape
    window = _centred(kernel)._replace(strides=(1, COLUMNS))
    y = convolve_plainly(x, to_columns(kernel), window)
    return y.reshape(b, h, w, kernel.shape[-1])


def _thin_backward(saved, g):
    """Return the gradients without the wide kernel's, which would be dilated and slow.

    The kernel's gradient correlates the input with the output's gradient. XLA is up
    to six times faster if the one with fewer channels is the input. Exchanging them
    turns the result around.
    """
    x, kernel = saved
    d_x = _convolve_thinly(g, _turn(kernel))
    if x.shape[-1] <= g.shape[-1]:
        return d_x, _kernel_gradient(x, g, kernel)
    return d_x, _turn(_kernel_gradient(g, x, _turn(kernel)))


_convolve_thinly.defvjp(saving(_convolve_thinly), _thin_backward)


def _kernel_gradient(x, g, kernel):
    window = _centred(kernel)
    transposed = jax.linear_transpose(lambda k: convolve_plainly(x, k, window), kernel)
    return transposed(g)[0]


def _centred(kernel: Float[Array, "k k _ _"]) -> ConvWindow:
    pad = kernel.shape[0] // 2
    return ConvWindow((1, 1), ((pad, pad), (pad, pad)))


def _turn(kernel: Float[Array, "k k i o"]) -> Float[Array, "k k o i"]:
    """Return the kernel that takes the output's gradient to the input's."""
    return kernel[::-1, ::-1].swapaxes(2, 3)
