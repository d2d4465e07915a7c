"""Classifiers of views: ResNet18 (He et al. 2016) and MobileNetV3 (Howard et al. 2019).

Layers, sizes and initial weights are torchvision's, so that its ImageNet weights fit.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, PyTree

from jaxgrow import ops
from jaxgrow.errors import UserError
from jaxgrow.nets import mobilenet
from jaxgrow.nets.initial import rng_of, shapes_of
from jaxgrow.nets.modules import BatchNorm, ComputeDtype, Conv, operand_dtype
from jaxgrow.nets.vgg19 import IMAGENET_MEAN, IMAGENET_STD
from jaxgrow.ranges import Checked, Range
from jaxgrow.typing import Params, UnitImage


_CONSTANTS = {"scale": np.ones, "bias": np.zeros, "mean": np.zeros, "var": np.ones}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierConfig(Checked):
    """Choice of the classifier; the defaults are torchvision's ResNet18."""

    arch: Literal["resnet18", "mobilenet_v3_large", "mobilenet_v3_small"] = "resnet18"
    """Network: 11.7, 5.5 and 2.5 million weights for 1000 classes."""
    width: Annotated[int, Range(1, 4096)] = 64
    """resnet18: channels of its first stage; each later one has twice as many."""
    small_stem: bool = False
    """Start at full resolution, for images of 64 px and less: resnet18 with a 3x3
    convolution and no pooling, MobileNetV3 with stride 1."""
    norm: Literal["torchvision", "timm"] = "torchvision"
    """Batch norms of MobileNetV3: epsilon 1e-3 and a hundredth of each new batch in
    their statistics, or timm's 1e-5 and a tenth."""
    compute_dtype: ComputeDtype = "float32"
    """Type of the products' operands; parameters and logits stay float32."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arch != "resnet18" and self.width != 64:
            raise UserError(f"{self.arch} has one width: leave width at 64.")
        if self.arch == "resnet18" and self.norm != "torchvision":
            raise UserError("resnet18 has one norm: leave norm at torchvision.")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut, 1x1 if the shape changes.

    Shapes:
        x: (b, h, w, i).
        returns: (b, h/stride, w/stride, width).
    """

    width: int
    stride: int
    dtype: Any
    norm: Callable[[Array, str], Array]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b p q o"]:
        h = _conv(self.width, 3, self.stride, self.dtype, "conv0")(x)
        h = nn.relu(self.norm(h, "norm0"))
        h = _conv(self.width, 3, 1, self.dtype, "conv1")(h)
        h = self.norm(h, "norm1")
        if self.stride != 1 or x.shape[-1] != self.width:
            x = _conv(self.width, 1, self.stride, self.dtype, "shortcut")(x)
            x = self.norm(x, "shortcut_norm")
        return nn.relu(x + h)


class ResNet18(nn.Module):
    """Four stages of two blocks, average pooling and a dense head.

    Shapes:
        x: (b, h, w, 3), normalised.
        returns: logits (b, num_classes).
    """

    config: ClassifierConfig
    num_classes: int
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w 3"], *, train: bool
    ) -> Float[Array, "b k"]:
        config, dtype = self.config, operand_dtype(self.config.compute_dtype)

        def norm(x: Float[Array, "b h w c"], name: str) -> Float[Array, "b h w c"]:
            layer = BatchNorm(axis_name=self.axis_name, dtype=dtype, name=name)
            return layer(x, train=train)

        side, stride = (3, 1) if config.small_stem else (7, 2)
        x = _conv(config.width, side, stride, dtype, "stem")(x)
        x = nn.relu(norm(x, "stem_norm"))
        if not config.small_stem:
            x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))  # not below relu's zeros
            x = ops.max_pool(x, 3, 2)
        for stage in range(4):
            for i in range(2):
                stride = 2 if stage > 0 and i == 0 else 1
                name = f"stage{stage}_block{i}"
                x = BasicBlock(config.width << stage, stride, dtype, norm, name=name)(x)
        x = jnp.mean(x, axis=(1, 2))
        return nn.Dense(self.num_classes, dtype=dtype, name="head")(x)


