"""The data and the batches of System 2's training steps."""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8, UInt32

from jaxgrow.multiview.gaussian import GaussianPath
from jaxgrow.pixels import to_unit
from jaxgrow.typing import Keys, UnitImage


_Rows: TypeAlias = Array | np.ndarray  # on the device, or on its way there


class ImageData(NamedTuple):
    """Images of an autoencoder or classifier; None where batches bring their own."""

    images: UInt8[_Rows, "n h w 3"] | None
    labels: Int[_Rows, " n"] | None = None


class LatentData(NamedTuple):
    """Standardised latents of objects.

    Attributes:
        z: The latents; anything where a view is not observed.
        observed: True if the data have the view.
        gaussian: Closed form for Gaussian latents of the same covariance, if the
            network adds to it.
    """

    z: Float[_Rows, "n v d"]
    observed: Bool[_Rows, "n v"]
    gaussian: GaussianPath | None = None


class ViewBatch(NamedTuple):
    """One batch: rows of the data and a key for each, or the examples themselves.

    All random draws of an example come from its own key, so that a batch gives the
    same result on one device and on many.
    """

    rows: Int[_Rows, " b"]
    key_data: UInt32[_Rows, "b 2"]
    images: UInt8[_Rows, "b h w 3"] | None = None
    labels: Int[_Rows, " b"] | None = None

    def keys(self) -> Keys:
        return jax.random.wrap_key_data(jnp.asarray(self.key_data), impl="threefry2x32")


def gather_images(data: ImageData, batch: ViewBatch) -> UnitImage:
    """Return the batch's images in [0, 1]."""
    if batch.images is not None:
        return to_unit(jnp.asarray(batch.images))
    if data.images is None:
        raise ValueError("neither the data nor the batch has images")
    return to_unit(jnp.asarray(data.images)[batch.rows])


def gather_labels(data: ImageData, batch: ViewBatch) -> Int[Array, " b"]:
    """Return the batch's classes."""
    if batch.labels is not None:
        return jnp.asarray(batch.labels)
    if data.labels is None:
        raise ValueError("neither the data nor the batch has labels")
    return jnp.asarray(data.labels)[batch.rows]
