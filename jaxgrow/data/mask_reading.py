"""Reading of mask images: what of a file marks the hole.

Editors save masks in many ways. The channels and values of a file decide which it is;
a file that has two readings is refused.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from jaxgrow.data.image_files import MAX_MEGAPIXELS, explained, open_image
from jaxgrow.data.images import eight_bits, is_white_zero
from jaxgrow.errors import UserError


_DARK, _LIGHT = 64, 191  # values up to and from which grey counts as black and white
_COLOURED = 96  # difference of channels that is a colour and no noise of JPEG
_FLAT = 64  # range of a channel within one colour
_MAX_UNCLEAR = 0.3  # part of a mask that may be neither black nor white


def load_mask(
    file: str | Path, *, invert: bool = False, max_megapixels: float = MAX_MEGAPIXELS
) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Read the hole pixels of a mask image; the bool is True if it has two values.

    These mark the hole:

    - In grey, 128 and above of 255. In a file of two values, one of them 0, the other.
    - A brush of one colour on a black or white ground.
    - A white or coloured brush on a transparent ground.
    - Erased, transparent parts of a photograph.

    Args:
        file: Any image that `jaxgrow.data.images` reads.
        invert: True if the hole is black in grey files; files that mark it in another
            way are then refused.
        max_megapixels: Largest size that is decoded.

    Raises:
        UserError: The file cannot be read, or can be understood in two ways.
    """
    image = open_image(file, max_megapixels=max_megapixels)
    with explained(file):
        try:
            hole, is_binary, is_grey = _hole_of(image)
            if invert and not is_grey:
                raise _TwoReadings(
                    "marks a part by a brush or transparency",
                    "this part is the hole",
                    "by the inversion, all the rest",
                )
            return (~hole if invert else hole), is_binary
        except _TwoReadings as error:
            raise UserError(
                f"mask {file} {error}: save it with a white hole on black"
            ) from None


class _TwoReadings(Exception):
    def __init__(self, what: str, one: str, other: str):
        super().__init__(f"{what}, so that {one} or {other}")


def _hole_of(image: Image.Image) -> tuple[Bool[np.ndarray, "h w"], bool, bool]:
    """Return the hole, and whether the mask has two values and is in grey."""
    if image.has_transparency_data:
        rgba = np.asarray(eight_bits(image).convert("RGBA"))
        if rgba[..., 3].min() == 0:
            return *_by_alpha(rgba[..., :3], rgba[..., 3]), False
        image = Image.fromarray(np.ascontiguousarray(rgba[..., :3]))
    if image.mode in ("1", "L"):
        return *_by_value(np.asarray(image.convert("L")), image), True
    if image.mode.startswith(("I", "F")):
        light = eight_bits(image) if is_white_zero(image) else image
        return *_by_value(np.asarray(light), light), True
    rgb = np.asarray(image.convert("RGB"))
    if image.mode == "P" and (rgb == rgb[0, 0]).all():  # the palette says nothing
        return *_by_value(np.asarray(image), image), True
    chroma = rgb.max(-1) - rgb.min(-1)
    grey = np.asarray(image.convert("RGB").convert("L"))
    if chroma.max() < _COLOURED:
        return *_by_value(grey, image), True
    return _by_brush(rgb, chroma, grey), True, False


def _by_alpha(
    rgb: UInt8[np.ndarray, "h w 3"], alpha: UInt8[np.ndarray, "h w"]
) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Tell a brush on a transparent ground from a photograph with erased parts."""
    opaque = alpha > alpha.max() / 2
    is_binary = bool(np.isin(alpha, (0, alpha.max())).all())
    if not opaque.any():
        raise _TwoReadings("is wholly transparent", "all of it is hole", "none")
    seen = rgb[opaque]
    if _is_flat(seen):
        if np.median(seen, axis=0).max() < _DARK:
            raise _TwoReadings(
                "is black where it is not transparent",
                "the black part is the hole",
                "the transparent part",
            )
        return opaque, is_binary
    if len(np.unique(seen // 32, axis=0)) <= 8:  # fewer colours than a photograph has
        raise _TwoReadings(
            "has strokes of several colours on a transparent ground",
            "the strokes are the hole",
            "the white or the transparent parts",
        )
    return ~opaque, is_binary


def _by_value(
    values: np.ndarray, image: Image.Image
) -> tuple[Bool[np.ndarray, "h w"], bool]:
    low, high = values.min(), values.max()
    deep = image.mode.startswith(("I", "F"))
    if not (np.isfinite(low) and np.isfinite(high) and low >= 0):
        raise ValueError("it holds negative, infinite or NaN values")
    is_binary = bool(((values == low) | (values == high)).all())
    if is_binary and (low == 0 or (low == high and high in (1, 255, 65535))):
        return values > 0, True
    scaled = np.asarray(eight_bits(image)) if deep else values
    if is_binary and scaled.min() < 128 <= scaled.max():
        return scaled >= 128, False
    if is_binary:
        raise _TwoReadings(
            f"has no values but {low:g} and {high:g}",
            f"{high:g} is the hole",
            "all of it is known",
        )
    if scaled.max() < 128 or scaled.min() >= 128:
        raise _TwoReadings(
            f"has many values, from {low:g} to {high:g}",
            f"all above {low:g} are the hole",
            f"only {high:g}",
        )
    if ((scaled > _DARK) & (scaled < _LIGHT)).mean() > _MAX_UNCLEAR:
        raise _TwoReadings(
            "is a grey picture rather than black and white",
            "its light half is the hole",
            "it is no mask",
        )
    return scaled >= 128, False


def _by_brush(
    rgb: UInt8[np.ndarray, "h w 3"],
    chroma: UInt8[np.ndarray, "h w"],
    grey: UInt8[np.ndarray, "h w"],
) -> Bool[np.ndarray, "h w"]:
    coloured = (
        chroma >= max(_COLOURED, np.percentile(chroma[chroma >= _COLOURED], 95)) / 2
    )
    if coloured.mean() > 0.5:
        raise _TwoReadings(
            "is coloured in most parts", "the colour is the hole", "the rest"
        )
    low, high = np.percentile(grey[~coloured], (5, 95))
    if not _is_flat(rgb[coloured]) or not (high <= _DARK or low >= _LIGHT):
        raise _TwoReadings(
            "has several colours",
            "each of them is the hole",
            "one of them, or it is no mask",
        )
    return coloured


def _is_flat(pixels: UInt8[np.ndarray, "n 3"]) -> bool:
    low, high = np.percentile(pixels, (5, 95), axis=0)
    return bool((high - low <= _FLAT).all())
