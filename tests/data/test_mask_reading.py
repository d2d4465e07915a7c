"""Masks as editors save them: one meaning, or a sentence that names the two."""

import struct

import numpy as np
import pytest
from PIL import Image

from jaxgrow.data.mask_reading import load_mask
from jaxgrow.errors import UserError


HOLE = np.zeros((24, 32), bool)
HOLE[6:14, 8:20] = True
RNG = np.random.default_rng(0)
Y, X = np.mgrid[:24, :32]
PHOTO = np.stack([128 + 100 * np.sin(X / 5), 128 + 90 * np.cos(Y / 4), 5 * X], -1)
PHOTO = PHOTO.clip(0, 255).astype(np.uint8)


def painted(hole, known):
    """RGB with one colour in the hole and one elsewhere."""
    hole, known = (np.broadcast_to(np.uint8(colour), 3) for colour in (hole, known))
    return np.where(HOLE[..., None], hole, known)


def with_alpha(colour, alpha):
    rgb = np.broadcast_to(np.uint8(colour), (*HOLE.shape, 3))
    return np.dstack([rgb, alpha])


OPAQUE_HOLE = np.where(HOLE, 255, 0).astype(np.uint8)
VOC = Image.fromarray(HOLE.astype(np.uint8)).convert("P")
VOC.putpalette([0, 0, 0, 128, 0, 0])
BLIND = Image.fromarray(HOLE.astype(np.uint8)).convert("P")
BLIND.putpalette([9, 9, 9, 9, 9, 9])
TWO_VALUES = {
    f"{np.dtype(kind).name} {high}": HOLE.astype(kind) * np.asarray(high, kind)
    for kind in (np.uint8, np.uint16, np.int32, np.float32)
    for high in (1, 127, 255)
}


@pytest.mark.parametrize(
    "image",
    [
        *(pytest.param(array, id=name) for name, array in TWO_VALUES.items()),
        pytest.param(HOLE.astype(np.uint16) * 65535, id="16 bits"),
        pytest.param(HOLE.astype(np.float32), id="float"),
        pytest.param(HOLE, id="one bit"),
        pytest.param(np.where(HOLE, 255, 1).astype(np.uint8), id="black is 1"),
        pytest.param(painted(255, 0), id="RGB"),
        pytest.param(painted(1, 0), id="RGB of 0 and 1"),
        pytest.param(painted((255, 0, 0), 0), id="red on black"),
        pytest.param(painted((0, 0, 255), 255), id="blue on white"),
        pytest.param(with_alpha(255, OPAQUE_HOLE), id="white brush on nothing"),
        pytest.param(with_alpha((255, 0, 0), OPAQUE_HOLE), id="red brush on nothing"),
        pytest.param(with_alpha(PHOTO, 255 - OPAQUE_HOLE), id="erased photograph"),
        pytest.param(
            np.dstack([painted(255, 0), np.where(HOLE, 128, 255).astype(np.uint8)]),
            id="half transparent hole",
        ),
        pytest.param(VOC, id="a label in a palette"),
        pytest.param(BLIND, id="a palette without contrast"),
        pytest.param(
            Image.fromarray(with_alpha(255, OPAQUE_HOLE)).convert("LA"), id="LA brush"
        ),
    ],
)
def test_what_marks_the_hole_is_recognised(image, tmp_path):
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    file = tmp_path / ("m.tif" if image.mode in ("F", "I") else "m.png")
    image.save(file)
    np.testing.assert_array_equal(load_mask(file)[0], HOLE)


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("hole", [255, (255, 0, 0)])
def test_noise_of_jpeg_does_not_change_the_kind(hole, quality, tmp_path):
    large = painted(hole, 0).repeat(16, axis=0).repeat(16, axis=1)
    Image.fromarray(large).save(tmp_path / "m.jpg", quality=quality)
    found = load_mask(tmp_path / "m.jpg")[0]
    assert (found != HOLE.repeat(16, axis=0).repeat(16, axis=1)).mean() < 0.005


def test_a_feathered_edge_is_cut_at_the_middle(tmp_path):
    soft = np.clip(20 * (X - 15) + 127, 0, 255).astype(np.uint8)
    Image.fromarray(soft).save(tmp_path / "m.png")
    mask, is_binary = load_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(mask, soft >= 128)
    assert not is_binary


LABELS = (X // 8).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "readings"),
    [
        (LABELS, "from 0 to 3, so that all above 0 are the hole or only 3"),
        (LABELS.astype(np.uint16), "all above 0 are the hole or only 3"),
        (LABELS + np.uint8(200), "all above 200 are the hole or only 203"),
        (np.where(HOLE, 2, 1).astype(np.uint8), "2 is the hole or all of it is known"),
        (np.full(HOLE.shape, 9, np.uint8), "no values but 9 and 9"),
        (PHOTO, "several colours|coloured in most parts|grey picture"),
        (np.asarray(Image.fromarray(PHOTO).convert("L")), "its light half is the hole"),
        (painted((255, 0, 0), (0, 0, 255)), "the colour is the hole or the rest"),
        (
            np.where(
                (X < 4)[..., None], np.uint8((0, 255, 0)), painted((255, 0, 0), 0)
            ),
            "each of them is the hole or one of them",
        ),
        (with_alpha(0, OPAQUE_HOLE), "the black part is the hole or the transparent"),
        (with_alpha(0, OPAQUE_HOLE * 0), "all of it is hole or none"),
        (
            np.dstack([painted(255, 0), np.where(X < 20, 255, 0).astype(np.uint8)]),
            "the strokes are the hole or the white or the transparent parts",
        ),
    ],
)
def test_a_mask_of_two_readings_is_refused_with_both(image, readings, tmp_path):
    Image.fromarray(image).save(tmp_path / "m.png")
    with pytest.raises(UserError, match=readings) as refused:
        load_mask(tmp_path / "m.png")
    assert str(refused.value).startswith(f"mask {tmp_path / 'm.png'} ")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_tiff_in_which_0_is_white_marks_the_same_hole_in_any_depth(kind, tmp_path):
    top = np.iinfo(kind).max
    file = tmp_path / "m.tif"
    Image.fromarray(np.where(HOLE, 0, top).astype(kind)).save(file)
    content = bytearray(file.read_bytes())
    content[content.index(struct.pack("<HHI", 262, 3, 1)) + 8] = 0
    file.write_bytes(content)
    np.testing.assert_array_equal(load_mask(file)[0], HOLE)


def test_only_masks_in_grey_are_inverted(tmp_path):
    Image.fromarray(painted(0, 255)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(
        load_mask(tmp_path / "grey.png", invert=True)[0], HOLE
    )
    brushes = (painted((255, 0, 0), 0), with_alpha(255, OPAQUE_HOLE))
    for brush in brushes:
        Image.fromarray(brush).save(tmp_path / "brush.png")
        with pytest.raises(
            UserError, match="this part is the hole or by the inversion"
        ):
            load_mask(tmp_path / "brush.png", invert=True)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    values = np.where(HOLE, np.nan, 0).astype(np.float32)
    Image.fromarray(values).save(tmp_path / "m.tif")
    with pytest.raises(UserError, match="NaN"):
        load_mask(tmp_path / "m.tif")
