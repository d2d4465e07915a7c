"""The report of a run of System 2: Table I, its curve, and the phases."""

import itertools
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report import classification, page
from experiments.report.curves import Chart, curves_of, metric_charts
from experiments.report.page import Content, Section
from experiments.report.tables import (
    Column,
    Table,
    about_data,
    comparison,
    pivot,
    training_tables,
    transposed,
)
from jaxgrow.multiview.evaluation.views import PAPER_TABLE_1
from jaxgrow.storage import files


_METRICS = {  # title, unit, digits, cost
    "psnr": ("PSNR", ", dB", 2, operator.neg),
    "ssim": ("SSIM", "", 3, operator.neg),
    "coherence": ("coherence", ", %", 1, operator.neg),
    "lpips": ("LPIPS", "", 3, float),
    "fid": ("FID", "", 2, float),
}
_COLUMNS = {
    "parameters": "parameters",
    "steps": "steps",
    "wall_s": "time",
    "steps_per_s": "steps/s",
    "validation": "validation",
}
_NEEDS_WEIGHTS = "needs weights"


def content(run_dir: Path) -> Content:
    """Return Table I with its panel and curve, then what was trained."""
    path, log = run_dir / "views" / "table_1.json", run_dir / "metrics.jsonl"
    tables, facts = page.read(path, {}, lambda r: (table_one(r), headline(r)))
    curve = page.read(run_dir / "views" / "curve.json", [], curve_charts)
    trained_by_name = page.read(run_dir / "phases.json", {}, trained)
    panels = page.sample_panels(run_dir / "samples", r"([a-z]+)_(\d+)")
    with files.reading(log):
        rows = files.read_json_lines(log)
        charts = metric_charts(rows, "phase", "phase_step", "step")
    sections = [
        Section(
            "Views of test objects from one conditioning view",
            pictures=page.picture(run_dir / "views" / "panel.png"),
            alt="The conditioning view framed, the generated ones, and the real ones",
        ),
        Section("Quality of generated views (Table I)", tables=tables),
        Section("Quality against network evaluations", charts=curve),
        *classification.sections(run_dir),
        Section("Networks", tables=training_tables(trained_by_name, _COLUMNS)),
    ]
    sections += [
        Section(
            phase,
            level=3,
            pictures=panels.get(phase, []),
            charts=of_phase,
            alt=f"Output of {phase} for validation objects",
        )
        for phase, of_phase in charts.items()
    ]
    return Content(facts, sections)


