"""Pictures of a network's results: grids of enlarged tiles with titles."""

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
_TITLES = ("masked input", "output", "composite", "original")


def image_grid(
    images: UInt8[np.ndarray, "rows columns h w 3"],
    *,
    pad: int = _PAD,
    column_titles: Sequence[str] = (),
) -> Image.Image:
    """Draw tiles in rows and columns, `pad` pixels apart, titles above the columns.

    Small images are enlarged by a whole factor without smoothing, so that the short
    side of a tile has at least 96 pixels and every pixel of the image stays a square.
    """
    rows, columns, h, w, _ = images.shape
    if column_titles and len(column_titles) != columns:
        raise ValueError(f"{len(column_titles)} titles for {columns} columns")
    factor = max(1, -(-_MIN_TILE // min(h, w)))
    tiles = repeat(images, "r c h w k -> r c (h y) (w x) k", y=factor, x=factor)
    shape = (rows, columns, factor * h + pad, factor * w + pad)
    framed = np.full((*shape, 3), _PAPER, np.uint8)
    framed[:, :, pad:, pad:] = tiles
    grid = rearrange(framed, "r c h w k -> (r h) (c w) k")
    head = _FONT_SIZE + pad if column_titles else 0
    size = (grid.shape[1] + pad, grid.shape[0] + pad + head)
    canvas = Image.new("RGB", size, _PAPER)
    canvas.paste(Image.fromarray(grid), (0, head))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=_FONT_SIZE)
    for column, title in enumerate(column_titles):
        left = pad + column * (factor * w + pad)
        middle = (left + factor * w / 2, (head + pad) / 2)
        draw.text(middle, title, fill=_INK, font=font, anchor="mm")
    return canvas


def paint_holes(
    images: UInt8[np.ndarray, "n h w 3"], holes: Bool[np.ndarray, "n h w"]
) -> UInt8[np.ndarray, "n h w 3"]:
    """Return `images` with every hole in the flat colour `HOLE_COLOUR`."""
    colour = np.array(HOLE_COLOUR, np.uint8)
    return np.where(holes[..., None], colour, images)


def inpainting_panel(
    masked: UInt8[np.ndarray, "n h w 3"],
    output: UInt8[np.ndarray, "n h w 3"],
    composite: UInt8[np.ndarray, "n h w 3"],
    original: UInt8[np.ndarray, "n h w 3"],
    titles: Sequence[str] = _TITLES,
) -> Image.Image:
    """Draw one row per example: masked input, raw output, composite, original.

    The holes of the input are made visible, see `paint_holes`; the composite is the
    output inside the hole and the original outside. There is one title per column.
    """
    columns = np.stack([masked, output, composite, original], axis=1)
    return image_grid(columns, column_titles=titles)


def save_png(path: Path, image: Image.Image) -> None:
    """Write a PNG in one move; replace `path` if it exists.

    Raises:
        UserError: The disk is full, read-only or forbidden; the old file stays.
    """
    png = io.BytesIO()
    image.save(png, format="PNG")
    files.write_bytes(path, png.getvalue())
