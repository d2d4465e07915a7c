"""The report of a run of System 1."""

import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.report import page
from experiments.report.curves import metric_charts
from experiments.report.page import Content, Section
from experiments.report.tables import Column, Table, comparison, show, training_tables
from jaxgrow.inpainting.baselines import BASELINES
from jaxgrow.inpainting.evaluation.compare import HARDER, OVERALL
from jaxgrow.storage import files


_STAGE_COLUMNS = {
    "parameters": "parameters",
    "trainable": "trainable",
    "steps": "steps",
    "images_seen": "images seen",
    "wall_s": "time",
    "steps_per_s": "steps/s",
    "ended_by": "ended by",
}
_METRICS = {  # title, digits, cost
    "psnr_hole_pooled": ("PSNR hole, pooled", 2, operator.neg),
    "psnr_hole": ("PSNR hole, dB", 2, operator.neg),
    "ssim_hole": ("SSIM hole", 3, operator.neg),
    "l1_hole": ("L1 hole", 4, float),
    "hf_error": ("HF error, dB", 1, float),
    "mosaic": ("mosaic", 3, abs),
}
_FEATURE_METRICS = {"lpips": ("LPIPS", 3, float), "fid": ("FID", 1, float)}
_MEANS = {
    "psnr_hole_pooled": "pooled over all holes",
    "psnr_hole": "in the mean over pictures",
}


def content(run_dir: Path) -> Content:
    """Return the evaluation, then the stages, the largest first."""
    log, evaluation = run_dir / "metrics.jsonl", run_dir / "evaluation" / "results.json"
    stages, stage_facts = page.read(run_dir / "stages.json", [], _of_stages)
    tables, verdict = page.read(evaluation, {}, _of_evaluation)
    panels = page.sample_panels(run_dir / "samples", r"r0*(\d+)_(\d+)")
    with files.reading(log):
        rows = files.read_json_lines(log)
        charts = metric_charts(rows, "stage", "stage_step", "step of the stage")
        names = sorted({*panels, *charts}, key=int, reverse=True)
    sections = [
        Section(
            "Evaluation on held-out photographs",
            tables=tables,
            pictures=page.picture(run_dir / "evaluation" / "panel.png"),
            alt="Holes filled by every method, beside the original",
        ),
        Section("Stages", tables=stages),
    ]
    sections += [
        Section(
            f"{stage} px",
            level=3,
            pictures=panels.get(stage, []),
            charts=charts.get(stage, []),
            alt=f"Masked input, output, composite and original at {stage} px",
        )
        for stage in names
    ]
    facts = [*stage_facts, *([] if verdict else _last_validation(rows))]
    prefix = "perceptual term "
    notes = page.read_notes(run_dir)
    terms = [n.removeprefix(prefix) for n in notes if n.startswith(prefix)]
    facts += [("perceptual term", term.partition(":")[0]) for term in terms]
    return Content(facts, sections, verdict)


def _of_stages(
    stages: Sequence[dict[str, Any]],
) -> tuple[list[Table], list[tuple[str, str]]]:
    """Return the table of the stages, and their figures for the top."""
    if not stages:
        return [], []
    by_name = {f"{stage.get('resolution')} px": stage for stage in stages}
    wall_s = sum(stage.get("wall_s") or 0.0 for stage in stages)
    return training_tables(by_name, _STAGE_COLUMNS), [
        ("final stage", f"{show(stages[-1].get('resolution'))} px"),
        ("generator parameters", show(stages[-1].get("parameters"))),
        ("training time", show(wall_s, "wall_s")),
    ]


def _of_evaluation(found: dict[str, Any]) -> tuple[list[Table], str]:
    """Return the tables and the verdicts, the largest stage first."""
    results = sorted(found.get("results", []), key=lambda r: -r["resolution"])
    tables = [t for result in results for t in evaluation_tables(result)]
    return tables, " ".join(map(_verdict, results))


def _verdict(result: dict[str, Any]) -> str:
    """Return the generator's gains over the best classical method, in a sentence."""
    gains = {(d["metric"], d["bin"], d["baseline"]): d for d in result["differences"]}
    clauses = []
    for metric, over in _MEANS.items():
        rivals = [gains[key] for key in gains if key[:2] == (metric, OVERALL)]
        rivals = [rival for rival in rivals if rival["baseline"] in BASELINES]
        if not rivals:
            continue
        gain = min(rivals, key=operator.itemgetter("mean"))
        place = "ahead of" if gain["low"] > 0 else "behind"
        place = "level with" if gain["low"] <= 0 <= gain["high"] else place
        clauses.append(
            f"{over} it is {place} {gain['baseline']}, the best of them "
            f"({gain['mean']:+.2f} dB, 95 % interval {gain['low']:+.2f} to "
            f"{gain['high']:+.2f})"
        )
    if not clauses:
        return ""
    return (
        f"The generator of {result['resolution']} px beside the classical methods, by "
        f"PSNR in the hole: {'; '.join(clauses)}."
    )


def _last_validation(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    for row in reversed(rows):
        if found := [
            (name.replace("_", " "), f"{value:.4g}")
            for name, value in row.items()
            if name.startswith("val") and isinstance(value, int | float)
        ]:
            return found
    return []


def evaluation_tables(result: dict[str, Any]) -> list[Table]:
    """Return all metrics for holes of 10-50 %, then hole PSNR by size of the hole.

    The first has a footnote on LPIPS and FID, the others on methods that did not run.
    """
    found = {(row["method"], row["bin"]): row["metrics"] for row in result["rows"]}
    methods = list(dict.fromkeys(method for method, _ in found))
    bins = list(dict.fromkeys(bin for _, bin in found))
    shown = HARDER if HARDER in bins else bins[-1]
    metrics = dict(_METRICS)
    for name, title in (result.get("labels") or {}).items():
        metrics[name] = (title, *_FEATURE_METRICS[name][1:])
    needs = (result.get("needs") or {}).items()
    remarks = [f"{_FEATURE_METRICS[name][0]} {text}" for name, text in needs]
    remarks += result.get("notes") or []
    missing = (result.get("missing") or {}).items()
    reasons = "; ".join(f"{method}: {why}" for method, why in missing)
    place = f"{result['resolution']} px, {result.get('num_photos', '?')} photographs"
    size = f"holes of {shown} %" if shown[0].isdigit() else "all holes"

    def column(title: str, name: str, bin: str) -> Column:
        values = {m: found.get((m, bin), {}).get(name) for m in methods}
        return Column(title, values, *metrics[name][1:])

    by_metric = [column(title, name, shown) for name, (title, *_) in metrics.items()]
    titles = [f"{bin} %" if bin[0].isdigit() else bin for bin in bins]
    by_area = [
        comparison(
            f"{place}: hole PSNR in dB, {over}, by percent of the area",
            methods,
            [column(t, metric, b) for t, b in zip(titles, bins, strict=True)],
            reasons,
        )
        for metric, over in _MEANS.items()
    ]
    by_metric = comparison(f"{place}: {size}", methods, by_metric, "; ".join(remarks))
    return [by_metric, *by_area]