def init_classifier(
    config: ClassifierConfig, num_classes: int, seed: int | Sequence[int]
) -> tuple[Params, Params]:
    """Return fresh (parameters, running statistics) by torchvision's distributions.

    Kernels of convolutions are normal with variance 2 / (k k o), "He, fan out". The
    dense head of ResNet18 is uniform in +-1/sqrt(fan_in) with its bias; dense layers of
    MobileNetV3 have a standard deviation of 0.01.
    """
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = shapes_of(_net(config, num_classes), image, train=False)
    trees = []
    for collection in ("params", "batch_stats"):
        flat: dict[tuple[str, ...], Any] = dict(flatten_dict(shapes[collection]))
        drawn = {path: _draw(config, path, flat, seed) for path in flat}
        arrays = {path: jnp.asarray(a, jnp.float32) for path, a in drawn.items()}
        trees.append(unflatten_dict(arrays))
    return trees[0], trees[1]


@functools.lru_cache(maxsize=16)
def classifier_shapes(
    config: ClassifierConfig, num_classes: int
) -> tuple[PyTree, PyTree]:
    """Return shapes and types of what `init_classifier` returns."""
    return jax.eval_shape(lambda: init_classifier(config, num_classes, 0))


def apply_classifier(
    config: ClassifierConfig,
    params: Params,
    stats: Params,
    images: UnitImage,
    train: bool = False,
    *,
    dropout_key: Array | None = None,
    axis_name: str | None = None,
) -> tuple[Float[Array, "b k"], Params]:
    """Return the logits and the running statistics after the call.

    Images are normalised here with ImageNet's mean and standard deviation. Flax's
    statistics have the biased variance, torchvision's the unbiased one. With `train`
    the batch norms and updates them, over the devices of `axis_name` if it is mapped.
    MobileNetV3 drops features if it gets a typed `dropout_key`.
    """
    net = _net(config, params["head"]["bias"].shape[0], axis_name)
    mean, std = (jnp.asarray(s, images.dtype) for s in (IMAGENET_MEAN, IMAGENET_STD))
    x = (images - mean[None, None, None]) / std[None, None, None]
    variables = {"params": params, "batch_stats": stats}
    options: dict[str, Any] = {"train": train}
    if config.arch != "resnet18":
        options |= {"dropout": dropout_key is not None}
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    # In evaluation the statistics return unchanged.
    logits, changed = net.apply(
        variables, x, rngs=rngs, mutable=["batch_stats"], **options
    )
    assert isinstance(logits, jax.Array)
    return logits.astype(x.dtype), changed["batch_stats"]


def _net(config: ClassifierConfig, num_classes: int, axis_name: str | None = None):
    if config.arch == "resnet18":
        return ResNet18(config, num_classes, axis_name)
    return mobilenet.MobileNetV3(
        size="large" if config.arch == "mobilenet_v3_large" else "small",
        num_classes=num_classes,
        stem_stride=1 if config.small_stem else 2,
        dtype=operand_dtype(config.compute_dtype),
        axis_name=axis_name,
        epsilon=1e-3 if config.norm == "torchvision" else 1e-5,
        momentum=0.99 if config.norm == "torchvision" else 0.9,
    )


def _draw(config, path, shapes, seed) -> np.ndarray:
    """Return the fresh array at `path`."""
    shape, kernel = shapes[path].shape, shapes.get((*path[:-1], "kernel"))
    rng = rng_of(path, seed)
    if config.arch == "resnet18" and path[0] == "head":
        bound = 1.0 / math.sqrt(kernel.shape[0])
        return bound * (2.0 * rng.random(shape, np.float32) - 1.0)
    if path[-1] != "kernel":
        return _CONSTANTS[path[-1]](shape)
    fan_out = shape[0] * shape[1] * shape[-1] if len(shape) == 4 else None
    std = 0.01 if fan_out is None else math.sqrt(2.0 / fan_out)
    return std * rng.standard_normal(shape, np.float32)


def _conv(features: int, k: int, stride: int, dtype: Any, name: str) -> Conv:
    return Conv(features, k, use_bias=False, dtype=dtype, stride=stride, name=name)
