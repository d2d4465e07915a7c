"""Compare methods on boxes, strokes, scratches and text in photographs of any size.

    python -m experiments.whole_photographs --out results.json

Every photograph has one hole of each kind, drawn by its own seed. The methods are the
inpainter, from coarse to fine, and the classical ones. Figures are hole PSNR in dB as
the mean over photographs, and pooled over their squared errors, with a panel to look
at. Without `--images` the package's held-out photographs are taken.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console

from experiments.report import tables
from experiments.shared import cli
from jaxgrow import viz
from jaxgrow.data import masks, sources
from jaxgrow.data.sources import DataConfig
from jaxgrow.inpainting import saved_models
from jaxgrow.inpainting.baselines import BASELINES
from jaxgrow.inpainting.evaluation.intervals import pooled_psnr
from jaxgrow.inpainting.inpainter import Inpainter
from jaxgrow.ranges import Checked, Seed
from jaxgrow.storage import files
from jaxgrow.storage.provenance import record_provenance


_PROGRAM = "python -m experiments.whole_photographs"
_AREA = 0.05, 0.15  # of boxes and strokes, as parts of the photograph's square
_TEXT = "The quick brown fox jumps over the lazy dog. "
_CLASSICAL = ("Telea", "Navier-Stokes", "biharmonic", "harmonic")
_PANEL_SIDE = 320  # px


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """The photographs and the networks to compare."""

    images: Path | None = None
    """Folder of photographs; None = the package's 13 held-out ones."""
    weights: tuple[Path, ...] = ()
    """Files of generators to compare; none = those of the package at every size."""
    seed: Seed = 0
    """Root of the holes."""
    out: Path | None = None
    """JSON file for the results, with a panel beside it; None = only print."""


def holes(
    height: int, width: int, rng: np.random.Generator
) -> Iterator[tuple[str, Bool[np.ndarray, "h w"]]]:
    """Yield the name and the mask of every kind of hole."""
    side = max(height, width)
    draws = {
        "box": functools.partial(masks.rectangle_mask, area=_AREA),
        "stroke": functools.partial(masks.stroke_mask, area=_AREA, max_width=0.1),
        "scratch": functools.partial(
            masks.stroke_mask, area=(0.001, 0.05), max_width=0.01
        ),
    }
    for name, draw in draws.items():
        mask = np.zeros((side, side), bool)
        while not mask[:height, :width].any():
            mask = draw(rng, side)
        yield name, mask[:height, :width]
    yield "text", _text_mask(height, width)


def _text_mask(height: int, width: int) -> Bool[np.ndarray, "h w"]:
    size = max(12, height // 12)
    page, font = Image.new("L", (width, height)), ImageFont.load_default(size)
    draw = ImageDraw.Draw(page)
    for line, top in enumerate(range(size // 2, height, 2 * size)):
        draw.text((0, top), _TEXT[line % len(_TEXT) :] + _TEXT, fill=255, font=font)
    return np.asarray(page) > 127


Fill: TypeAlias = Callable[..., UInt8[np.ndarray, "h w 3"]]


def methods(options: Options) -> dict[str, Fill]:
    """Return fill functions of one photograph, by name."""
    paths = options.weights or sorted(saved_models.SHIPPED.glob("*.safetensors"))
    found: dict[str, Fill] = {}
    for path in paths:
        inpainter = Inpainter.load(path)
        found[f"{path.stem}, {inpainter.resolution} px"] = inpainter
    for name in _CLASSICAL:
        fill = BASELINES[name]
        found[name] = lambda x, hole, fill=fill: fill(x[None], hole[None])[0]
    return found


def measure(
    fills: dict[str, Fill], images: list[np.ndarray], names: list[str], seed: int
) -> tuple[dict[str, dict[str, list[float]]], list[tuple[str, list[np.ndarray]]]]:
    """Return kind of hole -> method -> squared error of each photograph, and a panel.

    Errors are means over the hole, of values in [0, 1]. The panel has a row of the
    masked photograph, the fills and the original for every kind, from different
    photographs.
    """
    errors: dict[str, dict[str, list[float]]] = {}
    rows = []
    for i, (image, name) in enumerate(zip(images, names, strict=True)):
        rng = np.random.default_rng([seed, *name.encode()])
        height, width = image.shape[:2]
        for k, (kind, hole) in enumerate(holes(height, width, rng)):
            found = {method: fill(image, hole) for method, fill in fills.items()}
            for method, filled in found.items():
                square = ((filled[hole] - image[hole].astype(float)) / 255.0) ** 2
                of_kind = errors.setdefault(kind, {}).setdefault(method, [])
                of_kind.append(float(square.mean()))
            if i % 4 == k and len(rows) < 8:
                masked = viz.paint_holes(image[None], hole[None])[0]
                rows.append((kind, [masked, *found.values(), image]))
    return errors, rows


def summarise(
    errors: dict[str, dict[str, list[float]]],
) -> dict[str, dict[str, dict[str, float]]]:
    """Return kind -> method -> psnr_hole and psnr_hole_pooled in dB."""
    return {
        kind: {
            method: {
                "psnr_hole": float(pooled_psnr(np.array(values)).mean()),
                "psnr_hole_pooled": pooled_psnr(np.mean(values, keepdims=True)).item(),
            }
            for method, values in by_method.items()
        }
        for kind, by_method in errors.items()
    }


def to_markdown(summary: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a line per method; mean / pooled hole PSNR of every kind."""
    cell = "{psnr_hole:.2f} / {psnr_hole_pooled:.2f}"
    rows = [
        [method, *(cell.format(**found[method]) for found in summary.values())]
        for method in next(iter(summary.values()))
    ]
    return tables.to_markdown(tables.Table("", ["mean / pooled, dB", *summary], rows))


def draw_panel(rows: list[tuple[str, list[np.ndarray]]], methods: list[str]):
    """Draw a row for each kind of hole: masked, every method's fill, the original."""
    size = (_PANEL_SIDE, _PANEL_SIDE)
    tiles = [
        [ImageOps.pad(Image.fromarray(x), size, color="white") for x in row]
        for _, row in rows
    ]
    return viz.image_grid(
        np.array(tiles),
        column_titles=["masked", *methods, "original"],
        row_titles=[kind for kind, _ in rows],
    )


def compare(options: Options, console: Console) -> None:
    """Print the table; write the JSON file and the panel.

    Raises:
        UserError: Photographs or weights are missing or damaged.
    """
    begun = time.monotonic()
    if options.images is None:
        source = sources.open_split(DataConfig(), 0)[1]
    else:
        source = sources.open_images(options.images, group_by="file")
    images = [source[i] for i in range(len(source))]
    fills = methods(options)
    errors, rows = measure(fills, images, list(source.names), options.seed)
    summary = summarise(errors)
    console.print(to_markdown(summary), markup=False, highlight=False)
    if options.out is not None:
        provenance = record_provenance(
            [*_PROGRAM.split(), *sys.argv[1:]],
            seeds={"holes": options.seed},
            wall_s=time.monotonic() - begun,
        )
        found = {"provenance": provenance, "photographs": source.names}
        files.write_json(options.out, found | {"summary": summary, "errors": errors})
        viz.save_png(options.out.with_suffix(".png"), draw_panel(rows, list(fills)))


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; return the exit status."""
    return cli.run_tool(_PROGRAM, __doc__, compare, Options, arguments)


if __name__ == "__main__":
    sys.exit(main())
