"""Linen modules of convolutions and batch norm, shared by the networks."""

from typing import Any, Literal, TypeAlias

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow import ops
from jaxgrow.ops.windows import Padding


ComputeDtype: TypeAlias = Literal["float32", "bfloat16"]


def operand_dtype(compute_dtype: ComputeDtype) -> Any:
    """Return the type of operands; None follows the inputs and keeps float64."""
    return jnp.bfloat16 if compute_dtype == "bfloat16" else None


class Conv(nn.Module):
    """Convolution of NHWC pictures.

    Shapes:
        x: (b, h, w, i).
        returns: (b, p, q, features).

    Attributes:
        features: Output channels.
        kernel_size: Side of the kernel, or rows and columns.
        use_bias: Add a bias.
        dtype: Type of the operands; None follows the input and the kernel.
        stride: Of the window, both ways.
        padding: See `ops.conv2d`; None is (k - 1) / 2 on every side.
        upsamples: Double x by nearest neighbour first; for 3x3 kernels of stride 1.
        precision: Of the products on a GPU.
        kernel_init: Initial kernel.
    """

    features: int
    kernel_size: int | tuple[int, int] = 3
    use_bias: bool = True
    dtype: Any = None
    stride: int = 1
    padding: Padding = None
    upsamples: bool = False
    precision: lax.PrecisionLike = None
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        k = self.kernel_size
        sides = (k, k) if isinstance(k, int) else k
        shape = (*sides, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        dtype = self.dtype or jnp.result_type(x, kernel)
        x, kernel = x.astype(dtype), kernel.astype(dtype)
        if self.upsamples:
            x = ops.upsample_conv2d(x, kernel)
        else:
            window = self.stride, self.padding
            x = ops.conv2d(x, kernel, *window, precision=self.precision)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x = ops.add_bias(x, bias.astype(dtype))
        return x


class DepthwiseConv(nn.Module):
    """Convolution of every channel on its own, zero padding (k - 1) / 2, no bias, NHWC.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h/stride, w/stride, c).

    Attributes:
        kernel_size: Odd side of the square kernels.
        stride: Of the window, both ways.
        dtype: Type of the operands; None follows the input and the kernel.
    """

    kernel_size: int
    stride: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
        k = self.kernel_size
        kernel = self.param("kernel", nn.initializers.zeros, (k, k, 1, x.shape[-1]))
        dtype = self.dtype or jnp.result_type(x, kernel)
        return ops.conv2d_depthwise(x.astype(dtype), kernel.astype(dtype), self.stride)


class BatchNorm(nn.Module):
    """Batch norm whose running statistics are biased; see `ops.batch_norm`.

    Shapes:
        x: (b, h, w, c).
        returns: (b, h, w, c).

    Attributes:
        momentum: Share of the running statistics that a step keeps.
        epsilon: Added to the variance.
        axis_name: Devices that share the batch, if mapped.
        dtype: Of the output; None follows the input. Statistics are float32 or wider.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        c, ones, zeros = x.shape[-1:], nn.initializers.ones, nn.initializers.zeros
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, c)
        running_var = self.variable("batch_stats", "var", jnp.ones, c)
        scale, bias = self.param("scale", ones, c), self.param("bias", zeros, c)
        if not train:
            mean, var = running_mean.value, running_var.value
            factor = lax.rsqrt(var + self.epsilon) * scale
            y = ops.shift_and_scale(x, mean, factor, bias)
        else:
            y, mean, var = ops.batch_norm(x, scale, bias, self.epsilon, self.axis_name)
            if not self.is_initializing():
                for running, now in ((running_mean, mean), (running_var, var)):
                    kept = self.momentum * running.value
                    running.value = kept + (1.0 - self.momentum) * now
        return y.astype(self.dtype or x.dtype)
