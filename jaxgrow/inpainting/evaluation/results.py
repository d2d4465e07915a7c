"""The comparison as JSON, as a Markdown table and as a picture."""

import math
import operator
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxgrow import viz
from jaxgrow.inpainting.evaluation.compare import HARDER, OVERALL, EvalResult
from jaxgrow.storage import files
from jaxgrow.storage.provenance import Provenance


class _Column(NamedTuple):
    metric: str
    title: str
    digits: int
    cost: Callable[[float], float]  # the lowest is best


_COLUMNS = (
    _Column("psnr_hole", "PSNR hole, dB", 2, operator.neg),
    _Column("psnr_hole_pooled", "PSNR hole, pooled", 2, operator.neg),
    _Column("ssim_hole", "SSIM hole", 3, operator.neg),
    _Column("l1_hole", "L1 hole", 4, float),
    _Column("psnr", "PSNR", 2, operator.neg),
    _Column("ssim", "SSIM", 3, operator.neg),
    _Column("l1", "L1", 4, float),
    _Column("hf_error", "HF error, dB", 1, float),
    _Column("hf_bias", "HF bias, dB", 1, abs),
    _Column("mosaic", "mosaic", 3, abs),
)
_PSNR_HOLE = _COLUMNS[0]
_FEATURE_DIGITS = {"lpips": 3, "fid": 1}
_FEATURE_NAMES = {"lpips": "LPIPS", "fid": "FID"}
_LEGEND = """\
Values in [0, 1]; bold is best. PSNR hole: mean over images of each image's own PSNR in
its hole, at most 58.9 dB; pooled: of the mean squared error over all images. HF error:
mean size of the difference in power above half the Nyquist frequency, hole against
photograph; HF bias: its mean, negative is blur. Mosaic: share of the hole's detail that
repeats with the up-sampling, minus the photograph's; 0 is like the photograph."""

_CELL = 128  # pixels, for the names of the methods


