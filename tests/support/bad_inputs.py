"""Bad inputs of many kinds, drawn at random."""

import io
import json

import jax.numpy as jnp
import numpy as np
from PIL import Image


SIZE = 24


def damaged(rng, content: bytes) -> bytes:
    """The content, or what is left of it."""
    kind = rng.integers(8)
    at = int(rng.integers(len(content) + 1))
    if kind == 0:
        return content
    if kind == 1:
        return content[:at]
    if kind == 2:
        return b""
    if kind == 3:
        return rng.bytes(at)
    if kind == 4:
        return content + rng.bytes(at)
    if kind == 5:
        return content[:at] + content[at + int(rng.integers(1, 9)) :]
    changed = bytearray(content)
    reach = len(content) if kind == 6 else min(64, len(content))  # 7: the header
    for place in rng.integers(0, reach, int(rng.integers(1, 9))):
        changed[place] = rng.integers(256)
    return bytes(changed)


def damaged_json(rng, content: bytes) -> bytes:
    """The content with another value in one place, or damaged as any file."""
    if rng.random() < 0.3:
        return damaged(rng, content)
    tree = json.loads(content)
    place = tree
    while isinstance(place, dict | list) and place:
        inside, key = (
            place,
            pick(rng, list(place) if isinstance(place, dict) else range(len(place))),
        )
        place = inside[key]
        if rng.random() < 0.3:
            break
    if not isinstance(tree, dict | list) or not tree:
        return b"3"
    if rng.random() < 0.3 and isinstance(inside, dict):
        del inside[key]
    else:
        inside[key] = pick(rng, ODD)
    return json.dumps(tree).encode()


ODD = (
    None,
    True,
    -1,
    0,
    1,
    10**9,
    10**30,
    0.5,
    -0.5,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../..",
    "<b>",
    [],
    [1],
    ["x"],
    {},
    {"a": 1},
)


def pick(rng, options):
    return options[int(rng.integers(len(options)))]


def encoded(rng, mask: bool) -> bytes:
    shape = (
        (SIZE, SIZE)
        if mask
        else pick(rng, [(SIZE, SIZE, 3), (SIZE, SIZE), (SIZE, SIZE, 4)])
    )
    if mask:
        top = pick(rng, [1, 127, 128, 255])
        pixels = np.zeros(shape, np.uint8)
        pixels[4:12, 4:12] = top
    else:
        pixels = rng.integers(0, 256, shape).astype(np.uint8)
    kind = pick(
        rng, ["PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG", "PPM", "deep", "float", "P"]
    )
    image, options = Image.fromarray(pixels), {}
    if kind == "deep":
        deep = pixels.reshape(SIZE, SIZE, -1)[..., 0].astype(np.uint16) * pick(
            rng, [1, 16, 257]
        )
        image, kind = Image.fromarray(deep), pick(rng, ["PNG", "TIFF"])
    elif kind == "float":
        scale = pick(rng, [1.0, 1 / 255, -1.0, np.nan])
        image = Image.fromarray(
            np.float32(pixels.reshape(SIZE, SIZE, -1)[..., 0] * scale)
        )
        kind = "TIFF"
    elif kind == "P":
        image, kind = image.convert("RGB").quantize(16), "PNG"
    elif kind in ("JPEG", "PPM") and image.mode == "RGBA":
        image = image.convert("RGB")
    elif kind == "JPEG":
        options["quality"] = 95
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def odd_array(rng, good: np.ndarray):
    """The array as another type, shape, range or object."""
    kind = rng.integers(12)
    if kind == 0:
        return good
    if kind == 1:
        return pick(rng, [None, 3, "a.png", {}, [], [[1], [1, 2]], 1.5, b"x", object()])
    if kind == 2:
        return good[..., : int(rng.integers(0, 4))]
    if kind == 3:
        return good[None]
    if kind == 4 and good.ndim > 1:
        return good[0]
    if kind == 5:
        return np.full(good.shape, pick(rng, [np.nan, np.inf, -1.0, 0.5, 2.0]))
    if kind == 6:
        return good.astype(
            pick(rng, ["i1", "i4", "i8", "f2", "f4", "f8", "c8", "O", "?", "u2", "S1"])
        )
    if kind == 7:
        return jnp.asarray(good)
    if kind == 8:
        return good.tolist()
    if kind == 9:
        return list(good)
    if kind == 10:
        return np.moveaxis(good, 0, -1)
    return good[::-1]
