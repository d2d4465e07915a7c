"""The layer of Speck et al. (2023), Fig. 1: one convolution, its norm, its activation.

A norm is chosen once for the whole network and is either on the weights (`spectral`,
`weight`: see weight_norm.py) or on the features (`batch`, `instance`), never both.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.devices import backend
from jaxgrow.nets.weight_norm import Norm
from jaxgrow.ops import onednn
from jaxgrow.ops.batch_norm import BatchNorm
from jaxgrow.ops.filling import fill_up, with_channels
from jaxgrow.ops.onednn import conv_general_dilated
from jaxgrow.ops.taps import THIN, shifts
from jaxgrow.typing import Activation


ActivationName: TypeAlias = Literal["leaky_relu", "relu", "elu", "gelu", "silu"]

_LARGEST_DENSE_SIDE = 4
_NARROW = 32  # channels that fill half of a tile of the tensor cores' kernels


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerConfig:
    """What every layer of a network shares."""

    norm: Norm = "spectral"
    """Norm of the whole network: on the weights (spectral, weight), on the features
    (batch, instance), or none."""
    activation: ActivationName = "leaky_relu"
    """Activation of the whole network."""
    slope: float = 0.01
    """Negative slope of leaky_relu."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the convolutions' operands; parameters, losses and the layer that makes
    the picture stay float32."""

    @property
    def activation_fn(self) -> Activation:
        if self.activation == "leaky_relu":
            return lambda x: nn.leaky_relu(x, self.slope)
        if self.activation == "gelu":
            return lambda x: nn.gelu(x, approximate=False)
        return {"relu": nn.relu, "elu": nn.elu, "silu": nn.silu}[self.activation]


class Kernel(nn.Module):
    """The kernel of a convolution, (k, k, i, o), or of a dense layer, (i, o).

    It is made zero and filled by `weight_norm.init`; a weight norm is applied to it
    before the network runs, by `weight_norm.apply`.
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> Float[Array, "..."]:
        return self.param("kernel", nn.initializers.zeros, self.shape)


class FeatureNorm(nn.Module):
    """Batch or instance norm over NHWC features; the identity for other norms.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h, w, c).

    Attributes:
        norm: The network's norm.
        axis_name: Devices over which batch statistics are averaged, if mapped.
        features: Channels of x; those behind them are 0 and stay so. None: all.
    """

    norm: Norm
    axis_name: str | None = None
    features: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, update: bool
    ) -> Float[Array, "b h w c"]:
        if self.norm == "batch":
            norm = BatchNorm(
                axis_name=self.axis_name, dtype=jnp.float32, name="batch_norm"
            )
            y = norm(with_channels(x, self.features or x.shape[-1]), train=update)
            return with_channels(y, x.shape[-1])
        if self.norm == "instance":
            x = x.astype(jnp.float32)
            mean = jnp.mean(x, axis=(1, 2), keepdims=True)
            variance = jnp.mean((x - mean) ** 2, axis=(1, 2), keepdims=True)
            return (x - mean) * lax.rsqrt(variance + 1e-5)
        return x


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k _ o"], stride: int = 1
) -> Float[Array, "b p q f"]:
    """Convolution with PyTorch's symmetric padding (k - 1) / 2 on every side.

    On a GPU the result is filled up: behind its own o channels there are zeros, and so
    there may be in x behind those that the kernel reads (`fill_up`).
    """
    features = kernel.shape[-1]
    x, kernel = fill_up(x, kernel)
    k, _, i, o = kernel.shape
    h, w = x.shape[1:3]
    is_tiny = stride == 1 and k > 1 and h == w <= _LARGEST_DENSE_SIDE
    if is_tiny and not onednn.available(x, kernel):
        return _convolve_densely(x, kernel)
    if stride == 1 and backend.on_gpu():
        if k == 1:
            return x @ kernel[0, 0]
        if features <= THIN:
            return with_channels(_convolve_to_few(x, kernel[..., :features]), o)
        if max(i, o) <= _NARROW and w % 2 == 0:
            return _convolve_in_pairs(x, kernel)
    pad = (k - 1) // 2
    pads = ((pad, pad), (pad, pad))
    return conv_general_dilated(x, kernel, (stride, stride), pads)


