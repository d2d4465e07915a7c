"""The layer of Speck et al. (2023), Fig. 1: one convolution, its norm, its activation.

A norm is chosen once for the whole network and is either on the weights (`spectral`,
`weight`) or on the features (`batch`, `instance`), never both.
"""

import dataclasses
import math
from typing import Literal, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.typing import Activation


Norm: TypeAlias = Literal["spectral", "weight", "batch", "instance", "none"]
ActivationName: TypeAlias = Literal["leaky_relu", "relu", "elu", "gelu", "silu"]

_NHWC = ("NHWC", "HWIO", "NHWC")
_WARM_UP_ITERATIONS = 15  # as PyTorch's parametrisation; a cold start is 26 % off
_EPS = 1e-12


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
    """Type of the convolutions' operands; parameters and losses stay float32."""

    @property
    def activation_fn(self) -> Activation:
        if self.activation == "leaky_relu":
            return lambda x: nn.leaky_relu(x, self.slope)
        if self.activation == "gelu":
            return lambda x: nn.gelu(x, approximate=False)
        return {"relu": nn.relu, "elu": nn.elu, "silu": nn.silu}[self.activation]


def power_iteration(
    w: Float[Array, "o n"], v: Float[Array, " n"], num_iterations: int
) -> dict[str, Array]:
    """Singular vectors u (o,) and v (n,) of the largest singular value of `w`.

    One iteration is u <- Wv/|Wv|, v <- W'u/|W'u| (Miyato et al. 2018, Alg. 1, in
    PyTorch's order). No gradient flows through it.
    """
    w = lax.stop_gradient(w)
    u = jnp.zeros(w.shape[0], w.dtype)
    for _ in range(num_iterations):
        u = w @ v
        u = u / jnp.maximum(jnp.linalg.norm(u), _EPS)
        v = w.T @ u
        v = v / jnp.maximum(jnp.linalg.norm(v), _EPS)
    return {"u": u, "v": v}


class Kernel(nn.Module):
    """A convolution's kernel, divided by its weight norm where the network has one.

    Shapes:
        returns: (k, k, i, o), also for transposed convolutions.

    Attributes:
        shape: (k, k, i, o) of a convolution or (i, o) of a dense layer.
        norm: `spectral` divides by the largest singular value of the (o, k k i)
            matrix; its singular vectors live in the collection "spectral" and take
            one power iteration per call with `update`. `weight` learns the length of
            each output channel's kernel (Salimans and Kingma 2016). Feature norms
            and `none` leave the kernel alone.
        fan_in: Inputs per output in the sense of PyTorch's default initialisation,
            uniform in +-1/sqrt(fan_in).
    """

    shape: tuple[int, ...]
    norm: Norm
    fan_in: int

    @nn.compact
    def __call__(self, *, update: bool) -> Float[Array, "..."]:
        bound = 1.0 / math.sqrt(self.fan_in)
        kernel = self.param(
            "kernel",
            lambda key: jax.random.uniform(
                key, self.shape, minval=-bound, maxval=bound
            ),
        )
        if self.norm == "spectral":
            return kernel / self._largest_singular_value(kernel, update)
        if self.norm == "weight":
            length = jnp.sqrt(jnp.sum(kernel**2, axis=range(kernel.ndim - 1)))
            scale = self.param("scale", lambda _: length)
            return kernel * (scale / length).reshape((1,) * (kernel.ndim - 1) + (-1,))
        return kernel

    def _largest_singular_value(
        self, kernel: Float[Array, "..."], update: bool
    ) -> Float[Array, ""]:
        w = kernel.reshape(-1, kernel.shape[-1]).T

        def warm_up():
            v = jax.random.normal(self.make_rng("params"), (w.shape[1],))
            return power_iteration(w, v, _WARM_UP_ITERATIONS)

        vectors = self.variable("spectral", "vectors", warm_up)
        if update and not self.is_initializing():
            vectors.value = power_iteration(w, vectors.value["v"], 1)
        u, v = vectors.value["u"], vectors.value["v"]
        return u @ w @ v


class FeatureNorm(nn.Module):
    """Batch or instance norm over NHWC features; the identity for other norms.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h, w, c).

    Attributes:
        norm: The network's norm.
        axis_name: Devices over which batch statistics are averaged, if mapped.
    """

    norm: Norm
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, update: bool
    ) -> Float[Array, "b h w c"]:
        if self.norm == "batch":
            return nn.BatchNorm(
                use_running_average=not update,
                momentum=0.9,
                epsilon=1e-5,
                use_fast_variance=False,
                axis_name=self.axis_name,
                dtype=jnp.float32,
                name="batch_norm",
            )(x)
        if self.norm == "instance":
            x = x.astype(jnp.float32)
            mean = jnp.mean(x, axis=(1, 2), keepdims=True)
            variance = jnp.mean((x - mean) ** 2, axis=(1, 2), keepdims=True)
            return (x - mean) * lax.rsqrt(variance + 1e-5)
        return x


def convolve(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"], stride: int = 1
) -> Float[Array, "b p q o"]:
    """Convolution with PyTorch's symmetric padding (k - 1) / 2 on every side."""
    pad = (kernel.shape[0] - 1) // 2
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((pad, pad), (pad, pad)), dimension_numbers=_NHWC
    )


def convolve_transposed(
    x: Float[Array, "b h w i"], kernel: Float[Array, "k k i o"]
) -> Float[Array, "b p q o"]:
    """Transposed convolution of stride 2 and odd kernel that doubles the side exactly.

    Equal to PyTorch's ConvTranspose2d(k, stride=2, padding=(k-1)//2,
    output_padding=1) with the kernel flipped in both directions.
    """
    pad = kernel.shape[0] // 2
    padding = ((pad, pad + 1), (pad, pad + 1))
    return lax.conv_transpose(x, kernel, (2, 2), padding, dimension_numbers=_NHWC)


class ConvLayer(nn.Module):
    """One convolution with the network's norm and activation; no bias.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h, w, features), (b, h/2, w/2, features) for stride 2,
            (b, 2h, 2w, features) when transposed.

    Attributes:
        features: Output channels.
        kernel_size: Odd side of the square kernel.
        config: What every layer of the network shares.
        stride: 1 or 2; a transposed convolution always doubles the side.
        transposed: Whether to go up instead of down.
        linear: An output layer: no activation and no feature norm, which would
            take its scale away.
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
    ) -> Float[Array, "b p q o"]:
        dtype = jnp.dtype(self.config.compute_dtype)
        k, in_features = self.kernel_size, x.shape[-1]
        # PyTorch counts a transposed convolution's fan-in over its output channels.
        fan_in = k * k * (self.features if self.transposed else in_features)
        shape = (k, k, in_features, self.features)
        kernel = Kernel(shape, self.config.norm, fan_in, name="conv")(update=update)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.transposed:
            h = convolve_transposed(x, kernel)
        else:
            h = convolve(x, kernel, self.stride)
        if self.linear:
            return h
        h = FeatureNorm(self.config.norm, self.axis_name, name="norm")(h, update=update)
        return self.config.activation_fn(h).astype(dtype)
