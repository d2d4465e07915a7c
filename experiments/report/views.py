"""Table I, its curve and the phases of a run of System 2, for its report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report import classification, page
from experiments.report.curves import line_chart
from experiments.report.page import Content, Section
from experiments.report.tables import Table, duration, memory_table
from jaxgrow.storage import files


_METRICS = {  # title, digits
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "coherence": ("coherence, %", 1),
    "lpips": ("LPIPS", 3),
    "fid": ("FID", 2),
}
_COSTS = ("lpips", "fid")  # less is better
_CEILING = "(ceiling)"


def content(run_dir: Path) -> Content:
    """Table I with its panel and curve, then what was trained."""
    found = page.read_json(run_dir / "views" / "table_1.json", {})
    points = page.read_json(run_dir / "views" / "curve.json", [])
    phases = page.read_json(run_dir / "phases.json", {})
    rows = files.read_json_lines(run_dir / "metrics.jsonl")
    panels = page.sample_panels(run_dir / "samples", r"([a-z]+)_(\d+)")
    panel = page.picture(run_dir / "views" / "panel.png")
    trained = phase_table(phases), memory_table(of_programs(phases))
    sections = [
        Section(
            "Views of test objects from the one that is known",
            pictures=[panel] if panel else [],
            alt="The given view framed, the generated ones, and the real ones",
        ),
        Section("Quality of generated views (Table I)", tables=table_one(found)),
        Section("Quality against network evaluations", charts=curve_charts(points)),
        *classification.sections(run_dir),
        Section("Networks", tables=[table for table in trained if table]),
    ]
    sections += [
        Section(
            phase,
            level=3,
            pictures=panels.get(phase, []),
            charts=phase_charts(phase, rows),
            alt=f"What {phase} makes of validation objects",
        )
        for phase in dict.fromkeys(row["phase"] for row in rows if "phase" in row)
    ]
    return Content(headline(found), sections)


def phase_charts(phase: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    """Every metric of a phase against its steps."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.get("phase") != phase:
            continue
        for name, value in row.items():
            if isinstance(value, float) and name != "steps_per_s":
                curves.setdefault(name, []).append((float(row["phase_step"]), value))
    return [
        line_chart(name, {name: points}, "step", f"{phase}{number}", log_x=False)
        for number, (name, points) in enumerate(sorted(curves.items()))
    ]


