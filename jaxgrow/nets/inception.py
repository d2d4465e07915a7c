"""The Inception of the Frechet inception distance, up to its 2048 pooled features.

Heusel et al. (2017) measure FID on the TensorFlow graph of 5 December 2015, an
Inception v3 (Szegedy et al. 2016) whose average poolings leave the border out and whose
last block pools maxima. Names are torchvision's; each batch norm is folded into its
convolution.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxgrow.nets.modules import Conv
from jaxgrow.typing import Params, UnitImage


INPUT_SIDE = 299

_ROW, _COLUMN = (1, 7), (7, 1)


class InceptionFeatures(nn.Module):
    """Every block of the network; 21,768,352 parameters.

    Shapes:
        x: (b, h, w, 3) in [-1, 1], 75 px or more a side; FID's own side is 299.
        returns: Name of a block to its (b, p, q, c), and "pool3" to (b, 2048), the
            features of FID.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> dict[str, Float[Array, "..."]]:
        found = {}
        x = _conv(x, "Conv2d_1a_3x3", 32, 3, 2)
        x = _conv(x, "Conv2d_2a_3x3", 32, 3)
        x = _conv(x, "Conv2d_2b_3x3", 64, 3, padding="SAME")
        x = found["pool1"] = _max_pool(x)
        x = _conv(x, "Conv2d_3b_1x1", 80, 1)
        x = _conv(x, "Conv2d_4a_3x3", 192, 3)
        x = found["pool2"] = _max_pool(x)
        for name, pooled in (("5b", 32), ("5c", 64), ("5d", 64)):
            x = found[f"Mixed_{name}"] = _block_a(x, f"Mixed_{name}", pooled)
        x = found["Mixed_6a"] = _block_b(x, "Mixed_6a")
        for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            x = found[f"Mixed_{name}"] = _block_c(x, f"Mixed_{name}", width)
        x = found["Mixed_7a"] = _block_d(x, "Mixed_7a")
        x = found["Mixed_7b"] = _block_e(x, "Mixed_7b", _mean_pool(x))
        same_max = nn.max_pool(x, (3, 3), padding="SAME")
        x = found["Mixed_7c"] = _block_e(x, "Mixed_7c", same_max)
        found["pool3"] = x.mean(axis=(1, 2))
        return found


def inception_features(params: Params, images: UnitImage) -> Float[Array, "b 2048"]:
    """Return FID's features of images in [0, 1].

    Sizes other than 299 x 299 are resized bilinearly without smoothing, as the usual
    PyTorch programs do. Callers that want another rule resize before.
    """
    side = (INPUT_SIDE, INPUT_SIDE)
    if images.shape[1:3] != side:
        shape = (images.shape[0], *side, 3)
        images = jax.image.resize(images, shape, "bilinear", antialias=False)
    found = InceptionFeatures().apply({"params": params}, 2.0 * images - 1.0)
    assert isinstance(found, dict)
    return found["pool3"]


def _block_a(x: Array, name: str, pooled: int) -> Array:
    wide = _chain(x, name, [("5x5_1", 48, 1), ("5x5_2", 64, 5)])
    double = [("3x3dbl_1", 64, 1), ("3x3dbl_2", 96, 3), ("3x3dbl_3", 96, 3)]
    pool = _chain(_mean_pool(x), name, [("_pool", pooled, 1)])
    near = _chain(x, name, [("1x1", 64, 1)])
    return _join(near, wide, _chain(x, name, double), pool)


def _block_b(x: Array, name: str) -> Array:
    single = _conv(x, f"{name}.branch3x3", 384, 3, 2)
    double = _chain(x, name, [("3x3dbl_1", 64, 1), ("3x3dbl_2", 96, 3)])
    double = _conv(double, f"{name}.branch3x3dbl_3", 96, 3, 2)
    return _join(single, double, _max_pool(x))


def _block_c(x: Array, name: str, width: int) -> Array:
    near = _chain(x, name, [("1x1", 192, 1)])
    single = [("7x7_1", width, 1), ("7x7_2", width, _ROW), ("7x7_3", 192, _COLUMN)]
    double = [
        ("7x7dbl_1", width, 1),
        ("7x7dbl_2", width, _COLUMN),
        ("7x7dbl_3", width, _ROW),
        ("7x7dbl_4", width, _COLUMN),
        ("7x7dbl_5", 192, _ROW),
    ]
    pool = _chain(_mean_pool(x), name, [("_pool", 192, 1)])
    return _join(near, _chain(x, name, single), _chain(x, name, double), pool)


def _block_d(x: Array, name: str) -> Array:
    single = _chain(x, name, [("3x3_1", 192, 1)])
    single = _conv(single, f"{name}.branch3x3_2", 320, 3, 2)
    layers = [("7x7x3_1", 192, 1), ("7x7x3_2", 192, _ROW), ("7x7x3_3", 192, _COLUMN)]
    wide = _conv(_chain(x, name, layers), f"{name}.branch7x7x3_4", 192, 3, 2)
    return _join(single, wide, _max_pool(x))


def _block_e(x: Array, name: str, pooled: Array) -> Array:
    near = _chain(x, name, [("1x1", 320, 1)])
    single = _chain(x, name, [("3x3_1", 384, 1)])
    double = _chain(x, name, [("3x3dbl_1", 448, 1), ("3x3dbl_2", 384, 3)])
    cross = [
        _chain(h, name, [(f"{branch}{side}", 384, kernel)])
        for h, branch in ((single, "3x3_2"), (double, "3x3dbl_3"))
        for side, kernel in (("a", (1, 3)), ("b", (3, 1)))
    ]
    return _join(near, *cross, _chain(pooled, name, [("_pool", 192, 1)]))


def _chain(
    x: Array, block: str, layers: Sequence[tuple[str, int, int | tuple[int, int]]]
) -> Array:
    """Apply convolutions of stride 1 that keep the size, one after another."""
    for branch, features, kernel in layers:
        x = _conv(x, f"{block}.branch{branch}", features, kernel, padding="SAME")
    return x


def _conv(
    x: Array,
    name: str,
    features: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: str = "VALID",
) -> Array:
    """Apply convolution and relu; the layer belongs to the calling module."""
    conv = Conv(
        features,
        kernel,
        stride=stride,
        padding=padding,
        precision=lax.Precision.HIGHEST,  # a GPU would round a figure's operands
        name=name.replace(".", "_"),
    )
    return nn.relu(conv(x))


def _join(*parts: Array) -> Array:
    return jnp.concatenate(parts, axis=-1)


def _max_pool(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), (2, 2))


def _mean_pool(x: Array) -> Array:
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)
