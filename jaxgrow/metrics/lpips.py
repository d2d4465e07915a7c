"""LPIPS (Zhang et al. 2018): distance of two images in a network's feature layers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgrow.data import arrays
from jaxgrow.devices import settings
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.errors import UserError
from jaxgrow.typing import FeaturesFn, Image


SMALLEST = 64
"""Pixels of the shorter side below which images are enlarged first."""

_EPSILON = 1e-10


@dataclasses.dataclass(frozen=True)
class LpipsResult:
    """Distances of pairs of images, with notes.

    Attributes:
        values: 0 for equal images.
        label: Name of the figure, random weights included.
        notes: Remarks for the reader of the figure, a sentence each.
    """

    values: Float[np.ndarray, " b"]
    label: str
    notes: tuple[str, ...]


class Lpips:
    """Compares pairs of images in [-1, 1], which the devices of this machine share.

    Args:
        features_fn: Feature layers of an image in [-1, 1].
        heads: Weight of each channel, one array per layer.
        label: Name of the figure.
    """

    def __init__(
        self,
        features_fn: FeaturesFn,
        heads: Sequence[Float[Array, " _"]],
        label: str = "LPIPS",
    ):
        self.label = label
        self._distance = RowsFn(lambda _, x, y: distance(features_fn, heads, x, y))

    @settings.fixed()
    def __call__(self, x: Any, y: Any) -> LpipsResult:
        """Return the distances of x[i] and y[i], (b, h, w, 3) floats in [-1, 1].

        Raises:
            UserError: Another shape, type or range, or values that are not finite.
        """
        x, y = _checked("x", x), _checked("y", y)
        if x.shape != y.shape:
            raise UserError(
                f"LPIPS compares images of one shape, not {x.shape} with {y.shape}."
            )
        notes = []
        if (side := min(x.shape[1:3])) < SMALLEST:
            notes.append(
                f"images of {side} px were enlarged to {SMALLEST} px bilinearly"
            )
        if min(x.min(), y.min()) >= 0.0:
            notes.append("no value lies below 0: LPIPS takes [-1, 1], not [0, 1]")
        values = self._distance.in_batches(len(x), (), x, y)
        return LpipsResult(values, self.label, tuple(notes))


def distance(
    features_fn: FeaturesFn, heads: Sequence[Float[Array, " _"]], x: Image, y: Image
) -> Float[Array, " b"]:
    """Sum over layers the mean over places of the weighted squared difference.

    Features are divided by their length over the channels first. Images whose shorter
    side is below `SMALLEST` are enlarged to it.
    """
    b, h, w, _ = x.shape
    if min(h, w) < SMALLEST:
        zoom = SMALLEST / min(h, w)
        shape = (b, round(h * zoom), round(w * zoom), 3)
        x, y = (jax.image.resize(images, shape, "bilinear") for images in (x, y))
    total = jnp.zeros(b)
    for head, fx, fy in zip(heads, features_fn(x), features_fn(y), strict=True):
        difference = jnp.square(_unit(fx) - _unit(fy)) * head[None, None, None]
        total = total + difference.sum(axis=-1).mean(axis=(1, 2))
    return total


def _unit(x: Array) -> Array:
    return x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + _EPSILON)


def _checked(name: str, images: Any) -> Float[np.ndarray, "b h w 3"]:
    images = arrays.as_array(images, name)
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(
            f"LPIPS takes images of shape (b, h, w, 3), but {name} is {images.shape}."
        )
    if images.dtype.kind != "f":
        raise UserError(
            f"LPIPS takes floats in [-1, 1], but {name} is {images.dtype}: divide "
            "8-bit images by 127.5 and subtract 1."
        )
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(f"LPIPS takes finite images, but {name} holds NaN or infinity.")
    if low < -1.0 - 1e-5 or high > 1.0 + 1e-5:
        raise UserError(
            f"LPIPS takes images in [-1, 1], but {name} lies in [{low:.3g}, "
            f"{high:.3g}]: rescale it."
        )
    return images.astype(np.float32)
