"""The images and masks of each training step, as a pure function of seed and step.

No state is stored: a resumed run computes the plan of its next step as the unbroken
run would have.
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8


_EPOCH, _STEP = 0x0E90C4, 0x057E9  # separate streams of random numbers
MIRROR = 1  # the symmetry that `flip` applies: left to right


class PictureBatch(NamedTuple):
    """Indices of one batch; the training step gathers the pixels.

    A plan holds NumPy arrays, a step gets them on the device. A symmetry of the
    square is a number from 0 to 7: mirrored left to right (bit 1), top to bottom
    (bit 2), transposed before both (bit 4).

    Attributes:
        image_index: Rows of the pyramid.
        flip: True to mirror the image left to right.
        mask_index: Rows of the mask bank.
        mask_symmetry: Symmetries of the masks.
        augmentation: 6 * symmetry + order of the colour channels of each image; None
            if images are only flipped.
        images: Pixels of the rows `image_index`; None if the pyramid is on the device.
    """

    image_index: Int[Any, " b"]
    flip: Bool[Any, " b"]
    mask_index: Int[Any, " b"]
    mask_symmetry: Int[Any, " b"]
    augmentation: Int[Any, " b"] | None = None
    images: UInt8[Any, "b r r 3"] | None = None


def plan_batch(
    seed: int,
    step: int,
    batch_size: int,
    num_images: int,
    num_masks: int,
    *,
    augment: bool = False,
    is_paired: bool = False,
) -> PictureBatch:
    """Plan step `step`, counted from 0; its images are those of `plan_rows`.

    With `augment` images get a symmetry and permuted colours, instead of a flip. With
    `is_paired` every image has its own mask, which gets the same symmetry.
    """
    image_index = plan_rows(seed, step, batch_size, num_images)
    draws = np.random.default_rng((_STEP, seed, step)).random((4, batch_size))
    flip = draws[0] < 0.5
    mask_index = (draws[1] * num_masks).astype(np.int32)
    mask_symmetry = (draws[2] * 8).astype(np.int32)
    augmentation = (draws[3] * 48).astype(np.int32)
    image_symmetry = augmentation // 6 if augment else flip * np.int32(MIRROR)
    return PictureBatch(
        image_index=image_index,
        flip=np.zeros_like(flip) if augment else flip,
        mask_index=image_index if is_paired else mask_index,
        mask_symmetry=image_symmetry if is_paired else mask_symmetry,
        augmentation=augmentation if augment else None,
    )


def plan_rows(
    seed: int, step: int, batch_size: int, num_rows: int
) -> Int32[np.ndarray, " b"]:
    """Return the rows of step `step`; each epoch visits every row once, in a new order.

    A batch that crosses the end of an epoch takes the rest from the next one.
    """
    position = step * batch_size + np.arange(batch_size)
    epochs, places = np.divmod(position, num_rows)
    rows = np.empty(batch_size, np.int32)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        now = epochs == epoch
        rows[now] = _epoch_order(seed, epoch, num_rows)[places[now]]
    return rows


@functools.lru_cache(maxsize=8)
def _epoch_order(seed: int, epoch: int, num_images: int) -> Int32[np.ndarray, " n"]:
    draws = np.random.default_rng((_EPOCH, seed, epoch)).random(num_images)
    order = np.argsort(draws, kind="stable").astype(np.int32)
    order.flags.writeable = False
    return order
