"""Square convolutions with a bias and PyTorch's symmetric padding."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class Conv(nn.Module):
    """Convolution of stride 1 with zero padding (k - 1) / 2, NHWC.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h, w, features).

    Attributes:
        features: Output channels.
        kernel_size: Odd side of the square kernel.
        use_bias: Whether a bias is added.
        dtype: Type of the operands; None follows the input and the kernel.
    """

    features: int
    kernel_size: int = 3
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        k, zeros = self.kernel_size, nn.initializers.zeros
        kernel = self.param("kernel", zeros, (k, k, x.shape[-1], self.features))
        dtype = self.dtype or jnp.result_type(x, kernel)
        x = lax.conv_general_dilated(
            x.astype(dtype),
            kernel.astype(dtype),
            (1, 1),
            ((k // 2, k // 2),) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        if self.use_bias:
            bias = self.param("bias", zeros, (self.features,))
            x = x + bias.astype(dtype)[None, None, None]
        return x


def double(x: Float[Array, "b h w c"]) -> Float[Array, "b p q c"]:
    """Nearest-neighbour up-sampling by 2; its gradient beats `jnp.repeat`'s on CPU."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c))
    return x.reshape(b, 2 * h, 2 * w, c)
