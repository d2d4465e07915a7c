"""Square convolutions with PyTorch's symmetric padding, quick on CPU too.

Off the CPU everything is XLA's plain convolution, and on CPU oneDNN's (onednn.py).
Where that is not available, XLA's is good with many channels on both sides; the
exceptions are written here another way, with the same results up to rounding. On CPU
there are reverse-mode gradients only (`jax.custom_vjp`): no `jax.jvp`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.devices import backend
from jaxgrow.ops import onednn
from jaxgrow.ops.sums import sum_pixels
from jaxgrow.ops.taps import (
    COLUMNS,
    THIN,
    shifts,
    to_columns,
)


_TINY = 2  # pixels along a side of an output that is too small for XLA


class Conv(nn.Module):
    """Convolution with zero padding (k - 1) / 2, NHWC.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h/stride, w/stride, features), rounded up; (b, 2h, 2w, features)
            if it doubles.

    Attributes:
        features: Output channels.
        kernel_size: Odd side of the square kernel.
        use_bias: Whether a bias is added.
        dtype: Type of the operands; None follows the input and the kernel.
        stride: Of the window, both ways.
        doubles: Whether x is doubled first; with kernels of 3x3 at stride 1.
    """

    features: int
    kernel_size: int = 3
    use_bias: bool = True
    dtype: Any = None
    stride: int = 1
    doubles: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        k, zeros = self.kernel_size, nn.initializers.zeros
        kernel = self.param("kernel", zeros, (k, k, x.shape[-1], self.features))
        dtype = self.dtype or jnp.result_type(x, kernel)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.doubles:
            assert (k, self.stride) == (3, 1)
            x = convolve_doubled(x, kernel)
        else:
            x = convolve(x, kernel, self.stride)
        if self.use_bias:
            bias = self.param("bias", zeros, (self.features,))
            x = add_bias(x, bias.astype(dtype))
        return x


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], stride: int = 1
) -> Float[Array, "b p q o"]:
    """Convolution with zero padding (k - 1) / 2, k odd."""
    k, _, i, o = kernel.shape
    h, w = x.shape[1:3]
    if not backend.on_cpu():
        return _convolve_plainly(x, kernel, (stride, stride))
    if onednn.available(x, kernel):
        pad = k // 2
        pads = ((pad, pad), (pad, pad))
        return onednn.conv_general_dilated(x, kernel, (stride, stride), pads)
    if k == 1 or max(h, w) <= _TINY * stride:
        return _convolve_by_taps(x, kernel, stride)
    if stride == 1 and min(i, o) <= THIN and w % COLUMNS == 0:
        return _convolve_thinly(x, kernel)
    return _convolve_plainly(x, kernel, (stride, stride))


def add_bias(
    x: Float[Array, "b h w c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """Adds the bias to every pixel."""
    if backend.on_cpu():
        return _add_bias(x, bias)
    return x + bias[None, None, None]


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """Nearest-neighbour up-sampling by 2; its gradient beats `jnp.repeat`'s on CPU."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def convolve_doubled(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "b p q o"]:
    """`convolve(double(x), kernel)`; by oneDNN with 4/9 of its products.

    Row v of x is rows 2v and 2v + 1 of the doubled picture, which four rows of the
    output see: 2v - 1 by the last tap, 2v by the last two, 2v + 1 by the first two and
    2v + 2 by the first. With the taps added up this is a transposed 4x4 convolution of
    stride 2, and its gradients are convolutions of stride 2.
    """
    if not onednn.available(x, kernel):
        return convolve(double(x), kernel)
    b, h, w, _ = x.shape
    sums = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], np.float32)
    taps = jnp.einsum("rk,cl,klio->rcoi", sums, sums, kernel)
    shape = (b, 2 * h, 2 * w, kernel.shape[-1])
    return onednn.convolve_transposed(x, taps, (2, 2), ((1, 1), (1, 1)), shape)


def _convolve_by_taps(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "b p q o"]:
    """A matrix product for each tap that sees pixels, summed up.

    On 2x2 pixels with 512 channels and their gradients 65 times faster than XLA's
    convolution, which takes its slow path there.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    terms = [
        jnp.matmul(shifted, kernel[i, j], preferred_element_type=wide)
        for (i, j), shifted in shifts(x, kernel.shape[0], stride)
    ]
    return sum(terms[1:], terms[0]).astype(x.dtype)


def _convolve_plainly(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "k l i o"],
    strides: tuple[int, int] = (1, 1),
) -> Float[Array, "b p q o"]:
    """As XLA does it."""
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@jax.custom_vjp
def _convolve_thinly(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """Four neighbouring columns at once, as channels of one wider convolution.

    It multiplies by some zeros, but gathers a third of the patches and fills the
    vector registers: about twice as fast as XLA's convolution from or to 3 channels.
    """
    b, h, w, _ = x.shape
    y = _convolve_plainly(x, to_columns(kernel), (1, COLUMNS))
    return y.reshape(b, h, w, kernel.shape[-1])


def _thin_forward(x, kernel):
    return _convolve_thinly(x, kernel), (x, kernel)


def _thin_backward(saved, g):
    """The gradient of the wide kernel would be dilated, which is slow: not that way.

    The kernel's gradient correlates the input with the output's gradient. XLA is up
    to six times faster when the one with fewer channels plays the input; changing the
    two over turns the result around.
    """
    x, kernel = saved
    d_x = _convolve_thinly(g, _turn(kernel))
    if x.shape[-1] <= g.shape[-1]:
        return d_x, _kernel_gradient(x, g, kernel)
    return d_x, _turn(_kernel_gradient(g, x, _turn(kernel)))


_convolve_thinly.defvjp(_thin_forward, _thin_backward)


def _kernel_gradient(x, g, kernel):
    """The gradient of the plain convolution of x, of the kernel's shape."""
    return jax.linear_transpose(lambda k: _convolve_plainly(x, k), kernel)(g)[0]


def _turn(kernel: Float[Array, "k k i o"]) -> Float[Array, "k k o i"]:
    """The kernel that takes the gradient of the output to that of the input."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


@jax.custom_vjp
def _add_bias(
    x: Float[Array, "b h w c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """Sums the bias's gradient by `sum_pixels`."""
    return x + bias[None, None, None]


def _bias_forward(x, bias):
    return _add_bias(x, bias), None


def _bias_backward(saved, g):
    del saved
    wide = jnp.promote_types(g.dtype, jnp.float32)
    return g, sum_pixels(lambda g: g.astype(wide), g).astype(g.dtype)


_add_bias.defvjp(_bias_forward, _bias_backward)
