"""Filling from coarse to fine, against pictures whose fill is known."""

import numpy as np
import pytest
from scipy import ndimage

from jaxgrow.inpainting import baselines
from jaxgrow.inpainting.coarse_to_fine import fill


SIDE = 16


def nothing(squares, holes):
    return squares


def sky(height, width):
    """Return a plain gradient, to whole levels."""
    y, x = np.mgrid[:height, :width]
    values = 60 + 120 * y / height + 40 * x / width
    return np.stack([values, values + 20, values - 30], -1).round().astype(np.uint8)


def texture(height, width):
    noise = np.random.default_rng(0).normal(size=(height, width, 3))
    smooth = ndimage.gaussian_filter(noise, (3, 3, 0), mode="nearest")
    return (128 + 400 * smooth).clip(0, 255).astype(np.uint8)


def box(height, width, rows, columns):
    hole = np.zeros((height, width), bool)
    hole[rows, columns] = True
    return hole


def scratch(height, width):
    hole = np.zeros((height, width), bool)
    y = np.arange(height)
    x = (0.8 * width * y / height).astype(int)
    for offset in range(3):
        hole[y, x + offset] = True
    return hole


HOLES = {
    "box": box(61, 90, slice(14, 40), slice(30, 61)),
    "corner": box(61, 90, slice(0, 20), slice(0, 20)),
    "column": box(61, 90, slice(None), slice(40, 52)),
    "scratch": scratch(61, 90),
    "pixel": box(61, 90, slice(60, 61), slice(89, 90)),
    "both": scratch(61, 90) | box(61, 90, slice(4, 24), slice(60, 80)),
}
EACH_HOLE = pytest.mark.parametrize("hole", HOLES.values(), ids=HOLES)


@EACH_HOLE
def test_known_pixels_stay_and_pixels_of_the_hole_are_not_read(hole):
    image, rng = texture(61, 90), np.random.default_rng(1)
    other = np.where(hole[..., None], rng.integers(0, 256, image.shape), image)

    def paint(squares, holes):
        return squares + 30 * np.sin(squares)

    found = [fill(x.astype(np.uint8), hole, paint, SIDE) for x in (image, other)]
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0][~hole], image[~hole])


@EACH_HOLE
def test_plain_sky_stays_plain(hole):
    image = sky(61, 90)
    exact = baselines.harmonic(image[None], hole[None])[0]
    found = fill(image, hole, nothing, SIDE)
    error, least = (abs(x.astype(int) - image)[hole].max() for x in (found, exact))
    # A hole at the edge of the picture continues flat.
    assert error <= max(5, 1.25 * least)


@EACH_HOLE
def test_without_a_network_it_is_near_the_exact_membrane(hole):
    image = texture(61, 90)
    exact = baselines.harmonic(image[None], hole[None])[0][hole].astype(float)
    found = fill(image, hole, nothing, SIDE)[hole]
    truth = image[hole].astype(float)
    assert np.sqrt(((found - exact) ** 2).mean()) < 0.5 * np.std(truth)
    psnr = [-10 * np.log10(np.mean((x - truth) ** 2)) for x in (found, exact)]
    assert psnr[0] > psnr[1] - 0.5


@pytest.mark.parametrize("size", [(61, 90), (12, 9)])
@pytest.mark.parametrize("name", ["scratch", "pixel", "small"])
def test_narrow_holes_are_painted_in_the_picture_itself(name, size):
    small = box(61, 90, slice(50, 58), slice(80, 90))
    image, hole = texture(*size), {**HOLES, "small": small}[name]
    hole = hole[-size[0] :, -size[1] :]
    hole = hole if hole.any() else box(*size, slice(2, 5), slice(1, 5))

    def paint(squares, holes):
        assert squares.shape[1:] == (SIDE, SIDE, 3)
        assert holes.shape == squares.shape[:3]
        assert holes.any(axis=(1, 2)).all()
        return np.full_like(squares, 77.0)

    assert (fill(image, hole, paint, SIDE)[hole] == 77).all()


def test_every_hole_is_painted_once_where_it_is_as_wide_as_in_training():
    image = texture(128, 128)
    narrow = box(128, 128, slice(4, 10), slice(4, 100))
    wide = box(128, 128, slice(40, 80), slice(40, 80))
    calls = []

    def paint(squares, holes):
        calls.append(holes)
        return np.full_like(squares, 77.0)

    found = fill(image, narrow | wide, paint, SIDE)
    # 40 pixels are 10 cells, and at most 10.4 of 16; 6 pixels are narrow enough.
    assert len(calls) == 2
    assert calls[0].sum(axis=(1, 2)).max() <= 10 * 10 + 1 * 10
    assert (found[narrow] == 77).all()
    # The membrane pulls it to the rim, least in the middle.
    assert abs(found[56:64, 56:64].astype(int) - 77).max() <= 12


def test_no_level_smaller_than_a_square_is_painted():
    image, hole = texture(100, 100), box(100, 100, slice(20, 80), slice(20, 80))
    found = fill(image, hole, lambda x, holes: np.full_like(x, 77.0), 64)
    # Its half has 50 pixels, so that the picture itself is painted.
    assert (found[hole] == 77).all()


def test_a_hole_of_almost_the_whole_picture_is_painted():
    image = texture(SIDE, SIDE)
    hole = np.ones((SIDE, SIDE), bool)
    hole[0, 0] = False
    found = fill(image, hole, lambda x, holes: np.full_like(x, 77.0), SIDE)
    assert (found[hole] == 77).all()


def test_only_the_neighbourhood_of_the_hole_counts():
    image, hole = texture(200, 300), box(200, 300, slice(90, 100), slice(140, 150))
    other = image.copy()
    other[:60], other[140:], other[:, :100], other[:, 200:] = 0, 0, 0, 0
    found = [fill(x, hole, nothing, SIDE)[hole] for x in (image, other)]
    np.testing.assert_array_equal(*found)


def test_a_picture_without_hole_comes_back_as_a_copy():
    image = texture(20, 20)
    found = fill(image, np.zeros((20, 20), bool), nothing, SIDE)
    np.testing.assert_array_equal(found, image)
    assert found is not image
