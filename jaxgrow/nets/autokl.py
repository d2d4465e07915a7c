"""The autoencoder of Stable Diffusion made deterministic, with one latent channel.

After Rombach et al. (2022), without attention but in the middle. Three halvings take an
image of side s to a latent map of (s / 8, s / 8, 1), flattened row by row.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.nets.autoencoder_config import AutoencoderConfig
from jaxgrow.nets.modules import Conv, operand_dtype


class KLBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, around a shortcut.

    The shortcut is a 1x1 convolution with bias if the channels change.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h, w, features).
    """

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        h = nn.silu(_norm("norm0", self.dtype)(x))
        h = Conv(self.features, dtype=self.dtype, name="conv0")(h)
        h = nn.silu(_norm("norm1", self.dtype)(h))
        h = Conv(self.features, dtype=self.dtype, name="conv1")(h)
        if x.shape[-1] != self.features:
            x = Conv(self.features, 1, dtype=self.dtype, name="shortcut")(x)
        return x + h


class Attention(nn.Module):
    """Self-attention of one head over all positions, around an identity shortcut.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h, w, c).
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        normed = _norm("norm", self.dtype)(x).reshape(b, h * w, c)
        q, k, v = (nn.Dense(c, dtype=self.dtype, name=n)(normed) for n in "qkv")
        # The softmax of bfloat16 products is taken in float32.
        wide = jnp.promote_types(q.dtype, jnp.float32)
        weight = jnp.einsum("bqc,bkc->bqk", q, k).astype(wide) / c**0.5
        weight = jax.nn.softmax(weight, axis=-1).astype(v.dtype)
        y = jnp.einsum("bqk,bkc->bqc", weight, v)
        return x + nn.Dense(c, dtype=self.dtype, name="out")(y).reshape(x.shape)


class Down(nn.Module):
    """3x3 convolution of stride 2, padded on the right and at the bottom alone.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h/2, w/2, c).
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
        conv = functools.partial(Conv, stride=2, padding=((0, 1), (0, 1)))
        return conv(x.shape[-1], dtype=self.dtype, name="conv")(x)


class KLEncoder(nn.Module):
    """Levels of blocks with strided convolutions between them.

    Shapes:
        x: (b, s, s, 3).
        returns: (b, (s / 8)^2) for four levels.
    """

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
        config, dtype = self.config, operand_dtype(self.config.compute_dtype)
        x = Conv(config.base_channels, dtype=dtype, name="conv_in")(x)
        for level, multiplier in enumerate(config.autokl_multipliers):
            channels = multiplier * config.base_channels
            for i in range(config.autokl_blocks):
                x = _block(config, channels, f"level{level}_block{i}")(x)
            if level < len(config.autokl_multipliers) - 1:
                x = Down(dtype, name=f"level{level}_down")(x)
        x = _middle(config, x)
        x = nn.silu(_norm("norm_out", dtype)(x))
        x = Conv(2, dtype=dtype, name="conv_out")(x)
        return Conv(1, 1, dtype=dtype, name="to_latent")(x).reshape(len(x), -1)


class KLDecoder(nn.Module):
    """Levels of blocks with up-sampling and a convolution between them.

    Shapes:
        z: (b, (s / 8)^2) for four levels.
        returns: (b, s, s, 3), unbounded.
    """

    config: AutoencoderConfig

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b s s 3"]:
        config, dtype = self.config, operand_dtype(self.config.compute_dtype)
        widths = [m * config.base_channels for m in config.autokl_multipliers]
        side = config.image_size >> (len(widths) - 1)
        x = z.reshape(len(z), side, side, 1)
        x = Conv(widths[-1], dtype=dtype, name="conv_in")(x)
        x = _middle(config, x)
        for level, channels in reversed(list(enumerate(widths))):
            for i in range(config.autokl_blocks + 1):
                x = _block(config, channels, f"level{level}_block{i}")(x)
            if level > 0:
                name = f"level{level}_up"
                x = Conv(channels, dtype=dtype, upsamples=True, name=name)(x)
        x = nn.silu(_norm("norm_out", dtype)(x))
        return Conv(3, dtype=dtype, name="conv_out")(x)


def _middle(config: AutoencoderConfig, x: Array) -> Array:
    """Apply block, attention, block; they belong to the calling module."""
    x = _block(config, x.shape[-1], "mid_block0")(x)
    x = Attention(operand_dtype(config.compute_dtype), name="mid_attention")(x)
    return _block(config, x.shape[-1], "mid_block1")(x)


def _block(config: AutoencoderConfig, channels: int, name: str) -> KLBlock:
    block = nn.remat(KLBlock) if config.remat else KLBlock
    return block(channels, operand_dtype(config.compute_dtype), name=name)


def _norm(name: str, dtype: Any) -> nn.GroupNorm:
    """Return a norm of 32 contiguous groups of channels, with the original's eps."""
    return nn.GroupNorm(
        32, epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name
    )
