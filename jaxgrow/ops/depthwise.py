"""Square convolutions of every channel on its own, quick on CPU too.

XLA's grouped convolution on CPU is not, and is written here another way, with the same
results up to rounding; off the CPU it is the plain one. On CPU it has reverse-mode
gradients only (`jax.custom_vjp`): no `jax.jvp`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.devices import backend
from jaxgrow.ops.sums import sum_pixels
from jaxgrow.ops.taps import shifts


class DepthwiseConv(nn.Module):
    """Convolution of every channel on its own, zero padding (k - 1) / 2, no bias, NHWC.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h/stride, w/stride, c).

    Attributes:
        kernel_size: Odd side of the square kernels.
        stride: Of the window, both ways.
        dtype: Type of the operands; None follows the input and the kernel.
    """

    kernel_size: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
        k = self.kernel_size
        kernel = self.param("kernel", nn.initializers.zeros, (k, k, 1, x.shape[-1]))
        dtype = self.dtype or jnp.result_type(x, kernel)
        return convolve_depthwise(x.astype(dtype), kernel.astype(dtype), self.stride)


def convolve_depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1
) -> Float[Array, "b p q c"]:
    """Convolution of every channel on its own, zero padding (k - 1) / 2, k odd."""
    if backend.on_cpu():
        return _convolve_depthwise(x, kernel, stride)
    pad = kernel.shape[0] // 2
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int
) -> Float[Array, "b p q c"]:
    """A sum of shifted pictures, each times one weight per channel.

    3 to 900 times faster with its gradients than XLA's grouped convolution. Weights
    that meet nothing but padding, most of a large kernel's on a small picture, are
    left out.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    terms = [
        shifted.astype(wide) * kernel[None, None, i, j]
        for (i, j), shifted in shifts(x, kernel.shape[0], stride)
    ]
    return sum(terms[1:], terms[0]).astype(x.dtype)


def _depthwise_forward(x, kernel, stride):
    return _convolve_depthwise(x, kernel, stride), (x, kernel)


def _depthwise_backward(stride, saved, g):
    x, kernel = saved
    d_x = _depthwise_input_gradient(kernel, g, stride, x.shape[1:3])
    return d_x.astype(x.dtype), _depthwise_kernel_gradient(x, kernel, g, stride)


_convolve_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _depthwise_input_gradient(kernel, g, stride: int, sides: tuple[int, int]):
    """Sums of shifted gradients, one for each phase of the input that a stride makes.

    Pixel s v + a of the input meets tap i in pixel v + (a + pad - i) / s of the output,
    for the i that leave no remainder.
    """
    k, pad = kernel.shape[0], kernel.shape[0] // 2
    b, p, q, c = g.shape
    wide = jnp.promote_types(g.dtype, jnp.float32)
    padded = jnp.pad(g, ((0, 0), (pad, pad), (pad, pad), (0, 0))).astype(wide)

    def taps(a: int) -> list[tuple[int, int]]:
        reached = [(i, a + pad - i) for i in range(k)]
        return [(i, pad + d // stride) for i, d in reached if d % stride == 0]

    def phase(a: int, e: int) -> Array:
        terms = [
            padded[:, y : y + p, z : z + q] * kernel[None, None, i, j]
            for i, y in taps(a)
            for j, z in taps(e)
        ]
        return sum(terms, jnp.zeros((b, p, q, c), wide))

    steps = range(stride)
    d_x = jnp.stack([jnp.stack([phase(a, e) for e in steps], 3) for a in steps], 2)
    h, w = sides
    return d_x.reshape(b, stride * p, stride * q, c)[:, :h, :w]


def _depthwise_kernel_gradient(x, kernel, g, stride: int):
    k, c = kernel.shape[0], g.shape[-1]
    wide = jnp.promote_types(g.dtype, jnp.float32)
    d_kernel = jnp.zeros((k, k, 1, c), wide)
    for (i, j), shifted in shifts(x, k, stride):
        tap = sum_pixels(lambda s, g: s.astype(wide) * g.astype(wide), shifted, g)
        d_kernel = d_kernel.at[i, j, 0].set(tap)
    return d_kernel.astype(kernel.dtype)
