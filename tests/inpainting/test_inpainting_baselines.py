"""Baselines on images whose right filling is known in closed form."""

import builtins

import numpy as np
import pytest

from jaxgrow.inpainting import baselines


METHODS = list(baselines.BASELINES.values())


@pytest.fixture
def photos():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


@pytest.fixture
def holes():
    """Five random scatters of 40 % and one rectangle at the border."""
    masks = np.random.default_rng(1).random((6, 16, 16)) < 0.4
    masks[0] = False
    masks[0, 3:16, :7] = True
    return masks


@pytest.mark.parametrize("fill", METHODS)
def test_known_pixels_are_bit_identical_and_the_input_is_untouched(fill, photos, holes):
    before = photos.copy()
    filled = fill(photos, holes)
    np.testing.assert_array_equal(filled[~holes], photos[~holes])
    np.testing.assert_array_equal(photos, before)
    assert filled.dtype == np.uint8


@pytest.mark.parametrize("fill", METHODS)
def test_values_in_the_hole_are_never_read(fill, photos, holes):
    other = photos.copy()
    other[holes] = 255 - other[holes]
    filled, filled_other = fill(photos, holes), fill(other, holes)
    np.testing.assert_array_equal(filled[holes], filled_other[holes])


@pytest.mark.parametrize("resolution", [4, 16])
@pytest.mark.parametrize("fill", METHODS)
def test_a_constant_image_is_filled_with_the_constant(fill, resolution):
    images = np.full((8, resolution, resolution, 3), (13, 200, 255), np.uint8)
    masks = np.random.default_rng(2).random((8, resolution, resolution)) < 0.4
    masks[0, :, : resolution // 2] = True
    filled = fill(images, masks)
    # OpenCV's Telea rounds badly: off by up to 4 of 255 even here.
    tolerance = 4 if fill is baselines.telea else 0
    assert np.abs(filled.astype(int) - images).max() <= tolerance


def test_mean_fill_is_the_mean_of_the_known_pixels(photos, holes):
    filled = baselines.mean_fill(photos, holes)
    for image, hole, result in zip(photos, holes, filled, strict=True):
        expected = np.rint(image[~hole].mean(axis=0))
        np.testing.assert_array_equal(
            result[hole], expected[None].repeat(hole.sum(), 0)
        )


def test_nearest_pixel_agrees_with_brute_force(photos, holes):
    filled = baselines.nearest_pixel(photos, holes)
    for image, hole, result in zip(photos, holes, filled, strict=True):
        known = np.argwhere(~hole)
        for y, x in np.argwhere(hole):
            distance = ((known - (y, x)) ** 2).sum(axis=1)
            nearest = known[distance == distance.min()]
            candidates = image[nearest[:, 0], nearest[:, 1]]
            assert (candidates == result[y, x]).all(axis=1).any()


@pytest.mark.parametrize("fill", [baselines.biharmonic, baselines.harmonic])
def test_a_linear_ramp_is_continued(fill):
    x, y = np.meshgrid(np.arange(16), np.arange(16))
    ramp = np.stack([10 * x + 20, 5 * y + 100, 3 * x + 4 * y], axis=-1)
    images = ramp[None].astype(np.uint8)
    masks = np.zeros((1, 16, 16), bool)
    masks[0, 4:12, 3:11] = True
    np.testing.assert_array_equal(fill(images, masks), images)


def test_a_harmonic_pixel_is_the_mean_of_its_neighbours_in_the_picture(photos):
    hole = np.zeros((6, 16, 16), bool)
    hole[:, 0, 0] = hole[:, 0, 8] = hole[:, 8, 8] = True
    filled = baselines.harmonic(photos, hole)
    x = photos.astype(float)
    corner = (x[:, 0, 1] + x[:, 1, 0]) / 2
    edge = (x[:, 0, 7] + x[:, 0, 9] + x[:, 1, 8]) / 3
    inner = (x[:, 7, 8] + x[:, 9, 8] + x[:, 8, 7] + x[:, 8, 9]) / 4
    for expected, found in zip((corner, edge, inner), (0, 8, 8 * 16 + 8), strict=True):
        pixels = filled.reshape(6, -1, 3)[:, found]
        assert np.abs(pixels - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("fill", METHODS)
def test_an_empty_mask_returns_the_image_and_a_full_one_is_refused(fill, photos):
    empty = np.zeros((6, 16, 16), bool)
    np.testing.assert_array_equal(fill(photos, empty), photos)
    with pytest.raises(ValueError, match="without a known pixel"):
        fill(photos, ~empty)


@pytest.mark.parametrize(
    ("fill", "module"),
    [
        (baselines.telea, "cv2"),
        (baselines.navier_stokes, "cv2"),
        (baselines.biharmonic, "skimage"),
    ],
)
def test_a_missing_package_is_named_with_its_cure(
    fill, module, photos, holes, monkeypatch
):
    real_import = builtins.__import__

    def import_without(name, *args, **kwargs):
        if name.split(".")[0] == module:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", import_without)
    with pytest.raises(
        baselines.MissingPackageError, match=r"pip install 'jaxgrow\[eval\]'"
    ):
        fill(photos, holes)
