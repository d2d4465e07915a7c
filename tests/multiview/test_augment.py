"""TrivialAugmentWide: every operation, magnitude and sign against Pillow's own.

The parametrisation of the oracle is torchvision's over Pillow images.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxgrow.multiview.augment import (
    NUM_MAGNITUDES,
    OPERATIONS,
    apply_operation,
    trivial_augment_wide,
)
from tests.support.oracles import assert_identical, quick_jit


SIGNED = OPERATIONS[1:10]
FILL = 200
ENHANCERS = {
    "brightness": ImageEnhance.Brightness,
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "sharpness": ImageEnhance.Sharpness,
}

run = quick_jit(lambda *args: apply_operation(*args, fill=FILL / 255))


def by_pillow(pixels: np.ndarray, name: str, magnitude: int, *, negative: bool):
    """One operation on (h, w, 3) bytes, with torchvision's ranges and centres."""
    image, fill = Image.fromarray(pixels), (FILL, FILL, FILL)
    part = magnitude / (NUM_MAGNITUDES - 1)
    signed = -part if negative else part

    def affine(*matrix):
        return image.transform(
            image.size, Image.Transform.AFFINE, matrix, fillcolor=fill
        )

    tangent = math.tan(math.radians(math.degrees(math.atan(0.99 * signed))))
    operations = {
        "identity": lambda: image,
        "shear_x": lambda: affine(1, tangent, 0, 0, 1, 0),
        "shear_y": lambda: affine(1, 0, 0, tangent, 1, 0),
        "translate_x": lambda: affine(1, 0, -int(32 * signed), 0, 1, 0),
        "translate_y": lambda: affine(1, 0, 0, 0, 1, -int(32 * signed)),
        "rotate": lambda: image.rotate(135 * signed, fillcolor=fill),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(6 * part)),
        "solarize": lambda: ImageOps.solarize(image, 255 - 255 * part),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }
    if name in ENHANCERS:
        return np.asarray(ENHANCERS[name](image).enhance(1.0 + 0.99 * signed))
    return np.asarray(operations[name]())


def pictures(side: int) -> dict[str, np.ndarray]:
    """Colourful, dark and low in contrast, of one colour, and an object on white."""
    rng = np.random.default_rng(side)
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(9 * x + 4 * y), np.cos(7 * y * x), np.sin(8 * (x - y))]
    colourful = 127 + 127 * np.stack(waves, axis=-1) + rng.normal(0, 9, (side, side, 3))
    dark = rng.integers(10, 60, (side, side, 3))
    dark[:, :, 1] = 17
    render = np.full((side, side, 3), 255.0)
    render[side // 4 : -side // 3, side // 5 : -side // 4] = (90, 30, 160)
    images = {"colourful": colourful, "dark": dark, "render": render}
    images["flat"] = np.full((side, side, 3), (0, 128, 255))
    return {n: np.clip(i, 0, 255).astype(np.uint8) for n, i in images.items()}


def by_jax(pixels: np.ndarray, name: str, strengths: range):
    """Every (sign, magnitude) of an operation, as bytes: (2, m, h, w, 3)."""
    signs, magnitudes = (
        i.ravel() for i in np.meshgrid(range(2), strengths, indexing="ij")
    )
    batch = np.broadcast_to(pixels / np.float32(255), (len(signs), *pixels.shape))
    out = run(
        jnp.asarray(batch),
        jnp.full(len(signs), OPERATIONS.index(name)),
        jnp.asarray(magnitudes),
        jnp.asarray(signs == 1),
    )
    bytes_ = np.asarray(out) * 255
    np.testing.assert_allclose(bytes_, np.round(bytes_), rtol=0, atol=1e-3)
    return np.round(bytes_).astype(int).reshape(2, len(strengths), *pixels.shape)


# Either parity of the side; all magnitudes once.
@pytest.mark.parametrize(("side", "every"), [(64, 5), (23, 1)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_pillows(name, side, every):
    magnitudes = range(0, NUM_MAGNITUDES, every)
    for kind, pixels in pictures(side).items():
        out = by_jax(pixels, name, magnitudes)
        for sign, magnitude in itertools.product(range(2), magnitudes):
            negative = sign == 1 and name in SIGNED
            expected = by_pillow(pixels, name, magnitude, negative=negative)
            off = out[sign, magnitude // every] - expected.astype(int)
            if name == "autocontrast":
                off[is_exact(pixels)] //= 2  # Pillow loses a level there, or none
            np.testing.assert_array_equal(off, 0, f"{kind} {sign} {magnitude}")


def is_exact(pixels: np.ndarray) -> np.ndarray:
    """True where autocontrast gives an integer before rounding down."""
    low, high = (f(pixels.astype(int), axis=(0, 1)) for f in (np.min, np.max))
    return 255 * (pixels - low) % np.maximum(high - low, 1) == 0


def test_images_are_drawn_for_one_by_one():
    pixels = np.stack(list(pictures(16).values())) / np.float32(255)
    images, keys = jnp.asarray(pixels), jax.random.split(jax.random.key(3), 4)
    augment = quick_jit(lambda x, k: trivial_augment_wide(x, k, fill=1.0))
    out = augment(images, keys)
    assert_identical(augment(images[::-1], keys[::-1]), out[::-1])
    assert_identical(augment(images, keys), out)
    other = augment(images, jax.random.split(jax.random.key(4), 4))
    assert not np.array_equal(out, other)


def test_the_default_fill_is_black():
    white = jnp.ones((256, 8, 8, 3))
    keys = jax.random.split(jax.random.key(0), len(white))
    corners = np.asarray(quick_jit(trivial_augment_wide)(white, keys))
    kept = np.asarray(
        quick_jit(lambda x, k: trivial_augment_wide(x, k, fill=1.0))(white, keys)
    )
    came_in = np.any(corners != kept, axis=-1)
    assert np.any(came_in)
    assert np.all(corners[came_in] == 0.0)
    assert np.all(kept[came_in] == 1.0)


@pytest.mark.slow
def test_operations_and_signs_are_drawn_evenly():
    """An image on which every operation gives another result tells them apart."""
    num_draws, side = 4096, 16
    image = pictures(side)["colourful"] / np.float32(255)
    images = jnp.broadcast_to(jnp.asarray(image), (num_draws, side, side, 3))
    keys = jax.random.split(jax.random.key(7), num_draws)
    out = np.asarray(quick_jit(trivial_augment_wide)(images, keys))
    seen = [row.tobytes() for row in out.reshape(num_draws, -1)]

    index = np.indices((len(OPERATIONS), NUM_MAGNITUDES, 2)).reshape(3, -1)
    every = quick_jit(apply_operation)(
        jnp.broadcast_to(jnp.asarray(image), (index.shape[1], side, side, 3)),
        *(jnp.asarray(i) for i in index[:2]),
        jnp.asarray(index[2] == 1),
    )
    chances: dict[bytes, float] = {}
    for row in np.asarray(every).reshape(index.shape[1], -1):
        key = row.tobytes()
        chances[key] = chances.get(key, 0.0) + 1.0 / index.shape[1]
    assert set(seen) <= set(chances)
    # Pearson's statistic has the mean k and the variance 2 k, and is nearly normal.
    expected = np.array(list(chances.values())) * num_draws
    counts = np.array([seen.count(key) for key in chances])
    k = len(chances) - 1
    assert abs(np.sum((counts - expected) ** 2 / expected) - k) < 5.0 * np.sqrt(2.0 * k)