def write_results(
    directory: Path,
    results: Sequence[EvalResult],
    provenance: Provenance,
    made_from: Mapping[str, Any],
) -> None:
    """Write results.md, panel_<r>px.png of every resolution, and then results.json.

    panel.png shows the largest resolution. `made_from` is an entry of results.json that
    tells a later run whether the results are current.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    ordered = sorted(results, key=lambda result: result.resolution)
    text = to_markdown(ordered, provenance)
    files.write_bytes(directory / "results.md", text.encode())
    for result in ordered:
        panel = draw_panel(result)
        viz.save_png(directory / f"panel_{result.resolution}px.png", panel)
        if result is ordered[-1]:
            viz.save_png(directory / "panel.png", panel)
    found = to_json(ordered, provenance) | {"made_from": dict(made_from)}
    files.write_json(directory / "results.json", found)


def to_json(results: Sequence[EvalResult], provenance: Provenance) -> dict:
    """Return everything but the pictures, ready for `json`; NaN becomes null."""
    found = [
        {k: v for k, v in vars(result).items() if k != "examples"} for result in results
    ]
    return files.plain({"provenance": provenance, "results": found})


def to_markdown(results: Sequence[EvalResult], provenance: Provenance) -> str:
    """Return tables per resolution: all metrics, PSNR per bin, gains with intervals."""
    parts = []
    for result in results:
        images = next(r.num_images for r in result.rows if r.bin == OVERALL)
        parts += [
            f"## {result.resolution} px",
            f"{images} pairs of image and hole, {result.num_photos} photographs.",
        ]
        bins = list(dict.fromkeys(row.bin for row in result.rows))
        for bin in (b for b in (HARDER, OVERALL) if b in bins):
            holes = "all holes" if bin == OVERALL else f"holes of {bin} %"
            parts += [f"### All metrics, {holes}", _metrics_table(result, bin)]
        parts += _remarks(result)
        parts += [
            "### Hole PSNR in dB, by percent of the area",
            _table(result, bins, [_cells(result, bin, _PSNR_HOLE) for bin in bins]),
            f"### Gain of {result.reference} in hole PSNR, dB",
            "Mean and 95 % interval (bootstrap over photographs).",
            _gain_table(result, bins, "psnr_hole"),
            f"### Gain of {result.reference} in pooled hole PSNR, dB",
            _gain_table(result, bins, "psnr_hole_pooled"),
        ]
    parts += [_LEGEND, _origin(results, provenance)]
    return "\n\n".join(parts) + "\n"


def draw_panel(result: EvalResult) -> Image.Image:
    """Draw a row for each example: masked input, every method, the original.

    Pixels are enlarged without smoothing to cells of about 128 px.
    """
    methods = [m for m in _methods(result) if m not in result.missing]
    rows = []
    for e in result.examples:
        (masked,) = viz.paint_holes(e.original[None], e.hole[None])
        rows.append([masked, *(e.fills[method] for method in methods), e.original])
    return viz.image_grid(
        np.array(rows),
        column_titles=["masked", *methods, "original"],
        row_titles=[e.label + " %" * e.label[0].isdigit() for e in result.examples],
        min_tile=_CELL,
    )


def _methods(result: EvalResult) -> list[str]:
    measured = dict.fromkeys(row.method for row in result.rows)
    return [*measured, *result.missing]


def _metrics_table(result: EvalResult, bin: str) -> str:
    features = [
        _Column(metric, title, _FEATURE_DIGITS[metric], float)
        for metric, title in result.labels.items()
    ]
    shown = [*_COLUMNS, *features]
    columns = [_cells(result, bin, column) for column in shown]
    return _table(result, [column.title for column in shown], columns)


def _remarks(result: EvalResult) -> list[str]:
    """Return a list of missing weights and notes, if there are any."""
    needs = [f"{_FEATURE_NAMES[m]} {needs}" for m, needs in result.needs.items()]
    lines = [f"- {sentence}." for sentence in (*needs, *result.notes)]
    return ["\n".join(lines)] if lines else []


def _cells(result: EvalResult, bin: str, column: _Column) -> list[str]:
    """Format the figure of every method, the best ones bold, a missing one as "-"."""
    values = [
        math.nan
        if method in result.missing
        else result.metric(method, bin, column.metric)
        for method in _methods(result)
    ]
    lowest = min((column.cost(v) for v in values if not math.isnan(v)), default=0.0)
    cells = []
    for value in values:
        text = "-" if math.isnan(value) else f"{value:.{column.digits}f}"
        is_best = not math.isnan(value) and column.cost(value) == lowest
        cells.append(f"**{text}**" if is_best else text)
    return cells


def _gain_table(result: EvalResult, bins: list[str], metric: str) -> str:
    of_metric = [d for d in result.differences if d.metric == metric]
    gains = {(d.baseline, d.bin): d for d in of_metric}
    baselines = dict.fromkeys(d.baseline for d in of_metric)
    lines = [["against", *bins]]
    for baseline in baselines:
        found = [gains[baseline, bin] for bin in bins]
        cells = [f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}]" for d in found]
        lines.append([baseline, *cells])
    return _render(lines)


def _table(result: EvalResult, titles: list[str], columns: list[list[str]]) -> str:
    lines = [["method", *titles]]
    for method, *cells in zip(_methods(result), *columns, strict=True):
        if method in result.missing:
            cells = [result.missing[method], *[""] * (len(cells) - 1)]
        lines.append([method, *cells])
    return _render(lines)


def _render(lines: list[list[str]]) -> str:
    """Render a Markdown table, its first column to the left, others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    rendered = []
    for cells in [lines[0], rule, *lines[1:]]:
        padded = [cells[0].ljust(widths[0])]
        padded += [c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)]
        rendered.append(f"| {' | '.join(padded)} |")
    return "\n".join(rendered)


def _origin(results: Sequence[EvalResult], provenance: Provenance) -> str:
    seeds = ", ".join(f"{name} {seed}" for name, seed in provenance.seeds.items())
    versions = ", ".join(f"{k} {v}" for k, v in provenance.versions.items())
    hashes = ", ".join(
        f"{result.resolution} px `{result.protocol_sha256[:16]}`" for result in results
    )
    lines = [
        f"- command: `{shlex.join(provenance.command)}`",
        f"- seeds: {seeds}",
        f"- protocol (masks, image names, bins): {hashes}",
        f"- device: {provenance.device}; {provenance.wall_s:.0f} s",
        f"- revision: {provenance.git_revision or 'unknown'}",
        f"- versions: {versions}",
    ]
    return "\n".join(lines)
