"""The page of a report: its parts, and how they are written."""

import base64
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, UnidentifiedImageError

from experiments.report.tables import Table
from jaxgrow.storage import files


_TEMPLATE = Path(__file__).parent / "report.html.jinja"
_MAX_EARLIER = 3  # panels per stage beside the last one


class Picture(NamedTuple):
    """A PNG as a data URI; width and height in pixels."""

    uri: str
    width: int
    height: int
    caption: str


class Section(NamedTuple):
    """A part of the page under a title of level 2 or 3; empty parts are left out.

    `alt` says what the pictures show; all but the first picture are folded away.
    """

    title: str
    level: int = 2
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    charts: Sequence[str] = ()
    alt: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.tables or self.pictures or self.charts)


class Content(NamedTuple):
    """What tells one run's page from another's."""

    headline: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def write_page(run_dir: Path, content: Content) -> Path:
    """Writes report.html into a run directory and returns its path.

    The page needs nothing else: pictures are embedded, curves are inline SVG, there
    are no scripts and no addresses. Parts whose files are missing are left out.

    Raises:
        UserError: The disk is full, read-only or forbidden.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sections = [
        section._replace(charts=[Markup(svg) for svg in section.charts])
        for section in content.sections
    ]
    page = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        name=run_dir.resolve().name,
        headline=content.headline,
        sections=sections,
        versions=_flatten(read_json(run_dir / "versions.json", {})),
        config=_flatten(read_json(run_dir / "config.json", {})),
        command=shlex.join(map(str, read_json(run_dir / "command.json", []))),
        notes=read_notes(run_dir),
    )
    path = run_dir / "report.html"
    files.write_bytes(path, page.encode())
    return path


def read_notes(run_dir: Path) -> list[str]:
    """What the run noted for its report."""
    return [str(note) for note in read_json(run_dir / "notes.json", [])]


def read_json(path: Path, absent: Any) -> Any:
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


def sample_panels(directory: Path, pattern: str) -> dict[str, list[Picture]]:
    """Group -> its last panel, then earlier ones spread over the training.

    `pattern` has two groups of a file's stem, the panel's group and its step; files
    that it does not fit are left out.
    """
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in directory.glob("*.png"):
        if match := re.fullmatch(pattern, path.stem):
            found.setdefault(match[1], []).append((int(match[2]), path))
    panels = {}
    for group, samples in found.items():
        *earlier, last = sorted(samples)
        stride = max(1, -(-len(earlier) // _MAX_EARLIER))
        chosen = [last, *earlier[::stride]]
        pictures = [picture(path, f"step {step:,}") for step, path in chosen]
        panels[group] = [p for p in pictures if p]
    return panels


def picture(path: Path, caption: str = "") -> Picture | None:
    """None if the file is missing or no whole picture."""
    try:
        with Image.open(path) as image:
            image.load()
            width, height = image.size
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, UnidentifiedImageError):
        return None
    return Picture(f"data:image/png;base64,{data}", width, height, caption)
