"""Batch norm with closed-form gradients (Ioffe & Szegedy 2015)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.devices import parallel
from jaxgrow.ops.sums import sum_pixels


def batch_norm(
    x: Float[Array, "b h w c"],
    scale: Float[Array, " c"],
    bias: Float[Array, " c"],
    epsilon: float,
    axis_name: str | None = None,
) -> tuple[Float[Array, "b h w c"], Float[Array, " c"], Float[Array, " c"]]:
    """Return ((x - mean) / sqrt(variance + epsilon) * scale + bias, mean, variance).

    Mean and biased variance are the batch's, over all devices, in float32 or wider. The
    variance is that of the differences from the mean, which survives a mean far above
    the spread. Reverse-mode gradients flow through the first result alone. `axis_name`
    is that of the devices that share the batch, if mapped.
    """
    found: Any = _normalise_all(x, scale, bias, epsilon, axis_name)
    return found[0], *lax.stop_gradient(found[1:])


def shift_and_scale(
    x: Float[Array, "b h w c"],
    mean: Float[Array, " c"],
    factor: Float[Array, " c"],
    bias: Float[Array, " c"],
) -> Float[Array, "b h w c"]:
    """Return (x - mean) * factor + bias, channel by channel, in float32 or wider."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean, factor, bias = (v[None, None, None] for v in (mean, factor, bias))
    return (x - mean) * factor + bias


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalise_all(x, scale, bias, epsilon: float, axis_name: str | None):
    return _normalise_forward(x, scale, bias, epsilon, axis_name)[0]


def _normalise_forward(x, scale, bias, epsilon: float, axis_name: str | None):
    wide = jnp.promote_types(x.dtype, jnp.float32)
    pixels = x.shape[0] * x.shape[1] * x.shape[2]

    def mean_of(term) -> Array:
        found = sum_pixels(lambda band: term(band.astype(wide)), x) / pixels
        return parallel.pmean(found, axis_name)

    mean = mean_of(lambda band: band)
    var = mean_of(lambda band: (band - mean[None, None, None]) ** 2)
    inverse = lax.rsqrt(var + epsilon)
    y = shift_and_scale(x, mean, inverse * scale, bias)
    return (y, mean, var), (x, scale, mean, inverse)


def _normalise_backward(epsilon: float, axis_name: str | None, saved, cotangents):
    """Return the gradient in closed form (Ioffe & Szegedy 2015, Sec. 3).

    With n pixels on every device and z the normalised x it is
    scale / deviation * (g - mean(g) - z mean(g z)), means over all devices. The
    gradients of the parameters are of this device, like every gradient.
    """
    x, scale, mean, inverse = saved
    wide = jnp.promote_types(x.dtype, jnp.float32)
    g = cotangents[0].astype(wide)
    pixels = x.shape[0] * x.shape[1] * x.shape[2]

    def normalised(x):
        centred = x.astype(wide) - mean[None, None, None]
        return centred * inverse[None, None, None]

    d_bias = sum_pixels(lambda g: g, g)
    d_scale = sum_pixels(lambda g, x: g * normalised(x), g, x)
    mean_g, mean_gz = parallel.pmean((d_bias / pixels, d_scale / pixels), axis_name)
    rest = g - mean_g[None, None, None] - normalised(x) * mean_gz[None, None, None]
    d_x = (scale * inverse)[None, None, None] * rest
    return d_x.astype(x.dtype), d_scale.astype(scale.dtype), d_bias.astype(scale.dtype)


_normalise_all.defvjp(_normalise_forward, _normalise_backward)
