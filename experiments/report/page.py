"""The page of a report: its parts, and how it is written."""

import base64
import itertools
import json
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from flax.traverse_util import flatten_dict
from PIL import Image, UnidentifiedImageError

from experiments.report.curves import Chart, draw
from experiments.report.tables import Table
from jaxgrow.storage import files


_Found = TypeVar("_Found")
_TEMPLATE = Path(__file__).parent / "report.html.jinja"
_MAX_EARLIER = 3  # panels per group beside the last one


class Picture(NamedTuple):
    """A PNG as a data URI; width and height in pixels."""

    uri: str
    width: int
    height: int
    caption: str


class Section(NamedTuple):
    """A part of the page under a title of level 2 or 3; empty parts are left out.

    `alt` describes the pictures; all but the first picture are folded away.
    """

    title: str
    level: int = 2
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    charts: Sequence[Chart] = ()
    alt: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.tables or self.pictures or self.charts)


class Content(NamedTuple):
    """The part of a page that depends on the experiment.

    Attributes:
        headline: Name and value of the figures at the top.
        sections: In the order of the page.
        verdict: The result in a sentence or two.
    """

    headline: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    verdict: str = ""


def write_page(run_dir: Path, content: Content) -> Path:
    """Write report.html into a run directory and return its path.

    The page is self-contained: pictures are embedded, curves are inline SVG, there
    are no scripts and no addresses. Text from files is escaped. Parts whose files are
    missing are left out.

    Raises:
        UserError: A file of the run is damaged, or the disk is full, read-only or
            forbidden.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    number = itertools.count()
    versions = files.read_json(run_dir / "versions.json", dict, {})
    with files.reading(run_dir / "versions.json"):
        command = shlex.join(map(str, versions.pop("command", [])))
    page = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        name=run_dir.resolve().name,
        verdict=content.verdict,
        headline=content.headline,
        sections=content.sections,
        command=command,
        versions=_flatten(versions),
        config=_flatten(files.read_json(run_dir / "config.json", dict, {})),
        notes=read_notes(run_dir),
        draw=lambda chart: Markup(draw(chart, f"c{next(number)}")),
    )
    path = run_dir / "report.html"
    files.write_bytes(path, page.encode(errors="replace"))
    return path


def read_notes(run_dir: Path) -> list[str]:
    """Return the sentences that the run noted for its report."""
    return [str(note) for note in files.read_json(run_dir / "notes.json", list, [])]


def read(path: Path, absent: Any, use: Callable[[Any], _Found]) -> _Found:
    """Return what `use` makes of a JSON file, or of `absent` if there is none.

    Raises:
        UserError: The file is damaged, or does not hold what `use` looks for.
    """
    found = files.read_json(path, type(absent), absent)
    with files.reading(path):
        return use(found)


def _flatten(tree: dict[str, Any]) -> dict[str, str]:
    """Return the leaves as text, by dotted name."""
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in flatten_dict(tree, sep=".").items()
    }


def sample_panels(directory: Path, pattern: str) -> dict[str, list[Picture]]:
    """Return the last panel of every group, then earlier ones spread over the training.

    The `pattern` of a file's stem has two groups, the panel's group and its step; files
    that do not match are left out.
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
        shown = [picture(path, f"step {step:,}") for step, path in chosen]
        panels[group] = list(itertools.chain(*shown))
    return panels


def picture(path: Path, caption: str = "") -> list[Picture]:
    """Return the picture, or nothing if the file is missing or no whole picture."""
    try:
        with Image.open(path) as image:
            image.load()
            width, height = image.size
        data = base64.b64encode(path.read_bytes()).decode()
    except (OSError, UnidentifiedImageError):
        return []
    return [Picture(f"data:image/png;base64,{data}", width, height, caption)]
