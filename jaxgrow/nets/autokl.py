"""The autoencoder of Stable Diffusion made deterministic, with one latent channel.

After Rombach et al. (2022), without attention but in the middle. Three halvings take an
image of side s to a latent map of (s / 8, s / 8, 1), flattened row by row.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.nets.modules import Conv


@dataclasses.dataclass(frozen=True, kw_only=True)
class KLShape:
    """KLShape of both halves."""

    side: int
    """Side of the images."""
    base_channels: int
    """Channels behind the first convolution."""
    multipliers: tuple[int, ...]
    """Channels of each level, full resolution first, in units of `base_channels`."""
    blocks: int
    """Residual blocks of a level of the encoder; the decoder has one more."""
    dtype: Any
    """Type of the operands; None follows the input and the kernel."""
    remat: bool
    """Recompute the blocks' activations in the backward pass."""

    @property
    def channels(self) -> list[int]:
        """Channels of each level, full resolution first."""
        return [m * self.base_channels for m in self.multipliers]

    @property
    def block(self) -> type["KLBlock"]:
        """The module of a residual block."""
        return nn.remat(KLBlock) if self.remat else KLBlock


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
        return Conv(
            x.shape[-1],
            dtype=self.dtype,
            stride=2,
            padding=((0, 1), (0, 1)),
            name="conv",
        )(x)


class KLEncoder(nn.Module):
    """Levels of blocks with strided convolutions between them.

    Shapes:
        x: (b, s, s, 3).
        returns: (b, (s / 8)^2) for four levels.
    """

    shape: KLShape

    @nn.compact
    def __call__(self, x: Float[Array, "b s s 3"]) -> Float[Array, "b d"]:
        shape, dtype = self.shape, self.shape.dtype
        x = Conv(shape.base_channels, dtype=dtype, name="conv_in")(x)
        for level, channels in enumerate(shape.channels):
            for i in range(shape.blocks):
                x = shape.block(channels, dtype, name=f"level{level}_block{i}")(x)
            if level < len(shape.channels) - 1:
                x = Down(dtype, name=f"level{level}_down")(x)
        x = _middle(x, shape)
        x = nn.silu(_norm("norm_out", dtype)(x))
        x = Conv(2, dtype=dtype, name="conv_out")(x)
        return Conv(1, 1, dtype=dtype, name="to_latent")(x).reshape(len(x), -1)


class KLDecoder(nn.Module):
    """Levels of blocks with up-sampling and a convolution between them.

    Shapes:
        z: (b, (s / 8)^2) for four levels.
        returns: (b, s, s, 3), unbounded.
    """

    shape: KLShape

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b s s 3"]:
        shape, dtype = self.shape, self.shape.dtype
        deepest = len(shape.channels) - 1
        side = shape.side >> deepest
        x = z.reshape(len(z), side, side, 1)
        x = Conv(shape.channels[-1], dtype=dtype, name="conv_in")(x)
        x = _middle(x, shape)
        for level in reversed(range(deepest + 1)):
            for i in range(shape.blocks + 1):
                name = f"level{level}_block{i}"
                x = shape.block(shape.channels[level], dtype, name=name)(x)
            if level > 0:
                name = f"level{level}_up"
                channels = shape.channels[level]
                x = Conv(channels, dtype=dtype, upsamples=True, name=name)(x)
        x = nn.silu(_norm("norm_out", dtype)(x))
        return Conv(3, dtype=dtype, name="conv_out")(x)


def _middle(x: Array, shape: KLShape) -> Array:
    """Apply block, attention, block; they belong to the calling module."""
    block, dtype = shape.block, shape.dtype
    x = block(x.shape[-1], dtype, name="mid_block0")(x)
    x = Attention(dtype, name="mid_attention")(x)
    return block(x.shape[-1], dtype, name="mid_block1")(x)


def _norm(name: str, dtype: Any) -> nn.GroupNorm:
    """Return a norm of 32 contiguous groups of channels, with the original's eps."""
    return nn.GroupNorm(
        32, epsilon=1e-6, use_fast_variance=False, dtype=dtype, name=name
    )
