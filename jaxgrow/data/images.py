"""Decoding of image files of any format into uint8 arrays."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxgrow.errors import UserError


SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"]
)
MIN_SIDE = 2


def decode_image(
    file: str | Path | bytes, name: str | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Decode an image file to RGB, turned upright by its EXIF entry.

    Grey is repeated, palettes are looked up, transparency is composed over white,
    16 bits are scaled to 8, and an animation gives its first frame.

    Args:
        file: Path, or the content of the file.
        name: Name of the file in errors; its path by default.

    Raises:
        UserError: The file is missing, damaged, not an image, or has fewer than 2
            pixels on a side.
    """
    return _decode(file, name, "RGB")


def decode_grey(
    file: str | Path | bytes, name: str | None = None
) -> UInt8[np.ndarray, "h w"]:
    """Decode as `decode_image`, to one channel (ITU-R 601 luma)."""
    return _decode(file, name, "L")


def check_header(file: Path) -> bool:
    """True if the header is that of an image of 2x2 pixels or more."""
    try:
        with Image.open(file) as image:
            return min(image.size) >= MIN_SIDE
    # Damaged headers make Pillow's format readers raise errors of many types.
    except Exception:
        return False


def _decode(
    file: str | Path | bytes, name: str | None, mode: str
) -> UInt8[np.ndarray, "h w ..."]:
    if name is None:
        name = f"<{len(file)} bytes>" if isinstance(file, bytes) else str(file)
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            upright = _eight_bits(image)
            # `convert` copies even if the mode is the same.
            same = upright.mode == mode
            pixels = np.asarray(upright if same else upright.convert(mode))
    except FileNotFoundError:
        raise UserError(f"image {name} does not exist: check its path") from None
    except UnidentifiedImageError:
        raise UserError(
            f"image {name} cannot be read (no image, or its header is damaged): "
            "replace or remove the file"
        ) from None
    # Damaged files make Pillow's decoders raise errors of many types.
    except Exception as error:
        raise UserError(
            f"image {name} cannot be read ({error}): replace or remove the file"
        ) from error
    height, width = pixels.shape[:2]
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"image {name} has {width}x{height} pixels: at least 2x2 are needed"
        )
    return pixels


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; Pillow reduces 16-bit RGB itself
        values = np.asarray(image).astype(np.float64).clip(0, 65535)
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        scale = 255 if values.max() <= 1 else 1
        return Image.fromarray(np.rint(values * scale).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA"))
    return image
