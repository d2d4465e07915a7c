"""The report's page, from what lies in the run directory."""

import base64
import json
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from jaxgrow import files
from jaxgrow.report.curves import stage_curves
from jaxgrow.report.tables import evaluation_tables, headline, stage_table


_TEMPLATE = Path(__file__).parents[1] / "report.html.jinja"
_MAX_EARLIER = 3  # panels per stage beside the last one


class Picture(NamedTuple):
    """A PNG as a data URI; width and height in pixels."""

    uri: str
    width: int
    height: int
    caption: str


def write_report(run_dir: Path) -> Path:
    """Writes report.html into a run directory and returns its path.

    The page needs nothing else: pictures are embedded, curves are inline SVG, there
    are no scripts and no addresses. Parts whose files are missing are left out.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    import jinja2
    from markupsafe import Markup

    versions = _flatten(_read_json(run_dir / "versions.json", {}))
    stages = [s for s in _read_json(run_dir / "stages.json", []) if isinstance(s, dict)]
    notes = [str(note) for note in _read_json(run_dir / "notes.json", [])]
    rows = files.read_json_lines(run_dir / "metrics.jsonl")
    evaluation = _read_json(run_dir / "evaluation" / "results.json", {})
    results = sorted(evaluation.get("results", []), key=lambda r: -r["resolution"])
    curves = stage_curves(rows)
    panels = _sample_panels(run_dir / "samples")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        name=run_dir.resolve().name,
        headline=headline(stages, rows, results, notes),
        stages=sorted({*panels, *curves}),
        panels=panels,
        curves={stage: [Markup(svg) for svg in c] for stage, c in curves.items()},
        evaluation=[table for result in results for table in evaluation_tables(result)],
        evaluation_panel=_picture(run_dir / "evaluation" / "panel.png"),
        stage_table=stage_table(stages),
        versions=versions,
        config=_flatten(_read_json(run_dir / "config.json", {})),
        command=shlex.join(map(str, _read_json(run_dir / "command.json", []))),
        notes=notes,
    )
    path = run_dir / "report.html"
    files.write_bytes(path, page.encode())
    return path


def _read_json(path: Path, absent: Any) -> Any:
    """What the file holds if it is there, whole and of the type of `absent`."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return absent
    return found if isinstance(found, type(absent)) else absent


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted name -> value as text."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value)
            flat[prefix + name] = text
    return flat


def _sample_panels(directory: Path) -> dict[int, list[Picture]]:
    """Stage -> its last panel, then earlier ones spread over the stage.

    The names are r<resolution>_<step>.png; other files are left out.
    """
    found: dict[int, list[tuple[int, Path]]] = {}
    for path in directory.glob("*.png"):
        if match := re.fullmatch(r"r(\d+)_(\d+)", path.stem):
            stage, step = map(int, match.groups())
            found.setdefault(stage, []).append((step, path))
    panels = {}
    for stage, samples in found.items():
        *earlier, last = sorted(samples)
        stride = max(1, -(-len(earlier) // _MAX_EARLIER))
        chosen = [last, *earlier[::stride]]
        pictures = [_picture(path, f"step {step:,}") for step, path in chosen]
        panels[stage] = [picture for picture in pictures if picture]
    return panels


def _picture(path: Path, caption: str = "") -> Picture | None:
    """None if the file is missing or no whole picture."""
    try:
        with Image.open(path) as image:
            image.load()
            width, height = image.size
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, UnidentifiedImageError):
        return None
    return Picture(f"data:image/png;base64,{data}", width, height, caption)
