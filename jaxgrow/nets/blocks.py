"""Sub-block and blocks of the growing networks (Speck et al. 2023, Fig. 1).

A block is the part of a network that works at one resolution. Its parameter count at
width 27 is 32,805: 729 (1x1) + 3 * 8,505 (sub-blocks) + 6,561 (3x3, strided).
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow import ops
from jaxgrow.nets.layers import ConvLayer, FeatureNorm, Kernel, LayerConfig


def branch_name(kernel_size: int) -> str:
    """Return the name of a sub-block's convolution."""
    return f"conv_{kernel_size}x{kernel_size}"


class SubBlock(nn.Module):
    """Residual unit: different convolutions side by side, concatenated, input added.

    Shapes:
        x: (b, h, w, c), with c >= len(kernel_sizes).
        returns: (b, h, w, c).

    Attributes:
        kernel_sizes: Odd side of each branch's kernel. The paper says only "three
            different convolutions".
        config: Options of the network.
        axis_name: See `FeatureNorm`.
    """

    kernel_sizes: tuple[int, ...]
    config: LayerConfig
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, update: bool
    ) -> Float[Array, "b h w c"]:
        dtype = jnp.dtype(self.config.compute_dtype)
        num_branches, channels = len(self.kernel_sizes), x.shape[-1]
        kernels = []
        for i, k in enumerate(self.kernel_sizes):
            # The first `channels % num_branches` branches take the remainder.
            width = channels // num_branches + (i < channels % num_branches)
            kernel = Kernel((k, k, channels, width), name=branch_name(k))()
            kernels.append(kernel.astype(dtype))
        h = ops.conv2d_branches(x.astype(dtype), kernels)
        h = FeatureNorm(self.config.norm, self.axis_name, name="norm")(h, update=update)
        return x + self.config.activation_fn(h).astype(dtype)


class _Block(nn.Module):
    """The beginning of both kinds of block: a 1x1 convolution and sub-blocks."""

    width: int
    kernel_sizes: tuple[int, ...]
    num_sub_blocks: int
    config: LayerConfig
    axis_name: str | None = None

    def _enter(self, x: Float[Array, "b r r _"], update: bool) -> Array:
        config, axis_name = self.config, self.axis_name
        entry = ConvLayer(self.width, 1, config, axis_name=axis_name, name="in")
        x = entry(x, update=update)
        for i in range(self.num_sub_blocks):
            sub_block = SubBlock(self.kernel_sizes, config, axis_name, name=f"sub{i}")
            x = sub_block(x, update=update)
        return x


class DownBlock(_Block):
    """1x1 convolution, sub-blocks, and a strided convolution that halves the side.

    Shapes:
        x: (b, r, r, c).
        returns: features at r, (b, r, r, width), and the output, (b, r/2, r/2, width).
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "b r r c"], *, update: bool
    ) -> tuple[Float[Array, "b r r w"], Float[Array, "b s s w"]]:
        x = self._enter(x, update)
        config, axis_name = self.config, self.axis_name
        down = ConvLayer(self.width, 3, config, 2, axis_name=axis_name, name="down")
        return x, down(x, update=update)


class UpBlock(_Block):
    """1x1 convolution, sub-blocks, and a transposed convolution: doubles the side.

    Shapes:
        x: (b, r/2, r/2, c).
        returns: (b, r, r, width).
    """

    @nn.compact
    def __call__(
        self, x: Float[Array, "b s s c"], *, update: bool
    ) -> Float[Array, "b r r _"]:
        x = self._enter(x, update)
        layer = functools.partial(ConvLayer, transposed=True, axis_name=self.axis_name)
        return layer(self.width, 3, self.config, name="up")(x, update=update)
