"""Curves of the metrics as inline SVG that takes on the page's colours."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float


_MAX_POINTS = 300  # of one curve; longer ones are averaged down
_INK = "#010203"  # stands for the page's text colour, which a figure cannot know
# Mid-tones, each readable on white and on near-black.
_COLOURS = ("#3b82d6", "#e07a1f", "#2f9e6e", "#c94f8c", "#8a6fd1", "#9a8412", "#5f7d8c")
_SHARED_AXES = {
    "Generator losses": r"g/(?!grad_norm|learning_rate)",
    "Discriminator": r"d/(?!grad_norm|learning_rate)",
    "Gradient norms": r"grad|[gd]/grad_norm",
    "Learning rate": r"(.*/)?learning_rate",
}
_OWN_AXES = r"val|eval|fade"  # their units differ
_WIDTH, _TOP, _HEIGHT, _BOTTOM, _LEGEND_ROW = 3.5, 0.3, 1.55, 0.45, 0.17  # inches

Curve = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]
"""Steps and values of equal length."""


def stage_curves(rows: Sequence[dict[str, Any]]) -> dict[int, list[str]]:
    """Stage -> its charts as SVG, from the rows of metrics.jsonl.

    Rows without a stage, and values that are no finite numbers, are left out.
    """
    by_stage: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        if isinstance(row.get("stage"), int):
            by_stage.setdefault(row["stage"], []).append(row)
    charts = {}
    for stage, stage_rows in by_stage.items():
        curves = _curves(stage_rows)
        named = {
            title: {n: c for n, c in curves.items() if re.match(pattern, n)}
            for title, pattern in _SHARED_AXES.items()
        }
        alone = {n: {n: c} for n, c in curves.items() if re.match(_OWN_AXES, n)}
        charts[stage] = [
            _draw(title, shown, prefix=f"s{stage}c{number}")
            for number, (title, shown) in enumerate((named | alone).items())
            if shown
        ]
    return charts


def line_chart(
    title: str,
    points: dict[str, list[tuple[float, float]]],
    x_label: str,
    prefix: str,
    *,
    log_x: bool = True,
) -> str:
    """One chart as SVG, with a curve through the points of every name."""
    curves = {name: _as_curve(sorted(of_name)) for name, of_name in points.items()}
    return _draw(title, curves, prefix, x_label, log_x=log_x, marker="o")


def _as_curve(points: list[tuple[float, float]]) -> Curve:
    x, y = np.array(points, float).T
    return x, y


def _curves(rows: Sequence[dict[str, Any]]) -> dict[str, Curve]:
    """Name of a metric -> its curve over the steps of the stage."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        x: Any = row.get("stage_step", row.get("step"))
        if not _is_number(x):
            continue
        for name, y in row.items():
            if _is_number(y):
                points.setdefault(name, []).append((x, y))
    return {name: _thin(*np.array(p, float).T) for name, p in points.items()}


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and bool(np.isfinite(value))


def _thin(steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> Curve:
    """Means over runs of neighbouring points, at most `_MAX_POINTS` of them."""
    runs = min(_MAX_POINTS, len(steps))
    x, y = (
        np.array([run.mean() for run in np.array_split(array, runs)])
        for array in (steps, values)
    )
    return x, y


def _draw(
    title: str,
    curves: dict[str, Curve],
    prefix: str,
    x_label: str = "step of the stage",
    *,
    log_x: bool = False,
    marker: str | None = None,
) -> str:
    """One chart; `prefix` keeps its element ids apart from those of other charts."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": prefix,
        "font.family": "sans-serif",
        "font.size": 8.5,
        "text.color": _INK,
        "axes.edgecolor": _INK,
        "axes.labelcolor": _INK,
        "xtick.color": _INK,
        "ytick.color": _INK,
    }
    with matplotlib.rc_context(style):
        legend_rows = -(-len(curves) // 2) if list(curves) != [title] else 0
        legend = _LEGEND_ROW * legend_rows
        height = _TOP + _HEIGHT + _BOTTOM + legend
        figure = Figure(figsize=(_WIDTH, height))
        bottom = (_BOTTOM + legend) / height
        axes = figure.add_axes((0.13, bottom, 0.85, _HEIGHT / height))
        for number, (name, (steps, values)) in enumerate(sorted(curves.items())):
            axes.plot(
                steps,
                values,
                color=_COLOURS[number % len(_COLOURS)],
                linestyle="-" if number < len(_COLOURS) else "--",
                linewidth=1.3,
                marker="o" if len(steps) < 3 else marker,
                markersize=3,
                label=name,
            )
        if log_x:
            axes.set_xscale("log")
        elif _spans_decades(curves):
            axes.set_yscale("log")
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel(x_label)
        axes.grid(alpha=0.15, color=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        if legend_rows:
            figure.legend(
                loc="lower left", ncols=2, frameon=False, fontsize=8, borderaxespad=0
            )
        svg = io.StringIO()
        figure.savefig(
            svg,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None},
        )
    return _for_inlining(svg.getvalue(), title, prefix)


def _spans_decades(curves: dict[str, Curve]) -> bool:
    values = np.concatenate([values for _, values in curves.values()])
    return bool(values.min() > 0 and values.max() > 30 * values.min())


def _for_inlining(svg: str, title: str, prefix: str) -> str:
    """Drops the file's head, lets the page rule colours and size, makes ids unique."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(_INK, "currentColor")
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", svg)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    size = r'(<svg\b[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"'
    svg = re.sub(size, r"\1\2", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
