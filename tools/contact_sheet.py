"""Draw many synthetic objects on one picture.

    python -m tools.contact_sheet --objects 8 --views 4 --out sheet.png
    python -m tools.contact_sheet --classes rifle airplane --views 24 --out turn.png

With 4 views (front, back, right, left) a row holds all objects of a class; with 24
views each object has a row of its own. The exit status is 0, or 2 if nothing was made.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console

from experiments.shared import cli
from jaxgrow import viz
from jaxgrow.data import procedural
from jaxgrow.errors import UserError
from jaxgrow.ranges import Checked, Count, Natural, Range, Seed
from jaxgrow.storage import files
from jaxgrow.training.logs import progress_bar


_SIDES = {"front": 0.0, "back": 180.0, "right": 90.0, "left": 270.0}
_MARGIN, _FONT_SIZE = 96, 13  # pixels for the names of the rows
_MAX_TILES = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Checked):
    """The objects to show."""

    out: Path
    """The PNG file to write; replaced if it exists."""
    classes: tuple[str, ...] = procedural.CLASSES
    """Names of the classes; each has a row or more."""
    objects: Count = 8
    """Objects of each class."""
    first: Natural = 0
    """Index of the first object of each class."""
    views: Literal[4, 24] = 4
    """4: front, back, right and left; 24: once around in steps of 15 degrees."""
    size: Annotated[int, Range(4, 4096)] = 64
    """Side of a view in pixels; small views are shown enlarged."""
    seed: Seed = 0
    """Seed of the objects."""


def main(arguments: list[str] | None = None) -> int:
    """Write the sheet; return the exit status."""
    return cli.run_tool(
        "python -m tools.contact_sheet", __doc__, _write, Config, arguments
    )


def _write(config: Config, console: Console) -> None:
    with files.disk_errors(config.out):
        config.out.absolute().parent.mkdir(parents=True, exist_ok=True)
    viz.save_png(config.out, contact_sheet(config, console))
    console.print(f"Wrote {config.out}.", markup=False, highlight=False)


def contact_sheet(config: Config, console: Console) -> Image.Image:
    """Draw the picture, and show progress meanwhile.

    Raises:
        UserError: The objects are none, too many, or of an unknown class.
    """
    if not config.classes:
        raise UserError("there is no class to draw: give classes")
    num_tiles = len(config.classes) * config.objects * config.views
    if num_tiles > _MAX_TILES:
        raise UserError(
            f"{num_tiles} views do not fit on a sheet: ask for fewer objects, so that "
            f"there are at most {_MAX_TILES}"
        )
    angles = _SIDES if config.views == 4 else _around()
    views = _render(config, list(angles.values()), console)
    if config.views == 4:
        rows = rearrange(views, "c n v h w k -> c (n v) h w k")
        names, titles = list(config.classes), list(angles) * config.objects
    else:
        rows = rearrange(views, "c n v h w k -> (c n) v h w k")
        numbers = range(config.first, config.first + config.objects)
        names = [f"{name} {i}" for name in config.classes for i in numbers]
        titles = list(angles)
    return _name_rows(viz.image_grid(rows, column_titles=titles), names)


def _around() -> dict[str, float]:
    return {f"{angle:.0f}°": angle for angle in procedural.AZIMUTHS_24}


def _render(
    config: Config, azimuths: list[float], console: Console
) -> UInt8[np.ndarray, "c n v h w 3"]:
    numbers = range(config.first, config.first + config.objects)
    items = [(name, i) for name in config.classes for i in numbers]
    found = procedural.render_objects(
        items, seed=config.seed, azimuths=azimuths, size=config.size
    )
    views = []
    with progress_bar(console) as bar:
        task = bar.add_task("objects", total=len(items), unit="objects")
        for view in found:
            views.append(view)
            bar.advance(task)
    return rearrange(np.stack(views), "(c n) v h w k -> c n v h w k", n=config.objects)


def _name_rows(grid: Image.Image, names: list[str]) -> Image.Image:
    """Draw a name to the left of each row of the grid."""
    canvas = Image.new("RGB", (grid.width + _MARGIN, grid.height), "white")
    canvas.paste(grid, (_MARGIN, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=_FONT_SIZE)
    # The titles above the columns add little to the height of the rows.
    pitch = (grid.height - _FONT_SIZE) / len(names)
    for row, name in enumerate(names):
        middle = _FONT_SIZE + (row + 0.5) * pitch
        draw.text((_MARGIN / 2, middle), name, fill="black", font=font, anchor="mm")
    return canvas


if __name__ == "__main__":
    sys.exit(main())
