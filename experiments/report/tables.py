"""The figures at the top of a report and its tables."""

import operator
import re
from collections.abc import Sequence
from typing import Any, NamedTuple


_STAGE_COLUMNS = {
    "resolution": "resolution, px",
    "parameters": "parameters",
    "trainable": "trainable",
    "steps": "steps",
    "images_seen": "images seen",
    "wall_s": "time",
    "steps_per_s": "steps/s",
    "ended_by": "ended by",
}
_EVALUATION_COLUMNS = {  # title, digits, cost: the lowest is best
    "psnr_hole": ("PSNR hole, dB", 2, operator.neg),
    "ssim_hole": ("SSIM hole", 3, operator.neg),
    "l1_hole": ("L1 hole", 4, float),
    "hf_error": ("HF error, dB", 1, float),
    "mosaic": ("mosaic", 3, abs),
}
_FEATURE_METRICS = {"lpips": ("LPIPS", 3, float), "fid": ("FID", 1, float)}
_HARDER = "10-50"


class Table(NamedTuple):
    """Cells as text; `best` holds the (row, column) of the best figures.

    A table that `is_folded` shows its title until it is asked for.
    """

    title: str
    head: list[str]
    rows: list[list[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    footnote: str = ""
    is_folded: bool = False


def headline(
    stages: Sequence[dict[str, Any]],
    rows: Sequence[dict[str, Any]],
    results: Sequence[dict[str, Any]],
    notes: Sequence[str],
) -> list[tuple[str, str]]:
    """Name and value of the figures at the top, those that are known."""
    facts = []
    if stages:
        facts.append(("final stage", f"{_show('resolution', stages[-1])} px"))
        facts.append(("generator parameters", _show("parameters", stages[-1])))
        wall_s = sum((stage.get("wall_s") or 0.0 for stage in stages), start=0.0)
        facts.append(("training time", duration(wall_s)))
    for result in sorted(results, key=lambda r: r["resolution"])[-1:]:
        facts += _best_numbers(result)
    if not results:
        facts += _last_validation(rows)
    about = [note for note in notes if note.lower().startswith("perceptual")]
    if about:
        text = re.sub(r"(?i)^perceptual term:? ", "", about[0])
        brief = re.split(r": | at | from | \(", text)[0]  # the notes tell the rest
        facts.append(("perceptual term", brief))
    elif rows:
        is_on = any("perceptual" in name for row in rows for name in row)
        facts.append(("perceptual term", "on" if is_on else "off"))
    return facts


def _best_numbers(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Hole PSNR of the trained net, and of the best of the others, holes of 10-50 %."""
    reference, resolution = result.get("reference"), result["resolution"]
    psnr = {
        row["method"]: row["metrics"]["psnr_hole"]
        for row in result["rows"]
        if row["bin"] == _HARDER and row["metrics"].get("psnr_hole") is not None
    }
    if reference not in psnr:
        return []
    own = psnr.pop(reference)
    facts = [(f"hole PSNR at {resolution} px, holes of 10-50 %", f"{own:.2f} dB")]
    if psnr:
        best = max(psnr, key=lambda method: psnr[method])
        facts.append(
            (f"against the best other ({best})", f"{own - psnr[best]:+.2f} dB")
        )
    return facts


def _last_validation(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    for row in reversed(rows):
        found = [
            (name.replace("_", " "), f"{value:.4g}")
            for name, value in row.items()
            if name.startswith("val") and isinstance(value, int | float)
        ]
        if found:
            return found
    return []


def stage_table(stages: Sequence[dict[str, Any]]) -> Table | None:
    names = [n for n in _STAGE_COLUMNS if any(s.get(n) is not None for s in stages)]
    if not names:
        return None
    cells = [[_show(name, stage) for name in names] for stage in stages]
    return Table("", [_STAGE_COLUMNS[name] for name in names], cells)


def memory_table(entries: Sequence[tuple[str, dict[str, Any]]]) -> Table | None:
    """What a training step took, by the name of the stage or network.

    Args:
        entries: What `devices.memory.describe` noted, among other things; entries
            without a step are left out.
    """
    known = [(name, entry) for name, entry in entries if "peak_memory_mb" in entry]
    if not known:
        return None
    names = ("peak_memory_mb", "argument_mb", "examples_per_gib", "measured_mb")
    head = ["", "a step, MB", "weights, moments, data, MB", "examples per further GiB"]
    footnote = (
        "For one device. The first three are computed from the compiled program. "
    )
    footnote += {
        "device": "Measured is the most that its allocator has counted by the end, "
        "since the process began.",
        "process": "Measured is the most that the process has held by the end, since "
        "it began, with all that is in it: this device counts nothing itself.",
    }.get(known[-1][1].get("measured_by", ""), "")
    rows = [[name, *(_show(n, entry) for n in names)] for name, entry in known]
    return Table("memory", [*head, "measured, MB"], rows, footnote=footnote.strip())


def _show(name: str, stage: dict[str, Any]) -> str:
    value = stage.get(name)
    if value is None:
        return "-"
    if name == "wall_s":
        return duration(value)
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def evaluation_tables(result: dict[str, Any]) -> list[Table]:
    """All metrics for holes of 10-50 %, then hole PSNR by size of the hole.

    Under the first stands what LPIPS and FID need, or what to know of them.
    """
    found = {(row["method"], row["bin"]): row["metrics"] for row in result["rows"]}
    methods = list(dict.fromkeys(method for method, _ in found))
    bins = list(dict.fromkeys(bin for _, bin in found))
    shown = _HARDER if _HARDER in bins else bins[-1]
    missing = result.get("missing") or {}
    footnote = "; ".join(f"{method}: {why}" for method, why in missing.items())
    labels = result.get("labels") or {}
    known = dict(_EVALUATION_COLUMNS)
    for metric, title in labels.items():
        known[metric] = (title, *_FEATURE_METRICS[metric][1:])
    needs = (result.get("needs") or {}).items()
    remarks = [f"{_FEATURE_METRICS[metric][0]} {text}" for metric, text in needs]
    remarks += result.get("notes") or []
    place = f"{result['resolution']} px, {result.get('num_photos', '?')} photographs"

    def table(title: str, columns: Sequence[tuple[str, str, str]]) -> Table:
        rows, best = [[method] for method in methods], set()
        for number, (_, metric, bin) in enumerate(columns, start=1):
            _, digits, cost = known[metric]
            values = [found.get((m, bin), {}).get(metric) for m in methods]
            lowest = min((cost(v) for v in values if v is not None), default=None)
            for row, value in enumerate(values):
                rows[row].append("-" if value is None else f"{value:.{digits}f}")
                if value is not None and cost(value) == lowest:
                    best.add((row, number))
        head = ["method", *(name for name, _, _ in columns)]
        return Table(title, head, rows, frozenset(best))

    metrics = [(title, name, shown) for name, (title, *_) in known.items()]
    by_bin = [(f"{b} %" if b[0].isdigit() else b, "psnr_hole", b) for b in bins]
    size = f"holes of {shown} %" if shown[0].isdigit() else "all holes"
    return [
        table(f"{place}: {size}", metrics)._replace(footnote="; ".join(remarks)),
        table(f"{place}: hole PSNR in dB by percent of the area", by_bin)._replace(
            footnote=footnote
        ),
    ]
