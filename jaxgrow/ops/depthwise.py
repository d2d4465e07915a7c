"""Convolutions of every channel on its own."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.devices import backend
from jaxgrow.ops.sums import sum_pixels
from jaxgrow.ops.windows import convolve_plainly, make_window, saving, shifts


def conv2d_depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1
) -> Float[Array, "b p q c"]:
    """Return the convolution of every channel on its own, zero padding (k - 1) / 2.

    On CPU it has reverse-mode gradients only.
    """
    if backend.on_cpu():
        return _convolve_depthwise(x, kernel, stride)
    window = make_window(x, kernel, stride, None)
    return convolve_plainly(x, kernel, window, groups=x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_depthwise(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int
) -> Float[Array, "b p q c"]:
    """Sum shifted pictures, each times one weight per channel.

    3 to 900 times faster with its gradients than XLA's grouped convolution. Weights
    that meet only padding are left out: most of a large kernel's on a small picture.
    """
    wide = jnp.promote_types(x.dtype, jnp.float32)
    terms = [
        shifted.astype(wide) * kernel[None, None, i, j]
        for (i, j), shifted in shifts(x, kernel.shape[0], stride)
    ]
    return sum(terms[1:], terms[0]).astype(x.dtype)


def _depthwise_backward(stride, saved, g):
    x, kernel = saved
    d_x = _depthwise_input_gradient(kernel, g, stride, x.shape[1:3])
    return d_x.astype(x.dtype), _depthwise_kernel_gradient(x, kernel, g, stride)


_convolve_depthwise.defvjp(saving(_convolve_depthwise), _depthwise_backward)


def _depthwise_input_gradient(kernel, g, stride: int, sides: tuple[int, int]):
    """Sum shifted gradients, for each phase of the input that a stride makes.

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