def convolve_branches(
    x: Float[Array, "b h w i"], kernels: Sequence[Float[Array, "_ _ _ _"]]
) -> Float[Array, "b h w f"]:
    """Convolutions of several sizes, their features side by side; see `convolve`.

    To XLA they are one, the smaller kernels with a margin of zeros: fewer kernels to
    start on a GPU. To oneDNN they are as many, which spares the zeros.
    """
    if onednn.available(x, *kernels):
        return jnp.concatenate([convolve(x, kernel) for kernel in kernels], axis=-1)
    side = max(kernel.shape[0] for kernel in kernels)
    filled = []
    for kernel in kernels:
        margin = ((side - kernel.shape[0]) // 2,) * 2
        filled.append(jnp.pad(kernel, (margin, margin, (0, 0), (0, 0))))
    return convolve(x, jnp.concatenate(filled, axis=-1))


def _convolve_to_few(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """The same convolution, products before sums: of every pixel with all taps at once.

    So x is read once, by a matrix product; a library's convolution to 3 channels takes
    several times as long on an H100, its kernel's gradient most of all.
    """
    k, o = kernel.shape[0], kernel.shape[-1]
    columns = rearrange(kernel, "k l i o -> i (k l o)")
    wide = jnp.promote_types(x.dtype, jnp.float32)
    products = jnp.matmul(x, columns, preferred_element_type=wide)
    terms = [
        shifted[..., (r * k + c) * o : (r * k + c + 1) * o]
        for (r, c), shifted in shifts(products, k, 1)
    ]
    return sum(terms[1:], terms[0]).astype(x.dtype)


def _convolve_in_pairs(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b h w o"]:
    """The same convolution to two neighbouring columns at once, from pairs of columns.

    A pair of pixels is one with twice the channels, without a copy. Of the wide
    kernel's columns a sixth (k = 5) or half (k = 3) are zeros, but an H100 multiplies
    twice as fast with 64 channels as with 32.
    """
    b, h, w, i = x.shape
    k, o = kernel.shape[0], kernel.shape[-1]
    lead = k // 2 % 2  # the window of a pair begins at an even column
    taps = (lead + k + 2) // 2  # pairs that it sees
    columns = [
        jnp.pad(kernel, ((0, 0), (left, 2 * taps - k - left), (0, 0), (0, 0)))
        for left in (lead, lead + 1)
    ]
    wide = rearrange(columns, "q k (t p) i o -> k t (p i) (q o)", p=2)
    before = (k // 2 + lead) // 2
    pads = ((k // 2, k // 2), (before, taps - 1 - before))
    y = conv_general_dilated(x.reshape(b, h, w // 2, 2 * i), wide, (1, 1), pads)
    return y.reshape(b, h, w, o)


def _convolve_densely(
    x: Float[Array, "b r r i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b r r o"]:
    """The same convolution of a tiny picture as one matrix product.

    Ten times faster than XLA's 5x5 convolution of a 4x4 picture on CPU, which is mostly
    padding and misses its fast path.
    """
    b, r, _, i = x.shape
    k, o = kernel.shape[0], kernel.shape[-1]
    tap = np.arange(r)[:, None] - np.arange(r)[None, :] + k // 2  # (input, output)
    inside = (tap >= 0) & (tap < k)
    tap = np.clip(tap, 0, k - 1)
    matrix = kernel[tap[:, None, :, None], tap[None, :, None, :]]  # (r, r, r, r, i, o)
    matrix *= (inside[:, None, :, None] & inside[None, :, None, :])[..., None, None]
    matrix = matrix.transpose(0, 1, 4, 2, 3, 5).reshape(r * r * i, r * r * o)
    return (x.reshape(b, -1) @ matrix).reshape(b, r, r, o)


def convolve_transposed(
    x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 _ o"]
) -> Float[Array, "b p q f"]:
    """Transposed 3x3 convolution of stride 2 that doubles the side; see `convolve`.

    Equal to PyTorch's ConvTranspose2d(3, stride=2, padding=1, output_padding=1) with
    the kernel flipped in both directions. It runs as a 2x2 convolution to the four
    phases of the output, which are then interleaved: XLA's weight gradient of the
    dilated form is 20 times slower on CPU.
    """
    x, kernel = fill_up(x, kernel)
    # Output row 2y takes the middle tap at y; row 2y + 1 the outer two at y and y + 1.
    k = jnp.pad(kernel, ((0, 1), (0, 1), (0, 0), (0, 0)))
    taps = np.array([[1, 3], [0, 2]])  # (phase, offset) -> tap; 3 is the padded zero
    k = k[taps[:, None, :, None], taps[None, :, None, :]]  # (p, q, dy, dx, i, o)
    k = rearrange(k, "p q dy dx i o -> dy dx i (p q o)")
    y = conv_general_dilated(x, k, (1, 1), ((0, 1), (0, 1)))
    return rearrange(y, "b h w (p q o) -> b (h p) (w q) o", p=2, q=2)


class ConvLayer(nn.Module):
    """One convolution with the network's norm and activation; no bias.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h, w, features), (b, h/2, w/2, features) for stride 2,
            (b, 2h, 2w, features) when transposed; on a GPU, unless linear, filled up.

    Attributes:
        features: Output channels.
        kernel_size: Odd side of the square kernel.
        config: What every layer of the network shares.
        stride: 1 or 2; a transposed convolution always doubles the side.
        transposed: Whether to go up instead of down; its kernel is 3x3.
        linear: An output layer: no activation and no feature norm, which would
            take its scale away; always float32.
        axis_name: See `FeatureNorm`.
        in_features: Channels of x, where it may be filled up; None: all.
    """

    features: int
    kernel_size: int
    config: LayerConfig
    stride: int = 1
    transposed: bool = False
    linear: bool = False
    axis_name: str | None = None
    in_features: int | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w i"], *, update: bool
    ) -> Float[Array, "b p q f"]:
        # bfloat16 would round the picture itself to half a grey level.
        dtype = jnp.dtype("float32" if self.linear else self.config.compute_dtype)
        k, in_features = self.kernel_size, self.in_features or x.shape[-1]
        kernel = Kernel((k, k, in_features, self.features), name="conv")()
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.transposed:
            h = convolve_transposed(x, kernel)
        else:
            h = convolve(x, kernel, self.stride)
        if self.linear:
            return with_channels(h, self.features)
        norm = FeatureNorm(self.config.norm, self.axis_name, self.features, name="norm")
        h = norm(h, update=update)
        return self.config.activation_fn(h).astype(dtype)
