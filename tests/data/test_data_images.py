"""Decoding: every mode to the same RGB pixels, and damage to one clear sentence."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from jaxgrow.data.image_files import header_fault, looks_like_image
from jaxgrow.data.images import decode_image
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
    [
        ("PNG", {}),
        ("BMP", {}),
        ("DIB", {}),
        ("TIFF", {}),
        ("PPM", {}),
        ("TGA", {}),
        ("JPEG2000", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_keep_every_pixel(rgb, kind, options):
    content, name = encoded(rgb, kind, **options), f"x.{kind.lower()}"
    assert looks_like_image(name if kind == "TGA" else "x", content[:64])
    np.testing.assert_array_equal(decode_image(content, name), rgb)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC.* pip install pillow-heif"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n", "PostScript or PDF"),
        (b"8BPS\0\1", "Photoshop or GIMP"),
        (b"II*\0\x10\0\0\0CR\2\0", "camera raw"),
    ],
)
def test_a_picture_of_another_kind_is_named_and_no_program_is_started(
    head, kind, tmp_path, monkeypatch
):
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch ran")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    content = head + bytes(100)
    assert looks_like_image("x", content[:64])
    with pytest.raises(UserError, match=f"image x.png is {kind}"):
        decode_image(content, "x.png")
    assert not (tmp_path / "ran").exists()


def test_jpeg_is_close():
    smooth = np.linspace(0, 255, 16 * 16 * 3).reshape(16, 16, 3).astype(np.uint8)
    found = decode_image(encoded(smooth, "JPEG", quality=95))
    assert np.abs(found.astype(int) - smooth).mean() < 4


def test_grey_is_repeated(rgb):
    grey = rgb[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=-1)
    np.testing.assert_array_equal(decode_image(encoded(grey)), expected)


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


DEPTHS = [(8, 255), (12, 4095), (16, 65535)]


@pytest.mark.parametrize(("bits", "white"), DEPTHS)
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bit_files_are_scaled_by_the_depth_that_their_values_fill(bits, white, kind):
    values = np.random.default_rng(0).integers(0, white, (12, 9, 3)).astype(np.uint16)
    values[0, 0] = white
    wanted = np.rint(values * (255 / white)).astype(int)
    alpha = np.full((12, 9, 1), 65535, np.uint16)
    stored = {"grey": values[..., 0], "colour": values[..., ::-1]}
    stored["alpha"] = np.concatenate([stored["colour"], alpha], axis=-1)
    for name, array in stored.items():
        found = decode_image(cv2.imencode(f".{kind}", array)[1].tobytes()).astype(int)
        expected = wanted[..., :1] if name == "grey" else wanted
        # Pillow cuts colours of 16 bits off instead of rounding.
        assert np.abs(found - expected).max() <= (bits == 16 and name != "grey"), name


@pytest.mark.parametrize(("bits", "white"), DEPTHS)
def test_grey_and_alpha_of_16_bits_are_scaled_too(bits, white):
    values = np.array([[0, white // 2], [white, white // 5]], ">u2")
    rows = np.dstack([values, np.full_like(values, 65535)]).astype(">u2")
    content = png(2, 2, 16, 4, b"".join(b"\0" + row.tobytes() for row in rows))
    found = decode_image(content)[..., 0].astype(int)
    assert np.abs(found - values * (255 / white)).max() <= 1


def png(width, height, depth, kind, rows, extra=()):
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    content = [b"\x89PNG\r\n\x1a\n"]
    data = [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    for name, chunk in [(b"IHDR", header), *extra, *data]:
        crc = zlib.crc32(name + chunk)
        content.append(struct.pack(">I", len(chunk)) + name + chunk)
        content.append(struct.pack(">I", crc))
    return b"".join(content)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_floats_are_scaled_by_the_range_that_they_fill(white):
    values = np.array([[0, 0.2], [0.6, 1]], np.float32) * white
    found = decode_image(encoded(values, "TIFF"))[..., 0]
    np.testing.assert_array_equal(found, [[0, 51], [153, 255]])


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (np.float32(np.nan), "NaN or infinite"),
        (np.float32(np.inf), "NaN or infinite"),
        (np.float32(-0.5), "negative values, down to -0.5"),
        (np.float32(1.3), "within 1, the highest is 1.3"),
        (np.float32(70000), "values reach 70000"),
        (np.int32(70000), "values reach 70000"),
    ],
)
def test_values_that_do_not_tell_their_white_are_refused(odd, message):
    values = np.random.default_rng(0).random((20, 20)).astype(odd.dtype)
    values[3, 3] = odd
    with pytest.raises(UserError, match=message):
        decode_image(encoded(values, "TIFF"))


def test_16_bit_tiff_files_in_which_0_is_white_are_turned():
    content = bytearray(encoded(np.array([[0, 65535], [257, 0]], np.uint16), "TIFF"))
    at = content.index(struct.pack("<HHI", 262, 3, 1))
    content[at + 8] = 0
    found = decode_image(bytes(content))[..., 0]
    np.testing.assert_array_equal(found, [[255, 0], [254, 255]])


def test_a_later_page_that_is_damaged_does_not_matter():
    pages = [Image.new("L", (40, 40), grey) for grey in (20, 70, 120)]
    content = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    for end in range(len(content) // 2, len(content), 97):
        np.testing.assert_array_equal(decode_image(content[:end]), 20)


def test_a_transparent_grey_level_of_16_bits_is_white():
    rows = b"".join(
        b"\0" + row.tobytes() for row in np.array([[0, 65535], [7, 0]], ">u2")
    )
    content = png(2, 2, 16, 0, rows, [(b"tRNS", b"\0\0")])
    np.testing.assert_array_equal(decode_image(content)[..., 0], [[255, 255], [0, 255]])


def wide_profile():
    """An sRGB profile with the primaries of Display P3."""
    raw = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.2412, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.1571, 0.06657, 0.78407),
    }
    for i in range(struct.unpack(">I", raw[128:132])[0]):
        tag, at, _ = struct.unpack(">4sII", raw[132 + 12 * i : 144 + 12 * i])
        for j, value in enumerate(primaries.get(tag, ())):
            struct.pack_into(">i", raw, at + 8 + 4 * j, round(value * 65536))
    return bytes(raw)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colour_profiles_are_applied(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    # Display P3 (234, 51, 35) is sRGB (255, 0, 0), from the matrices of both.
    flat = np.full((4, 4, 3), (234, 51, 35), np.uint8)
    found = decode_image(encoded(flat, kind, icc_profile=wide_profile(), **options))
    np.testing.assert_allclose(found[0, 0].astype(int), [255, 0, 0], atol=3)
    opaque = np.dstack([flat, np.full((4, 4), 255, np.uint8)])
    found = decode_image(encoded(opaque, kind, icc_profile=wide_profile(), **options))
    np.testing.assert_allclose(found[0, 0].astype(int), [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["sRGB", "broken", "of another kind"])
def test_profiles_that_say_nothing_new_leave_every_pixel(rgb, kind):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profile = {"sRGB": srgb, "broken": srgb[:60], "of another kind": lab}[kind]
    found = decode_image(encoded(rgb, icc_profile=profile))
    np.testing.assert_array_equal(found, rgb)


_LONG = zlib.compress(bytes(2_000_000))


@pytest.mark.parametrize(
    "chunk",
    [
        (b"eXIf", b"\0\x08\0\x02\x01\x12\0\x03"),
        (b"eXIf", b"Exif\0\0Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"),
        (b"zTXt", b"note\0\0" + _LONG),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + _LONG),
        (b"iCCP", b"icc\0\0" + _LONG),
        (b"gAMA", b"\0"),
    ],
)
def test_good_pixels_with_odd_remarks_are_read(rgb, chunk):
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    content = png(9, 6, 8, 2, rows, [chunk])
    assert header_fault(content) is None
    np.testing.assert_array_equal(decode_image(content), rgb)


def test_remarks_that_cannot_be_read_do_not_take_the_profile_along(rgb):
    profile = b"p3\0\0" + zlib.compress(wide_profile())
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    whole = png(9, 6, 8, 2, rows, [(b"iCCP", profile)])
    odd = png(9, 6, 8, 2, rows, [(b"iCCP", profile), (b"zTXt", b"note\0\0" + _LONG)])
    np.testing.assert_array_equal(decode_image(odd), decode_image(whole))
    assert (decode_image(odd) != rgb).any()


def test_large_pictures_are_limited_by_an_option_and_not_by_pillow(
    rgb, tmp_path, monkeypatch
):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    file = tmp_path / "large.png"
    file.write_bytes(encoded(rgb))
    np.testing.assert_array_equal(decode_image(file), rgb)
    with pytest.raises(UserError, match=r"9x6 pixels, more than 5e-05 megapixels"):
        decode_image(file, max_megapixels=0.00005)
    claimed = png(60_000, 60_000, 8, 2, b"")
    with pytest.raises(UserError, match="60000x60000 pixels, more than 256 megapixels"):
        decode_image(claimed)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png cannot be read .*no regular file"):
        decode_image(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    with pytest.raises(UserError, match=r"loop\.png cannot be read .*symbolic links"):
        decode_image(tmp_path / "loop.png")


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
    assert header_fault(file)
    with pytest.raises(UserError, match=f"{file} cannot be read"):
        decode_image(file)
    with pytest.raises(UserError, match=r"inner\.jpg cannot be read"):
        decode_image(content, "inner.jpg")


def test_one_pixel_is_too_few(tmp_path):
    file = tmp_path / "dot.png"
    file.write_bytes(encoded(np.zeros((1, 1, 3), np.uint8)))
    assert "1x1" in str(header_fault(file))
    with pytest.raises(UserError, match=r"dot\.png has 1x1 pixels: at least 2x2"):
        decode_image(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.png does not exist"):
        decode_image(tmp_path / "absent.png")
