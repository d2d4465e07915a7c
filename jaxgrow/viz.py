"""Pictures of a network's results: grids of enlarged tiles with titles."""

import functools
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from einops import rearrange, repeat
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from jaxgrow.storage import files


HOLE_COLOUR = (236, 64, 122)  # pink: rare in photographs, plain on dark and light
_PAPER, _INK = (255, 255, 255), (32, 32, 32)
_MIN_TILE = 96
_PAD, _FONT_SIZE = 4, 13


def image_grid(
    images: UInt8[np.ndarray, "rows columns h w 3"],
    *,
    pad: int = _PAD,
    column_titles: Sequence[str] = (),
    row_titles: Sequence[str] = (),
    min_tile: int = _MIN_TILE,
) -> Image.Image:
    """Draw tiles in rows and columns, `pad` pixels apart, titles above and to the left.

    Small images are enlarged by a whole factor without smoothing, so that the short
    side of a tile has at least `min_tile` pixels and every pixel stays a square.
    """
    rows, columns, h, w, _ = images.shape
    if column_titles and len(column_titles) != columns:
        raise ValueError(f"{len(column_titles)} titles for {columns} columns")
    factor = max(1, -(-min_tile // min(h, w)))
    tiles = repeat(images, "r c h w k -> r c (h y) (w x) k", y=factor, x=factor)
    shape = (rows, columns, factor * h + pad, factor * w + pad)
    framed = np.full((*shape, 3), _PAPER, np.uint8)
    framed[:, :, pad:, pad:] = tiles
    grid = rearrange(framed, "r c h w k -> (r h) (c w) k")
    font = ImageFont.load_default(size=_FONT_SIZE)
    head = _FONT_SIZE + pad if column_titles else 0
    side = pad + round(max(map(font.getlength, row_titles))) if row_titles else 0
    size = (side + grid.shape[1] + pad, head + grid.shape[0] + pad)
    canvas = Image.new("RGB", size, _PAPER)
    canvas.paste(Image.fromarray(grid), (side, head))
    text = functools.partial(ImageDraw.Draw(canvas).text, fill=_INK, font=font)
    for column, title in enumerate(column_titles):
        left = side + pad + column * (factor * w + pad)
        text((left + factor * w / 2, (head + pad) / 2), title, anchor="mm")
    for row, title in enumerate(row_titles):
        top = head + pad + row * (factor * h + pad)
        text((pad, top + factor * h / 2), title, anchor="lm")
    return canvas


def paint_holes(
    images: UInt8[np.ndarray, "n h w 3"], holes: Bool[np.ndarray, "n h w"]
) -> UInt8[np.ndarray, "n h w 3"]:
    """Return `images` with every hole in the flat colour `HOLE_COLOUR`."""
    colour = np.array(HOLE_COLOUR, np.uint8)
    return np.where(holes[..., None], colour, images)


def save_png(path: Path, image: Image.Image) -> None:
    """Write a PNG in one move; replace `path` if it exists.

    Raises:
        UserError: The disk is full, read-only or forbidden; the old file stays.
    """
    png = io.BytesIO()
    image.save(png, format="PNG")
    files.write_bytes(path, png.getvalue())
