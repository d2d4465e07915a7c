"""Pictures and holes on the device: rows, symmetries, colours."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxgrow.data.batches import MIRROR
from jaxgrow.inpainting import batch
from jaxgrow.inpainting.batch import Data
from jaxgrow.pixels import to_signed
from tests.support import small_gan
from tests.support.oracles import assert_identical, quick_jit
from tests.support.small_gan import rows


gather = quick_jit(batch.gather)


@pytest.fixture(scope="module")
def data():
    return small_gan.make_data(4)


def test_pictures_and_masks_are_taken_by_row(data):
    images, mask = gather(data, rows(4, 0, 4))
    np.testing.assert_allclose(
        images, np.asarray(data.images)[[4, 0, 4]] / 127.5 - 1, atol=1e-6
    )
    assert_identical(mask, np.float32(np.asarray(data.masks)[[4, 0, 4]]))


def test_the_range_of_pictures_is_exactly_minus_one_to_one():
    images = to_signed(jnp.array([0, 255], jnp.uint8).reshape(2, 1, 1, 1))
    assert images.ravel().tolist() == [-1.0, 1.0]


def test_a_batch_may_bring_its_own_pictures(data):
    own = data.images[jnp.array([2, 3])]
    from_host = gather(Data(None, data.masks), rows(2, 3, flip=True, images=own))
    assert_identical(from_host, gather(data, rows(2, 3, flip=True)))
    with pytest.raises(ValueError, match="neither the data nor the batch has images"):
        gather(Data(None, data.masks), rows(2, 3))


def test_a_flip_mirrors_pictures_left_to_right_and_leaves_masks(data):
    images, mask = gather(data, rows(1, 2))
    flipped, same = gather(data, rows(1, 2, flip=True))
    assert_identical(flipped, np.asarray(images)[:, :, ::-1])
    assert_identical(same, mask)


def test_masks_take_all_eight_symmetries_of_the_square():
    mask = jnp.arange(16, dtype=jnp.uint8).reshape(1, 4, 4, 1)
    data = Data(jnp.zeros((1, 4, 4, 3), jnp.uint8), mask)
    _, turned = gather(data, rows(*[0] * 8, symmetry=jnp.arange(8)))
    found = {np.asarray(m).tobytes() for m in turned[..., 0]}
    square = np.float32(mask[0, :, :, 0])
    expected = {
        np.ascontiguousarray(np.rot90(m, k)).tobytes()
        for m in (square, square.T)
        for k in range(4)
    }
    assert len(expected) == 8
    assert found == expected


def test_the_mirror_symmetry_does_to_a_mask_what_a_flip_does_to_its_picture(data):
    paired = Data(data.images, data.images[:, :, :, :1])
    images, mask = gather(paired, rows(0, 1, flip=True, symmetry=MIRROR))
    assert_identical(to_signed(mask.astype(jnp.uint8)), images[..., :1])


def test_augmented_pictures_take_every_symmetry_and_order_of_colours(data):
    numbers = jnp.arange(48)
    images, _ = gather(data, rows(*[0] * 48, augmentation=numbers))
    found = {np.asarray(image).tobytes() for image in images}
    unit = np.asarray(to_signed(data.images[:1])[0])
    expected = {
        np.ascontiguousarray(np.rot90(m, k)[..., list(order)]).tobytes()
        for m in (unit, unit.transpose(1, 0, 2))
        for k in range(4)
        for order in itertools.permutations(range(3))
    }
    assert len(expected) == 48
    assert found == expected


def test_an_augmented_picture_turns_as_its_own_mask_does(data):
    paired = Data(data.images, data.images[:, :, :, :1])
    symmetry = jnp.arange(8)
    batch = rows(*[0] * 8, symmetry=symmetry, augmentation=6 * symmetry)
    images, mask = gather(paired, batch)
    assert_identical(to_signed(mask.astype(jnp.uint8)), images[..., :1])
