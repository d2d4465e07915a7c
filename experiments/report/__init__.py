"""The report of a run: one HTML page that needs nothing else."""

from pathlib import Path

from experiments.report import inpainting, views
from experiments.report.page import read_json, write_page


def write_report(run_dir: Path) -> Path:
    """Writes report.html into a run directory and returns its path.

    Which system the run is one of, its config.json says.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    experiment = read_json(run_dir / "config.json", {}).get("experiment")
    kind = views if experiment == "nmr_dimvida" else inpainting
    return write_page(run_dir, kind.content(run_dir))
