"""The report of a run: one self-contained HTML page."""

from pathlib import Path

from experiments.report import inpainting, views
from experiments.report.page import read_json, write_page


def write_report(run_dir: Path) -> Path:
    """Write report.html into a run directory and return its path.

    The run's config.json names its experiment.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    experiment = read_json(run_dir / "config.json", {}).get("experiment")
    kind = views if experiment == "nmr_dimvida" else inpainting
    return write_page(run_dir, kind.content(run_dir))
