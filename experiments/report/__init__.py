"""The report of a run: one self-contained HTML page."""

from pathlib import Path

from experiments.report import inpainting, views
from experiments.report.page import write_page
from jaxgrow.storage import files


def write_report(run_dir: Path) -> Path:
    """Write report.html into a run directory and return its path.

    The run's config.json names its experiment.

    Raises:
        UserError: A file of the run is damaged, or the disk is full, read-only or
            forbidden.
    """
    config = files.read_json(run_dir / "config.json", dict, {})
    kind = views if config.get("experiment") == "nmr_dimvida" else inpainting
    return write_page(run_dir, kind.content(run_dir))