def headline(table: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of the figures at the top."""
    if not table:
        return []
    ours = {
        row["num_given"]: row["metrics"]
        for row in table["rows"]
        if row["method"] == table["rows"][0]["method"] and not row["given"]
    }
    facts = [("test objects", f"{table['num_objects']:,} ({table['data']})")]
    for size in (min(ours), max(ours)):
        views = f"{size} view{'s' if size > 1 else ''} given"
        facts.append((f"PSNR, {views}", f"{ours[size]['psnr']:.2f} dB"))
        facts.append((f"coherence, {views}", f"{ours[size]['coherence']:.1f} %"))
    facts.append(
        ("coherence of real views", f"{table['coherence_classifier_accuracy']:.1f} %")
    )
    facts.append(("network evaluations", f"{table['num_evaluations']:,}"))
    return facts


def table_one(found: dict[str, Any]) -> list[Table]:
    """Quality by the number of given views, then by which they are."""
    if not found:
        return []
    means = [row for row in found["rows"] if not row["given"]]
    metrics = [name for name in _METRICS if name in means[0]["metrics"]]
    sizes = sorted({row["num_given"] for row in means})
    by = {(row["method"], row["num_given"]): row["metrics"] for row in means}
    methods = list(dict.fromkeys(method for method, _ in by))
    head = ["method"]
    head += [f"{name} {size}" for name in metrics for size in sizes]
    unmeasured = [_METRICS[name][0] for name in _COSTS if name not in metrics]
    head += unmeasured
    absent = ["needs weights"] * len(unmeasured)
    rows = [
        [m, *(_cell(by[m, s], name) for name in metrics for s in sizes), *absent]
        for m in methods
    ]
    real = (
        "PSNR is in dB, coherence in %, beside the number of given views. Coherence of "
        f"real views: {found['coherence_classifier_accuracy']:.1f} %, its ceiling. "
    )
    missing = "Reconstruction is the real view through the autoencoder. "
    if unmeasured:
        missing += (
            f"{' and '.join(unmeasured)} need feature networks whose weights are not "
            "in the package: see docs/weights.md."
        )
    sized = Table(
        "by the number of given views",
        head,
        rows,
        _best(methods, metrics, sizes, by),
        real + missing,
    )
    return [sized, *by_given(found["rows"], methods)]


def by_given(rows: Sequence[dict[str, Any]], methods: Sequence[str]) -> list[Table]:
    """Every method on every set of given views, a table for each metric."""
    of_sets = [row for row in rows if row["given"]]
    by = {(row["given"], row["method"]): row["metrics"] for row in of_sets}
    sets = list(dict.fromkeys(row["given"] for row in of_sets))
    tables = []
    for name in (n for n in _METRICS if n in of_sets[0]["metrics"]):
        cells = [
            [given, *(_cell(by[given, m], name) for m in methods)] for given in sets
        ]
        best = {
            (line, methods.index(m) + 1)
            for line, given in enumerate(sets)
            for m in _winners({m: by[given, m][name] for m in methods}, name)
        }
        title = f"{_METRICS[name][0]}, by given views"
        folded = bool(tables)
        tables.append(
            Table(title, ["given", *methods], cells, frozenset(best), is_folded=folded)
        )
    return tables


def _cell(metrics: dict[str, float], name: str) -> str:
    return f"{metrics[name]:.{_METRICS[name][1]}f}"


def _best(methods, metrics, sizes, by) -> frozenset[tuple[int, int]]:
    columns = [(name, size) for name in metrics for size in sizes]
    return frozenset(
        (methods.index(m), column)
        for column, (name, size) in enumerate(columns, start=1)
        for m in _winners({m: by[m, size][name] for m in methods}, name)
    )


def _winners(values: dict[str, float], metric: str) -> list[str]:
    """The methods with the best value, ceilings aside."""
    rivals = {m: value for m, value in values.items() if _CEILING not in m}
    top = (min if metric in _COSTS else max)(rivals.values())
    return [m for m, value in rivals.items() if value == top]


def curve_charts(points: Sequence[dict[str, Any]]) -> list[str]:
    """PSNR and coherence against evaluations, and PSNR against time, by sampler."""
    axes = [
        ("evaluations", "psnr", "PSNR, dB"),
        ("evaluations", "coherence", "Coherence, %"),
        ("ms_per_object", "psnr", "PSNR, dB, by time"),
    ]
    charts = []
    for number, (x, y, title) in enumerate(axes):
        curves: dict[str, list[tuple[float, float]]] = {}
        for point in points:
            if x in point and y in point:
                at = float(point[x]), float(point[y])
                curves.setdefault(point["sampler"], []).append(at)
        if curves:
            charts.append(line_chart(title, curves, x.replace("_", " "), f"v{number}"))
    return charts


def phase_table(phases: dict[str, Any]) -> Table | None:
    """What was trained, how long."""
    if not phases:
        return None
    head = ["network", "parameters", "steps", "time", "steps/s", "validation"]
    rows = [
        [
            name,
            f"{entry['parameters']:,}",
            f"{entry['steps']:,}",
            duration(entry["wall_s"]),
            f"{entry['steps'] / max(entry['wall_s'], 1e-9):,.1f}",
            ", ".join(f"{n} {v:.4g}" for n, v in entry["validation"].items()),
        ]
        for name, entry in phases.items()
        if "/" not in name  # one of many classifiers, which have tables of their own
    ]
    return Table("", head, rows)


def of_programs(phases: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Networks with what their memory was; of equal classifiers the first.

    A training that ran another's program has noted nothing of it.
    """
    found: dict[tuple[Any, ...], tuple[str, dict[str, Any]]] = {}
    for name, entry in phases.items():
        phase, _, training = name.partition("/")
        network = training.partition("-")[0]
        figures = entry.get("peak_memory_mb"), entry.get("argument_mb")
        key = (phase, network, *figures)
        found.setdefault(key, (f"{phase}, {network}" if network else phase, entry))
    return list(found.values())
