"""TrivialAugmentWide (Mueller and Hutter 2021) on the device, one draw per image.

Operations, ranges and their order are those of torchvision's `TrivialAugmentWide` over
Pillow images: one of 14 operations, one of 31 magnitudes, a random sign for operations
with one, nearest-neighbour interpolation. Each works on 8-bit values and gives Pillow's
result; only autocontrast is exact where Pillow's rounding loses a grey level.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from jaxgrow.typing import Keys, UnitImage


_GEOMETRY = ("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS = ("brightness", "color", "contrast", "sharpness")
_TABLES = ("posterize", "solarize", "autocontrast", "equalize")
OPERATIONS = _GEOMETRY + _BLENDS + _TABLES
NUM_MAGNITUDES = 31

_INDEX = {name: i for i, name in enumerate(OPERATIONS)}
_LARGEST = {"shear": 0.99, "translate": 32.0, "rotate": 135.0, "blend": 0.99}
_FIXED_POINT = 1 << 16  # Pillow's affine transform counts in 1/65536 pixel


def trivial_augment_wide(images: UnitImage, keys: Keys, fill: float = 0.0) -> UnitImage:
    """Apply to every image an operation, magnitude and sign drawn from its own key.

    `fill` is the grey level in [0, 1] of pixels from outside; torchvision's is black.
    """

    def draw(key):
        op, magnitude, sign = jax.random.split(key, 3)
        return (
            jax.random.randint(op, (), 0, len(OPERATIONS)),
            jax.random.randint(magnitude, (), 0, NUM_MAGNITUDES),
            jax.random.bernoulli(sign),
        )

    return apply_operation(images, *jax.vmap(draw)(keys), fill)


def apply_operation(
    images: UnitImage,
    operation: Int[Array, " b"],
    magnitude: Int[Array, " b"],
    negative: Bool[Array, " b"],
    fill: float = 0.0,
) -> UnitImage:
    """Apply to every image its own operation.

    Args:
        images: Rounded to 8 bits first.
        operation: Index in `OPERATIONS`.
        magnitude: 0, ..., 30; 0 is the weakest. The last two operations have none.
        negative: Sign of the magnitude of shears, translations, rotation, brightness,
            color, contrast and sharpness.
        fill: Grey level in [0, 1] of pixels from outside the image.
    """
    pixels = jnp.round(255.0 * images).astype(jnp.int32)
    outside = jnp.round(255.0 * jnp.asarray(fill)).astype(jnp.int32)
    one = functools.partial(_apply_to_one, outside)
    pixels = jax.vmap(one)(pixels, operation, magnitude, negative)
    return pixels.astype(images.dtype) / 255.0


def _apply_to_one(outside, image, operation, magnitude, negative):
    """Apply one operation to one image.

    Under vmap every branch is computed, so operations of a kind share their work:
    geometry is one gather, the identity for the others; colour, contrast, brightness
    and sharpness are one blend.
    """
    h, w, _ = image.shape
    matrix = jnp.asarray(_matrices(h, w))[operation, magnitude, 1 * negative]
    image = _transform(image, matrix, outside)
    image = _blend(image, operation, magnitude, negative)

    def where(name, value):
        return jnp.where(operation == _INDEX[name], value, image)

    image = where("posterize", _posterize(image, magnitude))
    image = where("solarize", _solarize(image, magnitude))
    image = where("autocontrast", _autocontrast(image))
    return where("equalize", _equalize(image))


@functools.cache
def _matrices(h: int, w: int) -> np.ndarray:
    """Return (operation, magnitude, sign, 6) coefficients from output to input pixels.

    In fixed point, pixel centres included: x' = (a x + b y + c) >> 16, and y' from d,
    e and f.
    """
    table = np.empty((len(OPERATIONS), NUM_MAGNITUDES, 2, 6), np.int32)
    for index in np.ndindex(*table.shape[:3]):
        operation, magnitude, sign = index
        name, part = OPERATIONS[operation], magnitude / (NUM_MAGNITUDES - 1)
        a, b, c, d, e, f = _matrix(name, (-1) ** sign * part, h, w)
        centred = (a, b, c + 0.5 * (a + b), d, e, f + 0.5 * (d + e))
        table[index] = [math.floor(_FIXED_POINT * x + 0.5) for x in centred]
    return table


def _matrix(name: str, part: float, h: int, w: int) -> tuple[float, ...]:
    """Return coefficients in pixels for a signed part of the largest magnitude."""
    shear, shift = part * _LARGEST["shear"], float(int(part * _LARGEST["translate"]))
    # Rotation is about the centre, counter-clockwise.
    angle, x, y = math.radians(part * _LARGEST["rotate"]), 0.5 * w, 0.5 * h
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    return {
        "shear_x": (1.0, shear, 0.0, 0.0, 1.0, 0.0),
        "shear_y": (1.0, 0.0, 0.0, shear, 1.0, 0.0),
        "translate_x": (1.0, 0.0, -shift, 0.0, 1.0, 0.0),
        "translate_y": (1.0, 0.0, 0.0, 0.0, 1.0, -shift),
        "rotate": (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y),
    }.get(name, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))


def _transform(image, matrix, outside):
    h, w, _ = image.shape
    x, y = jnp.arange(w)[None, :], jnp.arange(h)[:, None]
    column = (matrix[0] * x + matrix[1] * y + matrix[2]) >> 16
    row = (matrix[3] * x + matrix[4] * y + matrix[5]) >> 16
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    flat = jnp.clip(row, 0, h - 1) * w + jnp.clip(column, 0, w - 1)
    pixels = image.reshape(h * w, 3)[flat.reshape(-1)].reshape(image.shape)
    return jnp.where(inside[:, :, None], pixels, outside)


def _blend(image, operation, magnitude, negative):
    """Return degenerate + weight * (image - degenerate), rounded down to 8 bits."""
    grey = _grey(image)
    mean = (2 * jnp.sum(grey) + grey.size) // (2 * grey.size)
    degenerate = jnp.zeros_like(image)  # brightness
    others = {"color": grey, "contrast": mean, "sharpness": _smooth(image)}
    for name, value in others.items():
        degenerate = jnp.where(operation == _INDEX[name], value, degenerate)
    first, last = _INDEX[_BLENDS[0]], _INDEX[_BLENDS[-1]]
    is_blend = (operation >= first) & (operation <= last)
    step = _LARGEST["blend"] / (NUM_MAGNITUDES - 1)
    weights = 1.0 + step * np.arange(NUM_MAGNITUDES) * np.array([[1.0], [-1.0]])
    weight = jnp.asarray(weights, jnp.float32)[1 * negative, magnitude]
    # Pillow rounds the product to float32 before the sum, which a compiler may fuse.
    # Rounding to 1/16384 gives the same result for every weight and pair of bytes.
    change = jnp.round(16384.0 * weight * (image - degenerate).astype(jnp.float32))
    blended = ((degenerate << 14) + change.astype(jnp.int32)) >> 14
    return jnp.where(is_blend, jnp.clip(blended, 0, 255), image)


def _grey(image):
    """Return the luma of ITU-R 601 in 16-bit fixed point, rounded, (h, w, 1)."""
    luma = jnp.sum(image * jnp.array([19595, 38470, 7471])[None, None], axis=-1)
    return (luma[:, :, None] + 32768) >> 16


def _smooth(image):
    """Average 3x3 pixels with weight 5 in the middle; border pixels stay."""
    rows = image[:-2] + image[1:-1] + image[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * image[1:-1, 1:-1]
    return image.at[1:-1, 1:-1].set((2 * total + 13) // 26)


def _posterize(image, magnitude):
    """Keep 8 to 2 high bits."""
    dropped = np.round(np.arange(NUM_MAGNITUDES) / ((NUM_MAGNITUDES - 1) / 6))
    dropped = jnp.asarray(dropped, jnp.int32)[magnitude]
    return (image >> dropped) << dropped


def _solarize(image, magnitude):
    """Invert values from a threshold up, 255 (weakest) to 0 (strongest)."""
    threshold = 255.0 - 255.0 / (NUM_MAGNITUDES - 1) * magnitude
    return jnp.where(image < threshold, image, 255 - image)


def _autocontrast(image):
    """Stretch each channel to 0, ..., 255; a channel of one value stays."""
    low, high = (f(image, axis=(0, 1), keepdims=True) for f in (jnp.min, jnp.max))
    stretched = 255 * (image - low) // jnp.maximum(high - low, 1)
    return jnp.where(high > low, stretched, image)


def _equalize(image):
    """Flatten each channel's histogram; a channel of one value stays."""
    table = jax.vmap(_equalizing_table, in_axes=-1)(image)  # (3, 256)
    return table[jnp.arange(3)[None, None], image]


def _equalizing_table(channel: Integer[Array, "h w"]) -> Integer[Array, " 256"]:
    histogram = jnp.zeros(256, jnp.int32).at[channel.reshape(-1)].add(1)
    step = (channel.size - histogram[jnp.max(channel)]) // 255
    below = jnp.cumsum(histogram) - histogram
    table = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, table, jnp.arange(256))
