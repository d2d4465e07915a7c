"""Operations on plain arrays. One public function each, for every backend.

`jaxgrow.ops` is the only room that asks which backend runs. The formulations differ
between backends in speed and rounding, not in their formula or their shapes.
"""

from jaxgrow.ops.batch_norm import batch_norm, shift_and_scale
from jaxgrow.ops.conditional import where_any
from jaxgrow.ops.conv import (
    channel_multiple,
    conv2d,
    conv2d_branches,
    conv2d_transposed,
    upsample_conv2d,
)
from jaxgrow.ops.depthwise import conv2d_depthwise
from jaxgrow.ops.float64 import in_float64
from jaxgrow.ops.harmonic import harmonic_fill
from jaxgrow.ops.pooling import max_pool, mean_pool, upsample
from jaxgrow.ops.sums import add_bias, sum_pixels


__all__ = [
    "add_bias",
    "batch_norm",
    "channel_multiple",
    "conv2d",
    "conv2d_branches",
    "conv2d_depthwise",
    "conv2d_transposed",
    "harmonic_fill",
    "in_float64",
    "max_pool",
    "mean_pool",
    "shift_and_scale",
    "sum_pixels",
    "upsample",
    "upsample_conv2d",
    "where_any",
]
