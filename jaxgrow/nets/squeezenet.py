"""SqueezeNet 1.1 (Iandola et al. 2016) with the taps that LPIPS compares.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric",
CVPR 2018; layers, input scaling and taps are those of its authors' package, v0.1.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.nets.modules import Conv
from jaxgrow.typing import Image


TAP_CHANNELS = (64, 128, 256, 384, 384, 512, 512)
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
_PAIRS = ((3, 4), (6, 7), (9, 10), (11, 12))
FIRES = {i: (16 * k, 64 * k) for k, pair in enumerate(_PAIRS, 1) for i in pair}
"""torchvision's index of each: squeezed and expanded channels."""

# A GPU would otherwise round a figure's operands.
_Conv = functools.partial(Conv, padding="SAME", precision=lax.Precision.HIGHEST)
_POOL_BEFORE = (3, 6, 9)
_NO_TAP_AFTER = (3, 6)


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 side by side.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h, w, 2 * expanded).
    """

    squeezed: int
    expanded: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        x = nn.relu(_Conv(self.squeezed, 1, name="squeeze")(x))
        near = nn.relu(_Conv(self.expanded, 1, name="expand1")(x))
        wide = nn.relu(_Conv(self.expanded, 3, name="expand3")(x))
        return jnp.concatenate([near, wide], axis=-1)


class SqueezeNetFeatures(nn.Module):
    """The seven feature maps of SqueezeNet 1.1 that LPIPS reads, 722,496 parameters.

    Shapes:
        x: (b, h, w, 3) in [-1, 1], 17 px or more a side; scaled inside.
        returns: (b, p, q, c) for each c of `TAP_CHANNELS`; p = h / 2 to h / 16.
    """

    @nn.compact
    def __call__(self, x: Image) -> list[Float[Array, "b p q c"]]:
        shift, scale = jnp.array(SHIFT), jnp.array(SCALE)
        x = (x - shift[None, None, None]) / scale[None, None, None]
        x = nn.relu(_Conv(64, 3, stride=2, padding="VALID", name="conv0")(x))
        taps = [x]
        for index, (squeezed, expanded) in FIRES.items():
            x = _pool(x) if index in _POOL_BEFORE else x
            x = Fire(squeezed, expanded, name=f"fire{index}")(x)
            if index not in _NO_TAP_AFTER:
                taps.append(x)
        return taps


def _pool(x: Array) -> Array:
    """3x3 maxima at stride 2; an even side gets one more window, cut off at the end."""
    bottom, right = (1 - side % 2 for side in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)))  # not below relu's zeros
    return nn.max_pool(x, (3, 3), (2, 2))
