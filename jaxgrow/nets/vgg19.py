"""VGG19's feature layers (Simonyan and Zisserman 2015) for the perceptual loss.

Speck et al. (2023), Sec. III-C, take the last features of the first two blocks of an
ImageNet network: relu1_2 and relu2_2, timm's features.2/3 and features.7/8.
"""

import re
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgrow import ops
from jaxgrow.nets.modules import ComputeDtype, Conv, operand_dtype
from jaxgrow.typing import FeaturesFn, Image, Params


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
VGG19_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of each block."""

_LAYER = re.compile(r"conv(\d)_\d")


class VGG19Features(nn.Module):
    """conv1_1 to the end of block `num_blocks` of VGG19.

    Two blocks have 260,160 parameters, all five 20,024,384.

    Shapes:
        x: (b, h, w, 3) in [-1, 1]; normalised inside by `mean` and `std`, which are of
            colours in [0, 1].
        returns: The last relu of each block, float32: relu1_2 (b, h, w, 64),
            relu2_2 (b, h/2, w/2, 128), relu3_4 (b, h/4, w/4, 256), and so on.
    """

    num_blocks: int = 2
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Image) -> list[Float[Array, "b p q c"]]:
        mean, std = jnp.array(self.mean), jnp.array(self.std)
        x = ((x + 1.0) / 2.0 - mean[None, None, None]) / std[None, None, None]
        features = []
        for block, (width, depth) in enumerate(VGG19_BLOCKS[: self.num_blocks], 1):
            x = ops.max_pool(x, 2, 2) if block > 1 else x
            for layer in range(1, depth + 1):
                name = f"conv{block}_{layer}"
                x = nn.relu(Conv(width, dtype=self.dtype, name=name)(x))
            features.append(x.astype(jnp.float32))
        return features


def first_blocks(params: Params, num_blocks: int) -> Params:
    """Return the weights of the first blocks."""
    return {n: leaf for n, leaf in params.items() if _block_of(n) <= num_blocks}


def make_features_fn(
    params: Params,
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    compute_dtype: ComputeDtype = "float32",
) -> FeaturesFn:
    """Return the function from a picture in [-1, 1] to its float32 features.

    `params` decide the number of blocks. Colours in [0, 1] become (x - mean) / std.
    """
    net = VGG19Features(
        max(_block_of(name) for name in params),
        tuple(mean),
        tuple(std),
        operand_dtype(compute_dtype),
    )
    return lambda x: net.apply({"params": params}, x)  # pyright: ignore


def _block_of(name: str) -> int:
    match = _LAYER.fullmatch(name)
    assert match is not None, name
    return int(match[1])
