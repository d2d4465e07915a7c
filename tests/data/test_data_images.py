"""Decoding: every mode to the same RGB pixels, and damage to one clear sentence."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxgrow.data.images import check_header, decode_grey, decode_image
from jaxgrow.errors import UserError


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)


def encoded(image, kind="PNG", **options):
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("WEBP", {"lossless": True})],
)
def test_lossless_formats_keep_every_pixel(rgb, kind, options):
    np.testing.assert_array_equal(decode_image(encoded(rgb, kind, **options)), rgb)


def test_jpeg_is_close():
    smooth = np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    found = decode_image(encoded(smooth, "JPEG", quality=95))
    assert np.abs(found.astype(int) - smooth).mean() < 4


def test_grey_is_repeated(rgb):
    grey = rgb[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_array_equal(decode_image(encoded(grey)), expected)
    np.testing.assert_array_equal(decode_grey(encoded(grey)), grey)


def test_black_and_white_is_0_and_255(rgb):
    bits = rgb[..., 0] > 127
    expected = np.repeat(bits[..., None] * np.uint8(255), 3, axis=-1)
    np.testing.assert_array_equal(decode_image(encoded(bits)), expected)


def test_a_palette_is_looked_up():
    palette = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    np.testing.assert_array_equal(decode_image(encoded(palette)), expected)


def test_transparency_lies_over_white(rgb):
    alpha = np.array([0, 255, 51], np.uint8)[None, :, None].repeat(6, 0).repeat(3, 1)
    alpha = alpha.reshape(6, 9, 1)
    found = decode_image(encoded(np.concatenate([rgb, alpha], axis=-1)))
    opacity = alpha / 255
    np.testing.assert_allclose(found, rgb * opacity + 255 * (1 - opacity), atol=1)


def test_a_transparent_palette_entry_is_white():
    palette = Image.fromarray(np.array([[0, 1], [1, 1]], np.uint8), "L").convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    found = decode_image(encoded(palette, transparency=0))
    np.testing.assert_array_equal(found[0, 0], [255, 255, 255])
    np.testing.assert_array_equal(found[1, 1], [40, 50, 60])


def test_cmyk_becomes_rgb():
    cmyk = Image.new("CMYK", (4, 3), (0, 255, 255, 0))
    np.testing.assert_allclose(
        decode_image(encoded(cmyk, "TIFF")),
        np.broadcast_to([255, 0, 0], (3, 4, 3)),
        atol=2,
    )


def test_16_bits_are_scaled_to_8():
    values = np.array([[0, 257, 128 * 257], [65535, 129, 128]], np.uint16)
    expected = [[0, 1, 128], [255, 1, 0]]
    found = decode_image(encoded(values))
    np.testing.assert_array_equal(found[..., 0], expected)
    np.testing.assert_array_equal(found[..., 2], expected)


@pytest.mark.parametrize("scale", [1, 255])
def test_floats_of_either_range_are_scaled_to_8_bits(scale):
    values = np.array([[0, 0.2], [0.6, 1]], np.float32) * scale
    found = decode_image(encoded(values, "TIFF"))[..., 0]
    np.testing.assert_array_equal(found, [[0, 51], [153, 255]])


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda x: x),
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x, -1)),
        (8, lambda x: np.rot90(x, 1)),
    ],
)
def test_exif_turns_the_image_upright(rgb, orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode_image(encoded(rgb, exif=exif))
    np.testing.assert_array_equal(found, upright(rgb))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], **options
    )
    expected = np.broadcast_to(np.array([255, 0, 0]), (4, 5, 3))
    np.testing.assert_array_equal(decode_image(content), expected)


def test_a_path_and_its_content_decode_alike(rgb, tmp_path):
    file = tmp_path / "photo.png"
    file.write_bytes(encoded(rgb))
    np.testing.assert_array_equal(decode_image(file), rgb)
    np.testing.assert_array_equal(decode_image(str(file)), rgb)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
def test_a_file_cut_short_is_named(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    content = encoded(noise, kind)
    file = tmp_path / f"cut.{kind.lower()}"
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{file} cannot be read"):
        decode_image(file)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\xff\xd8\xff\xe0"])
def test_what_is_no_image_is_named(tmp_path, content):
    file = tmp_path / "odd.jpg"
    file.write_bytes(content)
    assert not check_header(file)
    with pytest.raises(UserError, match=f"{file} cannot be read"):
        decode_image(file)
    with pytest.raises(UserError, match=r"inner\.jpg cannot be read"):
        decode_image(content, "inner.jpg")


def test_one_pixel_is_too_few(tmp_path):
    file = tmp_path / "dot.png"
    file.write_bytes(encoded(np.zeros((1, 1, 3), np.uint8)))
    assert not check_header(file)
    with pytest.raises(UserError, match=r"dot\.png has 1x1 pixels: at least 2x2"):
        decode_image(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.png does not exist"):
        decode_image(tmp_path / "absent.png")
