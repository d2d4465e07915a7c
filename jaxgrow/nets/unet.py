"""A plain U-Net, the baseline that the generator is compared with."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.ops.onednn import conv_general_dilated


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
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
            x = jnp.concatenate([x, kept[level]], axis=-1)
            x = _double_conv(x, widths[level], f"up_{level}")
        return nn.Conv(3, (1, 1), kernel_init=_he_uniform, name="to_rgb")(x)


def count_levels(resolution: int) -> int:
    """Resolutions that the net works at: down to 4 px, at least two."""
    return max(resolution.bit_length() - 2, 2)


def count_unet_params(width: int, resolution: int) -> int:
    """Parameters of `UNet(width)` at `resolution`, without making it."""
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
    """The U-Net with the most parameters that are not above `max_params`."""
    width = 1
    while count_unet_params(width + 1, resolution) <= max_params:
        width += 1
    return UNet(width)


def _double_conv(x: Array, width: int, name: str) -> Array:
    for i in (1, 2):
        name_i = f"{name}_conv{i}"
        conv = nn.Conv(
            width,
            (3, 3),
            kernel_init=_he_uniform,
            conv_general_dilated=conv_general_dilated,
            name=name_i,
        )
        x = nn.relu(conv(x))
    return x


def _he_uniform(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    # Drawn flat: the same numbers as a draw of this shape, which takes XLA on CPU a
    # second to compile for every kernel.
    bound = math.sqrt(6 / math.prod(shape[:-1]))
    flat = jax.random.uniform(key, (math.prod(shape),), dtype, -bound, bound)
    return flat.reshape(shape)


def _double_conv_params(before: int, after: int) -> int:
    return 9 * before * after + after + 9 * after * after + after
