"""Pooling and up-sampling whose gradients are fast on CPU."""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.ops import onednn
from jaxgrow.ops.windows import ConvWindow


def max_pool(
    x: Float[Array, "b h w c"], side: int, stride: int
) -> Float[Array, "b p q c"]:
    """Return the maxima of square windows inside the picture.

    They are the largest of `side` slices, row by row, then column by column. The
    gradient adds slices up. That of `lax.reduce_window` searches every maximum again,
    which takes 3 (3x3 windows) to 19 times (2x2) as long on CPU. Two equal maxima each
    take half of the gradient.

    Raises:
        ValueError: The picture is smaller than a window.
    """
    for axis in (1, 2):
        if x.shape[axis] < side:
            raise ValueError(f"windows of {side} px do not fit into {x.shape[1:3]}")
        span = stride * ((x.shape[axis] - side) // stride) + 1
        slices = [
            lax.slice_in_dim(x, start, start + span, stride, axis)
            for start in range(side)
        ]
        x = functools.reduce(jnp.maximum, slices)
    return x


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """Double both sides by nearest neighbour.

    On CPU the gradient is faster than that of `jnp.repeat`.
    """
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)


def mean_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """Return means of 3x3 pixels, stride 2, with zeros around: sums divided by 9.

    Row i of the output sums rows 2i - 1, 2i and 2i + 1; h and w are even.
    """
    return _mean_pool_by_onednn(x) if onednn.available(x) else _mean_pool_by_shifts(x)


def _mean_pool_by_shifts(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """Sum shifted pictures, whose gradient is cheaper on CPU than a windowed sum's."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // 2, 2, w, c)
    above = jnp.pad(x[:, :-1, 1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    x = (above + x[:, :, 0] + x[:, :, 1]).reshape(b, h // 2, w // 2, 2, c)
    left = jnp.pad(x[:, :, :-1, 1], ((0, 0), (0, 0), (1, 0), (0, 0)))
    return (left + x[:, :, :, 0] + x[:, :, :, 1]) / 9.0


@jax.custom_vjp
def _mean_pool_by_onednn(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """Convolve, which is computed once.

    XLA would compute shifts again in every operation that reads the means.
    """
    ninth = jnp.full((3, 3, 1, x.shape[-1]), 1 / 9, x.dtype)
    return onednn.convolve_depthwise(x, ninth, ConvWindow((2, 2), ((1, 0), (1, 0))))


def _mean_pool_backward(saved, g):
    """Add the windows of each row: i for row 2i, i and i + 1 for row 2i + 1."""
    b, p, q, c = g.shape
    g = g / 9.0
    below = jnp.pad(g[:, 1:], ((0, 0), (0, 1), (0, 0), (0, 0)))
    g = jnp.stack([g, g + below], 2).reshape(b, 2 * p, q, c)
    right = jnp.pad(g[:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0)))
    return (jnp.stack([g, g + right], 3).reshape(b, 2 * p, 2 * q, c),)


_mean_pool_by_onednn.defvjp(
    lambda x: (_mean_pool_by_onednn(x), None), _mean_pool_backward
)
