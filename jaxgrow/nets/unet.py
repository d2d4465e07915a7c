"""A plain U-Net, the generator's trained baseline."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow import ops
from jaxgrow.nets.modules import Conv


class UNet(nn.Module):
    """Encoder and decoder with two 3x3 convolutions per level (Ronneberger 2015).

    Pooled by 2x2 means down to 4 px (to 2 px for images of 4 px), enlarged by nearest
    neighbour; no norm, ReLU, a linear output, He's uniform weights. The first level has
    `width` channels, every deeper one twice as many.

    Shapes:
        x: (b, r, r, 4), masked RGB in [-1, 1] with 0 in the hole, and the mask.
        returns: (b, r, r, 3), not clipped.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "b r r 4"]) -> Float[Array, "b r r 3"]:
        num_levels = count_levels(x.shape[1])
        widths = [self.width] + [2 * self.width] * (num_levels - 1)
        kept = []
        for level, width in enumerate(widths):
            if level > 0:
                kept.append(x)
                x = nn.avg_pool(x, (2, 2), strides=(2, 2))
            x = _double_conv(x, width, f"down_{level}")
        for level in reversed(range(num_levels - 1)):
            x = ops.upsample(x)
            x = jnp.concatenate([x, kept[level]], axis=-1)
            x = _double_conv(x, widths[level], f"up_{level}")
        return Conv(3, 1, kernel_init=_he_uniform, name="to_rgb")(x)


def count_levels(resolution: int) -> int:
    """Return the number of resolutions: down to 4 px, at least two."""
    return max(resolution.bit_length() - 2, 2)


def count_unet_params(width: int, resolution: int) -> int:
    """Return the number of parameters of `UNet(width)` at `resolution`."""
    num_levels = count_levels(resolution)
    widths = [width] + [2 * width] * (num_levels - 1)
    total = widths[0] * 3 + 3  # to_rgb
    inputs = [4, *widths[:-1]]
    for before, after in zip(inputs, widths, strict=True):
        total += _double_conv_params(before, after)
    for level in range(num_levels - 1):
        total += _double_conv_params(widths[level + 1] + widths[level], widths[level])
    return total


def widest_unet(resolution: int, max_params: int) -> UNet:
    """Return the widest U-Net of at most `max_params` parameters."""
    width = 1
    while count_unet_params(width + 1, resolution) <= max_params:
        width += 1
    return UNet(width)


def _double_conv(x: Array, width: int, name: str) -> Array:
    for i in (1, 2):
        conv = Conv(width, kernel_init=_he_uniform, name=f"{name}_conv{i}")
        x = nn.relu(conv(x))
    return x


def _he_uniform(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    # Drawn flat: a draw of this shape gives the same numbers, but XLA compiles it for a
    # second per kernel on CPU.
    bound = math.sqrt(6 / math.prod(shape[:-1]))
    flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
    return flat.reshape(shape)


def _double_conv_params(before: int, after: int) -> int:
    return 9 * before * after + after + 9 * after * after + after
