"""Decoding of image files to sRGB: depth, colour profiles and transparency."""

import functools
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

from jaxgrow.data.image_files import MAX_MEGAPIXELS, explained, least_white, open_image


def decode_image(
    file: str | Path | bytes,
    name: str | None = None,
    *,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file to sRGB, turned upright by its EXIF entry.

    Colour profiles are applied, grey is repeated, palettes are looked up, transparency
    is composed over white, and an animation gives its first frame. Deeper values are
    reduced to 8 bits, see `eight_bits`.

    Args:
        file: Path, or the content of the file.
        name: Name of the file in errors; its path by default.
        max_megapixels: Largest size that is decoded.

    Raises:
        UserError: The file is missing, damaged, of a format that is not read, larger
            than allowed, or has fewer than 2 pixels on a side.
    """
    image = open_image(file, name, max_megapixels=max_megapixels)
    with explained(file, name):
        return np.asarray(over_white(eight_bits(image)))


def eight_bits(image: Image.Image) -> Image.Image:
    """Return grey of 16 or 32 bits or floats as 8 bits; other pictures as they are.

    White is the least of 255, 4095 and 65535 that is not exceeded, or for floats of 1,
    255 and 65535. `info["white"]` of the result holds it.

    Raises:
        ValueError: Values are negative, infinite or NaN, or do not tell the white.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    white = _white(values, image)
    values = white - values if is_white_zero(image) else values
    result = Image.fromarray(np.rint(values * (255 / white)).astype(np.uint8))
    if (clear := image.info.get("transparency")) is not None:
        opaque = 255 * (np.asarray(image) != clear).astype(np.uint8)
        result = Image.merge("LA", (result, Image.fromarray(opaque)))
    kept = {k: v for k, v in image.info.items() if k != "transparency"}
    result.info = kept | {"white": white}
    return result


def is_white_zero(image: Image.Image) -> bool:
    """True if 0 is white in a TIFF file; Pillow turns those of 8 bits alone."""
    return getattr(image, "tag_v2", {}).get(262) == 0


def over_white(image: Image.Image) -> Image.Image:
    """Convert an 8-bit image to sRGB by its colour profile, composed over white.

    An alpha channel that hides the whole picture says nothing and is left out.
    """
    alpha = (
        image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    )
    grey = image.mode in ("1", "L", "LA", "La")
    colour = image if image.mode == "CMYK" else image.convert("L" if grey else "RGB")
    colour.info.pop("transparency", None)
    profile = image.info.get("icc_profile")
    if profile and image.mode not in ("LAB", "YCbCr"):
        colour = _to_srgb(colour, profile)
    colour = colour.convert("RGB")
    if alpha is None or alpha.getextrema() == (0, 0):
        return colour
    return Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha)


def _white(values: Float[np.ndarray, "h w"], image: Image.Image) -> int:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise ValueError("it holds NaN or infinite values")
    if low < 0:
        raise ValueError(f"it holds negative values, down to {low:g}")
    if image.format in ("PPM", "JPEG2000") and image.mode != "F":
        return 65535  # Pillow has scaled the stated range
    if getattr(image, "tag_v2", {}).get(258) == (12,):
        return 4095
    if image.mode != "F":
        return least_white(high)
    whites = (1, 255, 65535)
    white = least_white(high, whites)
    usual = least_white(float(np.percentile(values, 99)), whites)
    if usual != white:
        raise ValueError(
            f"99 % of its values are within {usual}, the highest is {high:g}, so that "
            "its white is unknown: scale it to 8 bits"
        )
    return white


def _to_srgb(colour: Image.Image, icc: bytes) -> Image.Image:
    """Apply an ICC profile; a broken one, or one of another kind, says nothing."""
    mode = "RGB" if colour.mode == "L" and _space(icc) == "RGB" else colour.mode
    if (transform := _transform(icc, mode)) is None:
        return colour
    return transform.apply(colour.convert(mode))


def _space(icc: bytes) -> str:
    return icc[16:20].decode("latin-1").strip()


@functools.lru_cache(maxsize=16)
def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform to sRGB; None if it would change nothing or cannot be."""
    if {"L": "GRAY"}.get(mode, mode) != _space(icc):
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(profile, srgb, mode, "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError):
        return None
    if mode == "CMYK":
        return transform
    levels = np.linspace(0, 255, 16, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(64, 64, 3)
    probe = Image.fromarray(cube).convert(mode)
    change = np.asarray(transform.apply(probe), int) - np.asarray(probe.convert("RGB"))
    return transform if np.abs(change).max() > 1 else None
