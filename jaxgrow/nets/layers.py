"""The layer of Speck et al. (2023), Fig. 1: one convolution, its norm, its activation.

A norm is chosen once for the whole network. It is either on the weights (`spectral`,
`weight`: see weight_norm.py) or on the features (`batch`, `instance`), never both.
"""

import dataclasses
from typing import Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow import ops
from jaxgrow.nets.modules import BatchNorm, ComputeDtype
from jaxgrow.nets.weight_norm import Norm
from jaxgrow.ranges import Checked, Share
from jaxgrow.typing import Activation


ActivationName: TypeAlias = Literal["leaky_relu", "relu", "elu", "gelu", "silu"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerConfig(Checked):
    """Options that every layer of a network shares."""

    norm: Norm = "spectral"
    """Norm of the whole network: on the weights (spectral, weight), on the features
    (batch, instance), or none."""
    activation: ActivationName = "leaky_relu"
    """Activation of the whole network."""
    slope: Share = 0.01
    """Negative slope of leaky_relu."""
    compute_dtype: ComputeDtype = "float32"
    """Type of the convolutions' operands; parameters, losses and the layer that makes
    the picture stay float32."""

    @property
    def activation_fn(self) -> Activation:
        """The activation; it maps 0 to 0."""
        if self.activation == "leaky_relu":
            return lambda x: nn.leaky_relu(x, self.slope)
        if self.activation == "gelu":
            return lambda x: nn.gelu(x, approximate=False)
        return {"relu": nn.relu, "elu": nn.elu, "silu": nn.silu}[self.activation]


class Kernel(nn.Module):
    """The kernel of a convolution, (k, k, i, o), or of a dense layer, (i, o).

    It is created zero and filled by `weight_norm.init_normed`. Before the network runs
    `weight_norm.apply_normed` normalises it, and `channel_padding` may add channels.
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> Float[Array, "..."]:
        if self.is_initializing():
            return self.param("kernel", nn.initializers.zeros, self.shape)
        kernel = self.get_variable("params", "kernel")
        assert isinstance(kernel, jax.Array)
        return kernel


class FeatureNorm(nn.Module):
    """Batch or instance norm over NHWC features; the identity for other norms.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h, w, c).

    Attributes:
        norm: Norm of the network.
        axis_name: Devices over which batch statistics are averaged, if mapped.
    """

    norm: Norm
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, update: bool
    ) -> Float[Array, "b h w c"]:
        if self.norm == "batch":
            norm = BatchNorm(
                axis_name=self.axis_name, dtype=jnp.float32, name="batch_norm"
            )
            return norm(x, train=update)
        if self.norm == "instance":
            x = x.astype(jnp.float32)
            mean = jnp.mean(x, axis=(1, 2), keepdims=True)
            variance = jnp.mean((x - mean) ** 2, axis=(1, 2), keepdims=True)
            return (x - mean) * lax.rsqrt(variance + 1e-5)
        return x


class ConvLayer(nn.Module):
    """One convolution with the network's norm and activation; no bias.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h, w, features), (b, h/2, w/2, features) for stride 2,
            (b, 2h, 2w, features) when transposed.

    Attributes:
        features: Output channels.
        kernel_size: Odd side of the square kernel.
        config: Options of the network.
        stride: 1 or 2; a transposed convolution always doubles the side.
        transposed: Go up instead of down; the kernel is 3x3.
        linear: Output layer, always float32, without activation and without a feature
            norm, which would remove its scale.
        axis_name: See `FeatureNorm`.
    """

    features: int
    kernel_size: int
    config: LayerConfig
    stride: int = 1
    transposed: bool = False
    linear: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], *, update: bool
    ) -> Float[Array, "b p q f"]:
        # bfloat16 would round the picture itself to half a grey level.
        dtype = jnp.dtype("float32" if self.linear else self.config.compute_dtype)
        k = self.kernel_size
        kernel = Kernel((k, k, x.shape[-1], self.features), name="conv")()
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.transposed:
            h = ops.conv2d_transposed(x, kernel)
        else:
            h = ops.conv2d(x, kernel, self.stride)
        if self.linear:
            return h
        h = FeatureNorm(self.config.norm, self.axis_name, name="norm")(h, update=update)
        return self.config.activation_fn(h).astype(dtype)
