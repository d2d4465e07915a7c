"""The two scalings of 8-bit pixels: [0, 1] (System 2) and [-1, 1] (System 1)."""

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


def to_unit(images: UInt8[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Return uint8 pixels as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def to_signed(images: UInt8[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Return uint8 pixels as float32 in [-1, 1]."""
    return images.astype(jnp.float32) / 127.5 - 1.0
