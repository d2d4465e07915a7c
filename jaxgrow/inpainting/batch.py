"""Training examples on the device: pictures and holes from rows of a data set."""

import itertools
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from jaxgrow.data.batches import PictureBatch
from jaxgrow.pixels import to_signed
from jaxgrow.typing import HoleMask, Image


_Rows: TypeAlias = Array | np.ndarray  # on the device, or on its way there
_CHANNEL_ORDERS = tuple(itertools.permutations(range(3)))


class Data(NamedTuple):
    """Arrays that stay on the device for a whole stage.

    `images` is None if they do not fit; then each batch has its own.
    """

    images: UInt8[_Rows, "n r r 3"] | None
    masks: UInt8[_Rows, "m r r 1"]


def gather(data: Data, batch: PictureBatch) -> tuple[Image, HoleMask]:
    """Return pictures in [-1, 1] and their masks, with the batch's symmetries."""
    if batch.images is not None:
        images = batch.images
    else:
        if data.images is None:
            raise ValueError("neither the data nor the batch has images")
        images = data.images[batch.image_index]
    images = jnp.where(batch.flip[:, None, None, None], images[:, :, ::-1], images)
    if batch.augmentation is not None:
        images = jax.vmap(_augment)(images, jnp.asarray(batch.augmentation))
    masks = jnp.asarray(data.masks)[batch.mask_index]
    masks = jax.vmap(_turn)(masks, jnp.asarray(batch.mask_symmetry))
    return to_signed(images), masks.astype(jnp.float32)


def _turn(x: UInt8[Array, "r r c"], symmetry: Int[Array, ""]) -> UInt8[Array, "r r c"]:
    """Apply a symmetry of the square: transpose, flip rows, flip columns."""
    x = jnp.where(symmetry & 4, x.transpose(1, 0, 2), x)
    x = jnp.where(symmetry & 2, x[::-1], x)
    return jnp.where(symmetry & 1, x[:, ::-1], x)


def _augment(
    image: UInt8[Array, "r r 3"], augmentation: Int[Array, ""]
) -> UInt8[Array, "r r 3"]:
    """Apply a symmetry of the square and an order of the channels."""
    order = jnp.array(_CHANNEL_ORDERS)[augmentation % 6]
    return _turn(image, augmentation // 6)[..., order]
