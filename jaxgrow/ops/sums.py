"""Sums over all pixels of all images of a batch, channel by channel."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.devices import backend


_MOST_BANDS = 16


def sum_pixels(
    term: Callable[..., Float[Array, "b n w c"]], *images: Float[Array, "b h w c"]
) -> Float[Array, " c"]:
    """Return the sum of term(*images) over everything but the channels.

    On CPU equal bands of rows are added to each other first, one long vector at a time,
    and a matrix product sums the rest. That is 2 times faster than XLA's reduction of
    one array, and 6 times faster than its reduction of a product of two. `term` is an
    elementwise function of a band of rows of every image.
    """
    if not backend.on_cpu():
        return term(*images).sum(axis=(0, 1, 2))
    rows = images[0].shape[1]
    num_bands = max(n for n in range(1, _MOST_BANDS + 1) if rows % n == 0)
    height = rows // num_bands
    bands = [
        term(*(image[:, y : y + height] for image in images))
        for y in range(0, rows, height)
    ]
    total = sum(bands[1:], bands[0])
    total = total.reshape(-1, total.shape[-1])
    wide = jnp.promote_types(total.dtype, jnp.float32)
    ones = jnp.ones((1, len(total)), total.dtype)
    return jnp.matmul(ones, total, preferred_element_type=wide)[0]


def add_bias(
    x: Float[Array, "b h w c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """Return x with the bias added to every pixel."""
    return _add_bias(x, bias) if backend.on_cpu() else x + bias[None, None, None]


@jax.custom_vjp
def _add_bias(
    x: Float[Array, "b h w c"], bias: Float[Array, " c"]
) -> Float[Array, "b h w c"]:
    """Add a bias whose gradient is a `sum_pixels`."""
    return x + bias[None, None, None]


def _bias_backward(saved, g):
    wide = jnp.promote_types(g.dtype, jnp.float32)
    return g, sum_pixels(lambda g: g.astype(wide), g).astype(g.dtype)


_add_bias.defvjp(lambda x, bias: (_add_bias(x, bias), None), _bias_backward)
