"""Line charts as inline SVG that takes on the page's colours."""

import collections
import html
import io
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


_MAX_POINTS = 300  # of one curve; longer ones are averaged down
_MAX_MARKERS = 20  # points of a curve; more points are drawn without markers
_INK = "#010203"  # of charts.mplstyle, which cannot name the page's text colour
# Mid-tones, each readable on white and on near-black.
_COLOURS = ("#3b82d6", "#e07a1f", "#2f9e6e", "#c94f8c", "#8a6fd1", "#9a8412", "#5f7d8c")
_SHARED_AXES = {  # every other metric has a chart of its own, for their units differ
    "Generator losses": r"g/(?!grad_norm|learning_rate)",
    "Discriminator": r"d/(?!grad_norm|learning_rate)",
    "Gradient norms": r"grad|[gd]/grad_norm",
    "Learning rate": r"(.*/)?learning_rate",
}
_NO_METRICS = ("step", "stage_step", "phase_step", "stage", "phase", "steps_per_s")
_WIDTH, _HEIGHT, _BELOW, _LEGEND_ROW = 3.5, 2.3, 0.45, 0.17  # inches
_STYLE = Path(__file__).parent / "charts.mplstyle"

Curves = dict[str, list[tuple[float, float]]]
"""Name -> points (x, y)."""


class Chart(NamedTuple):
    """Curves over one pair of axes; `draw` makes the SVG."""

    title: str
    curves: Curves
    x_label: str
    log_x: bool = False


def curves_of(points: Iterable[tuple[str, Any, Any]]) -> Curves:
    """Group (name, x, y) by name, in ascending x."""
    curves = collections.defaultdict(list)
    for name, x, y in points:
        curves[name].append((float(x), float(y)))
    return {name: sorted(of_name) for name, of_name in curves.items()}


def metric_charts(
    rows: Sequence[dict[str, Any]], group: str, step: str, x_label: str
) -> dict[str, list[Chart]]:
    """Return the charts of every group, from the rows of metrics.jsonl.

    The field `group` tells the groups apart, the field `step` is the x axis. Rows that
    lack one of them, and values that are no finite numbers, are left out.
    """
    charts = {str(row[group]): [] for row in rows if row.get(group) is not None}
    points = collections.defaultdict(list)
    for row in rows:
        x = row.get(step)
        for name, y in row.items():
            if name not in _NO_METRICS and _is_number(x) and _is_number(y):
                points[str(row.get(group)), _chart_title(name)].append((name, x, y))
    order = list(_SHARED_AXES)
    for key in sorted(points, key=lambda k: order.index(k[1]) if k[1] in order else 99):
        if key[0] in charts:
            charts[key[0]].append(Chart(key[1], curves_of(points[key]), x_label))
    return charts


def _chart_title(metric: str) -> str:
    matches = (t for t, pattern in _SHARED_AXES.items() if re.match(pattern, metric))
    return next(matches, metric)


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def draw(chart: Chart, prefix: str) -> str:
    """Return a chart as an SVG element, with all text escaped.

    The `prefix` of its ids must differ from those of other charts.
    """
    import matplotlib
    from matplotlib.figure import Figure

    salt: Any = {"svg.hashsalt": prefix}
    with matplotlib.rc_context(salt, _STYLE):
        has_legend = list(chart.curves) != [chart.title]
        legend = _LEGEND_ROW * -(-len(chart.curves) // 2) if has_legend else 0
        height = _HEIGHT + legend
        figure = Figure(figsize=(_WIDTH, height))
        figure.subplots_adjust(0.13, (_BELOW + legend) / height, 0.98, 1 - 0.3 / height)
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(sorted(chart.curves.items())):
            axes.plot(
                *_thinned(points),
                color=_COLOURS[number % len(_COLOURS)],
                linestyle="-" if number < len(_COLOURS) else "--",
                marker="o" if len(points) <= _MAX_MARKERS else None,
                label=_no_math(name),
            )
        if chart.log_x:
            axes.set_xscale("log")
        elif _spans_decades(chart.curves):
            axes.set_yscale("log")
        axes.set_title(_no_math(chart.title))
        axes.set_xlabel(chart.x_label)
        if has_legend:
            figure.legend(loc="lower left", ncols=2)
        svg = io.StringIO()
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=no_metadata)
    return _for_inlining(svg.getvalue(), chart.title, prefix)


def _thinned(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, averaged over runs of neighbours to at most `_MAX_POINTS`."""
    runs = np.array_split(np.array(points), min(_MAX_POINTS, len(points)))
    x, y = np.array([run.mean(axis=0) for run in runs]).T
    return x, y


def _no_math(text: str) -> str:
    return text.replace("$", r"\$")  # which matplotlib takes for a formula's ends


def _spans_decades(curves: Curves) -> bool:
    values = [y for points in curves.values() for _, y in points]
    return min(values) > 0 and max(values) > 30 * min(values)


def _for_inlining(svg: str, title: str, prefix: str) -> str:
    """Drop the file's head, leave colours and size to the page, make ids unique."""
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", svg)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    size = r'(<svg\b[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"'
    svg = re.sub(size, r"\1\2", svg, count=1)
    label = f'<svg role="img" aria-label="{html.escape(title)}"'
    return svg.replace("<svg", label, 1)
