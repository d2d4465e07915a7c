"""The report of a run of System 1."""

from pathlib import Path

from experiments.report import page
from experiments.report.curves import stage_curves
from experiments.report.page import Content, Section
from experiments.report.tables import (
    evaluation_tables,
    headline,
    memory_table,
    stage_table,
)
from jaxgrow.storage import files


_ALT = "Masked input, output, composite and original at {} px"


def content(run_dir: Path) -> Content:
    """Evaluation, then the stages, the largest first."""
    found = page.read_json(run_dir / "stages.json", [])
    stages = [stage for stage in found if isinstance(stage, dict)]
    rows = files.read_json_lines(run_dir / "metrics.jsonl")
    evaluation = page.read_json(run_dir / "evaluation" / "results.json", {})
    results = sorted(evaluation.get("results", []), key=lambda r: -r["resolution"])
    curves = stage_curves(rows)
    named = page.sample_panels(run_dir / "samples", r"r(\d+)_(\d+)")
    panels = {int(name): pictures for name, pictures in named.items()}
    panel = page.picture(run_dir / "evaluation" / "panel.png")
    by_name = [(f"{stage.get('resolution')} px", stage) for stage in stages]
    tables = stage_table(stages), memory_table(by_name)
    sections = [
        Section(
            "Evaluation on held-out photographs",
            tables=[t for result in results for t in evaluation_tables(result)],
            pictures=[panel] if panel else [],
            alt="Holes filled by every method, beside the original",
        ),
        Section("Stages", tables=[table for table in tables if table]),
    ]
    sections += [
        Section(
            f"{stage} px",
            level=3,
            pictures=panels.get(stage, []),
            charts=curves.get(stage, []),
            alt=_ALT.format(stage),
        )
        for stage in sorted({*panels, *curves}, reverse=True)
    ]
    top = headline(stages, rows, results, page.read_notes(run_dir))
    return Content(top, sections)