def headline(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of the figures at the top."""
    if not found:
        return []
    facts = [("test objects", f"{found['num_objects']:,} ({found['data']})")]
    ours = _means(found)[found["rows"][0]["method"]]
    sizes = [size for size, metrics in ours.items() if metrics]
    for size in sorted({min(sizes, default=0), max(sizes, default=0)} - {0}):
        views = _counted(size)
        facts.append((f"PSNR, {views}", f"{ours[size]['psnr']:.2f} dB"))
        facts.append((f"coherence, {views}", f"{ours[size]['coherence']:.1f} %"))
    accuracy = found["coherence_classifier_accuracy"]
    facts.append(("coherence of real views", f"{accuracy:.1f} %"))
    facts.append(("network evaluations", f"{found['num_evaluations']:,}"))
    return facts


def _counted(size: int) -> str:
    return f"{size} conditioning view{'s' if size > 1 else ''}"


def _means(found: dict[str, Any]) -> dict[str, dict[int, dict[str, float]]]:
    """Method -> number of conditioning views -> metrics."""
    means: dict[str, dict[int, dict[str, float]]] = {}
    for row in found["rows"]:
        if not row["conditioning"]:
            of_size = means.setdefault(row["method"], {})
            of_size[row["num_conditioning"]] = row["metrics"]
    return means


def table_one(found: dict[str, Any]) -> list[Table]:
    """Return quality by the number of conditioning views, the paper's, and by set."""
    if not found:
        return []
    return [size_table(found), *paper_tables(found), *set_tables(found["rows"])]


def size_table(found: dict[str, Any]) -> Table:
    """Return the quality of every method by the number of conditioning views."""
    means = _means(found)
    some = next(iter(means.values()))
    measured = set().union(*some.values())
    columns = [
        Column(
            f"{title} {size}",
            {
                method: of_size[size][name]
                for method, of_size in means.items()
                if name in of_size[size]
            },
            digits,
            cost,
        )
        for name, (title, _, digits, cost) in _METRICS.items()
        for size in (sorted(some) if name in measured else ())
    ]
    absent = [title for name, (title, *_) in _METRICS.items() if name not in measured]
    columns += [Column(title, {}, 0, float, _NEEDS_WEIGHTS) for title in absent]
    footnote = (
        "PSNR is in dB, coherence in %, beside the number of conditioning views. "
        f"Coherence of real views: {found['coherence_classifier_accuracy']:.1f} %, its "
        "ceiling. Reconstruction is the real view through the autoencoder."
    )
    if absent:
        footnote += (
            f" {' and '.join(absent)} need feature networks whose weights are not in "
            "the package: see docs/weights.md."
        )
    title = "by the number of conditioning views"
    return comparison(title, list(means), columns, footnote)


def paper_tables(found: dict[str, Any]) -> list[Table]:
    """Return Table I of the paper beside the run's first method, with the differences.

    The paper's figures are those of Di Giacomo et al. (2024), as printed.
    """
    method, ours = next(iter(_means(found).items()))
    measured, cells = set().union(*ours.values()), {}
    for size, (name, printed) in itertools.product((1, 2, 3), PAPER_TABLE_1.items()):
        title, unit, digits, _ = _METRICS[name]
        text = "-" if name in measured else _NEEDS_WEIGHTS
        if name in ours.get(size, {}):
            text = f"{ours[size][name]:.{digits}f}"
        cells[(title + unit,), f"ours, {_counted(size)}"] = text
        cells[(title + unit,), f"the paper's, {size}"] = f"{printed[size - 1]:g}"
    accuracy = found["coherence_classifier_accuracy"]
    footnote = (
        f"{about_data(found['data'])}The paper has images of 64 px a side, this run "
        f"{found['size']}. "
        f"Ours is {method}: the mean over the sets of as many conditioning views and "
        "all missing views; the paper does not say how it averages. Coherence is by a "
        f"classifier trained here, right on {accuracy:.1f} % of real views; the paper "
        "fine-tunes another. SSIM has a Gaussian window of 11 x 11 px, sigma 1.5, and "
        "FID grows as images get fewer; the paper states neither its window nor its "
        "number of images. LPIPS is of SqueezeNet in both."
    )
    return pivot("Table I of the paper", ["metric"], cells, footnote)


def set_tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Return every method on every set of conditioning views, a table per metric."""
    of_sets = [row for row in rows if row["conditioning"]]
    methods = list(dict.fromkeys(row["method"] for row in of_sets))
    tables = []
    for name, (title, unit, digits, cost) in _METRICS.items():
        values: dict[str, dict[str, float]] = {}
        for row in of_sets:
            if name in row["metrics"]:
                of_set = values.setdefault(row["conditioning"], {})
                of_set[row["method"]] = row["metrics"][name]
        if values:
            columns = [Column(k, v, digits, cost) for k, v in values.items()]
            heading = f"{title}{unit}, by conditioning views"
            table = comparison(heading, methods, columns)
            table = transposed(table, "conditioning views")
            tables.append(table._replace(is_folded=bool(tables)))
    return tables


def curve_charts(points: Sequence[dict[str, Any]]) -> list[Chart]:
    """Return PSNR and coherence against cost, with a curve for every sampler."""
    axes = [
        ("PSNR, dB", "evaluations", "psnr"),
        ("Coherence, %", "evaluations", "coherence"),
        ("PSNR, dB, by time", "ms_per_object", "psnr"),
    ]
    charts = []
    for title, x, y in axes:
        measured = [p for p in points if x in p and y in p]
        curves = curves_of((p["sampler"], p[x], p[y]) for p in measured)
        charts.append(Chart(title, curves, x.replace("_", " "), log_x=True))
    return [chart for chart in charts if chart.curves]


def trained(phases: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the phases' networks and, of classifiers with equal programs, the first.

    A classifier that ran the compiled program of another has no note of its memory.
    """
    found: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    for name, entry in phases.items():
        if "/" not in name or "peak_memory_mb" in entry:
            memory = entry.get("peak_memory_mb"), entry.get("argument_mb")
            speed = {"steps_per_s": entry["steps"] / max(entry["wall_s"], 1e-9)}
            found.setdefault((name.split("-")[0], *memory), (name, entry | speed))
    return dict(found.values())
