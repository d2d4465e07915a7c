"""Test-time images from one view, against Pillow and plain indexing."""

import numpy as np
from PIL import Image

from jaxgrow.multiview.evaluation.one_view import crops, flips


def draw(n=3, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), np.uint8)


def test_flips_are_the_image_and_its_mirror_image():
    images = draw()
    found = flips(images)
    np.testing.assert_array_equal(found[:, 0], images)
    np.testing.assert_array_equal(found[:, 1], images[..., ::-1, :])


def test_crops_are_the_image_and_its_enlarged_corners():
    images = draw(size=32)
    found = crops(images)
    assert found.shape == (3, 5, 32, 32, 3)
    np.testing.assert_array_equal(found[:, 0], images)
    corners = [(0, 0), (4, 0), (0, 4), (4, 4)]
    for number, (left, top) in enumerate(corners, start=1):
        for image, crop in zip(images, found[:, number], strict=True):
            box = (left, top, left + 28, top + 28)
            twin = Image.fromarray(image).crop(box)
            twin = twin.resize((32, 32), Image.Resampling.BILINEAR)
            # Pillow works in fixed point.
            assert np.abs(np.asarray(twin).astype(int) - crop).max() <= 1


def test_crops_of_one_colour_keep_it():
    images = np.full((1, 20, 20, 3), 77, np.uint8)
    np.testing.assert_array_equal(crops(images), 77)
