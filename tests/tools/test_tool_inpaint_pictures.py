"""A filled picture keeps what its file holds, and says what it cannot."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from tools.inpaint_pictures import read_picture


RGB = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
HOLE = np.zeros((12, 10), bool)
HOLE[3:6, 2:7] = True
PAINT = np.full_like(RGB, (200, 100, 50))


@pytest.fixture
def through(tmp_path):
    """Stores an image, fills it and returns the result and what was said."""

    def call(image, name="a.png", kind="png", **options):
        if not isinstance(image, Image.Image):
            image = Image.fromarray(image)
        image.save(tmp_path / name, **options)
        said = []
        picture = read_picture(tmp_path / name, said.append, max_megapixels=1.0)
        content = picture.filled(HOLE, PAINT).encoded(kind, 95, said.append)
        return Image.open(io.BytesIO(content)), " | ".join(said)

    return call


def test_colours_profile_entries_and_resolution_are_kept(through):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "Camera", "2024:05:01 10:00:00"
    stored = {"icc_profile": profile, "exif": exif, "dpi": (300, 300)}
    found, said = through(np.rot90(RGB), **stored)
    np.testing.assert_array_equal(np.asarray(found)[~HOLE], RGB[~HOLE])
    np.testing.assert_array_equal(np.asarray(found)[HOLE], PAINT[HOLE])
    assert found.info["icc_profile"] == profile
    assert dict(found.getexif()) == {0x010F: "Camera", 0x0132: "2024:05:01 10:00:00"}
    np.testing.assert_allclose(found.info["dpi"], 300, atol=0.1)
    assert not said
    found, _ = through(np.rot90(RGB), kind="jpeg", **stored)
    assert (found.info["icc_profile"], found.getexif()[0x010F]) == (profile, "Camera")
    assert found.info["dpi"] == (300, 300)


@pytest.mark.parametrize("mode", ["L", "1", "I;16"])
def test_grey_stays_grey(through, mode):
    grey = RGB[..., 0]
    image = {"L": grey, "1": grey > 99, "I;16": grey.astype(np.uint16) * 257}[mode]
    found, said = through(image)
    assert found.mode == "L"
    known = {"1": 255 * (grey > 99)}.get(mode, grey)
    np.testing.assert_array_equal(np.asarray(found)[~HOLE], known[~HOLE])
    assert (np.asarray(found)[HOLE] == 124).all()  # 0.299 * 200 + 0.587 * 100 + 5.7
    assert ("16 bits" in said) == (mode == "I;16")


def test_colour_files_of_grey_pixels_are_filled_grey(through):
    found, _ = through(RGB[..., [0, 0, 0]])
    assert (np.asarray(found)[HOLE] == 124).all()
    assert found.mode == "RGB"


@pytest.mark.parametrize("grey", [False, True])
def test_transparency_is_kept_outside_of_the_hole(through, grey):
    alpha = np.full(HOLE.shape, 255, np.uint8)
    alpha[:4], alpha[4] = 0, 90
    image = Image.fromarray(np.dstack([RGB, alpha]))
    image = image.convert("LA") if grey else image
    found, said = through(image)
    assert (found.mode, said) == (image.mode, "")
    values = np.asarray(found)
    np.testing.assert_array_equal(values[~HOLE], np.asarray(image)[~HOLE])
    assert (values[HOLE][:, -1] == 255).all()
    _, said = through(image, kind="jpeg")
    assert "JPEG has no transparency" in said


def test_what_is_lost_is_said(through, tmp_path):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    _, said = through(frames[0], "a.tif", save_all=True, append_images=frames[1:])
    assert "a.tif has 2 frames, of which the first is kept" in said
    _, said = through(frames[0].convert("CMYK"), "b.tif")
    assert "b.tif is CMYK and becomes RGB" in said
    cv2.imwrite(str(tmp_path / "c.png"), RGB.astype(np.uint16) * 257)
    said = []
    read_picture(tmp_path / "c.png", said.append, max_megapixels=1.0)
    assert "c.png has 16 bits a channel and is reduced to 8" in said[0]


def test_palettes_keep_their_colours(through):
    image = Image.fromarray(RGB).quantize(16)
    found, _ = through(image)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.asarray(found)[~HOLE], expected[~HOLE])
