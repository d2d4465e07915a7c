"""MobileNetV3 (Howard et al. 2019, Tables 1 and 2), with torchvision's numbers."""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow.nets.modules import BatchNorm, Conv, DepthwiseConv


class InvertedResidual(NamedTuple):
    """One inverted residual of the paper's tables."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    hard_swish: bool
    stride: int


ROWS: dict[str, tuple[InvertedResidual, ...]] = {
    "large": (
        InvertedResidual(3, 16, 16, False, False, 1),
        InvertedResidual(3, 64, 24, False, False, 2),
        InvertedResidual(3, 72, 24, False, False, 1),
        InvertedResidual(5, 72, 40, True, False, 2),
        InvertedResidual(5, 120, 40, True, False, 1),
        InvertedResidual(5, 120, 40, True, False, 1),
        InvertedResidual(3, 240, 80, False, True, 2),
        InvertedResidual(3, 200, 80, False, True, 1),
        InvertedResidual(3, 184, 80, False, True, 1),
        InvertedResidual(3, 184, 80, False, True, 1),
        InvertedResidual(3, 480, 112, True, True, 1),
        InvertedResidual(3, 672, 112, True, True, 1),
        InvertedResidual(5, 672, 160, True, True, 2),
        InvertedResidual(5, 960, 160, True, True, 1),
        InvertedResidual(5, 960, 160, True, True, 1),
    ),
    "small": (
        InvertedResidual(3, 16, 16, True, False, 2),
        InvertedResidual(3, 72, 24, False, False, 2),
        InvertedResidual(3, 88, 24, False, False, 1),
        InvertedResidual(5, 96, 40, True, True, 2),
        InvertedResidual(5, 240, 40, True, True, 1),
        InvertedResidual(5, 240, 40, True, True, 1),
        InvertedResidual(5, 120, 48, True, True, 1),
        InvertedResidual(5, 144, 48, True, True, 1),
        InvertedResidual(5, 288, 96, True, True, 2),
        InvertedResidual(5, 576, 96, True, True, 1),
        InvertedResidual(5, 576, 96, True, True, 1),
    ),
}
_HIDDEN = {"large": 1280, "small": 1024}
STEM_WIDTH = 16


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and an activation.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h/stride, w/stride, features).
    """

    features: int
    kernel: int
    train: bool
    dtype: Any
    axis_name: str | None
    epsilon: float
    momentum: float
    stride: int = 1
    depthwise: bool = False
    activation: Literal["relu", "hard_swish", "none"] = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        if self.depthwise:
            x = DepthwiseConv(self.kernel, self.stride, self.dtype, name="conv")(x)
        else:
            conv = functools.partial(Conv, use_bias=False, dtype=self.dtype)
            x = conv(self.features, self.kernel, stride=self.stride, name="conv")(x)
        norm = BatchNorm(
            self.momentum, self.epsilon, self.axis_name, self.dtype, name="norm"
        )
        x = norm(x, train=self.train)
        if self.activation == "none":
            return x
        return nn.relu(x) if self.activation == "relu" else jax.nn.hard_swish(x)


class SqueezeExcite(nn.Module):
    """Scale of each channel: a hard sigmoid of two dense layers on the channels' means.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h, w, c).
    """

    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        channels = x.shape[-1]
        scale = jnp.mean(x, axis=(1, 2), keepdims=True)
        # As 1x1 convolutions, for their initial distribution.
        conv = functools.partial(nn.Conv, kernel_size=(1, 1), dtype=self.dtype)
        scale = nn.relu(conv(_divisible(channels // 4), name="squeeze")(scale))
        scale = conv(channels, name="excite")(scale)
        return x * jax.nn.hard_sigmoid(scale)


class MobileNetV3(nn.Module):
    """Stem, inverted residuals, a 1x1 convolution, pooling and two dense layers.

    Shapes:
        x: (b, h, w, 3), normalised.
        returns: logits (b, num_classes).
    """

    size: Literal["large", "small"]
    num_classes: int
    stem_stride: int = 2
    dtype: Any = None
    axis_name: str | None = None
    epsilon: float = 1e-3
    momentum: float = 0.99

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], *, train: bool, dropout: bool = False
    ) -> Float[Array, "b k"]:
        layer = functools.partial(
            ConvNorm,
            train=train,
            dtype=self.dtype,
            axis_name=self.axis_name,
            epsilon=self.epsilon,
            momentum=self.momentum,
        )
        swish = functools.partial(layer, activation="hard_swish")
        x = swish(STEM_WIDTH, 3, stride=self.stem_stride, name="stem")(x)
        for i, row in enumerate(ROWS[self.size]):
            x = _inverted_residual(x, row, f"block{i}", self.dtype, layer)
        x = swish(6 * x.shape[-1], 1, name="last")(x)
        x = jnp.mean(x, axis=(1, 2))
        x = nn.Dense(_HIDDEN[self.size], dtype=self.dtype, name="hidden")(x)
        x = nn.Dropout(0.2, deterministic=not dropout)(jax.nn.hard_swish(x))
        return nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)


def _inverted_residual(
    x: Array, row: InvertedResidual, name: str, dtype: Any, layer: Callable
) -> Array:
    """Expand, convolve, squeeze, project; the layers belong to the calling module."""
    activation = "hard_swish" if row.hard_swish else "relu"
    active = functools.partial(layer, row.expanded, activation=activation)
    h = x
    if row.expanded != x.shape[-1]:
        h = active(1, name=f"{name}_expand")(h)
    depthwise = functools.partial(active, depthwise=True, name=f"{name}_depthwise")
    h = depthwise(row.kernel, stride=row.stride)(h)
    if row.squeeze:
        h = SqueezeExcite(dtype, name=f"{name}_squeeze")(h)
    h = layer(row.out, 1, name=f"{name}_project")(h)
    return x + h if row.stride == 1 and row.out == x.shape[-1] else h


def _divisible(channels: int) -> int:
    """Return the nearest multiple of 8, at least 8 and 90 % of `channels`."""
    rounded = max(8, (channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
