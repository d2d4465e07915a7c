"""Tables of docs/performance.md, written from the JSON files of results.

    python -m benchmarks.table

A table stands between `<!-- NAME -->` and `<!-- end of NAME -->`. A name is
`speed DEVICE`, `memory DEVICE`, `behind DEVICE` or `targets DEVICE`, where DEVICE is a
folder of results.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import targets
from benchmarks.targets import Target


_HERE = Path(__file__).parent
_NOTHING = "Nothing has been measured yet."
_BLOCK = re.compile(r"<!-- (?!end of )([^>]+?) -->\n.*?<!-- end of \1 -->", re.DOTALL)

Found = Mapping[str, Any]


def line(found: Found) -> str:
    """Return a workload as one line for the terminal."""
    times = ", ".join(f"{name} {ms:g} ms" for name, ms in found["ms"].items())
    ratio = f", {found['ratio']:.2f} times" if "ratio" in found else ""
    share = ""
    if "share_of_limit" in found:
        share = f", {found['share_of_limit']:.0%} of the limit"
    return f"{found['workload']}: {times}{ratio}{share}"


def read_results(folder: Path) -> list[Found]:
    """Read the workloads of a device, in the order of their files' names."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return [f for f in found if "workload" in f]


def speed_table(results: Sequence[Found]) -> str:
    """Build the table of time, ratio, rate, cost and limit of every workload."""
    rows = []
    for found in results:
        ours, others = _sides(found)
        name = min(others, key=others.__getitem__) if others else None
        rows.append(
            [
                found["title"],
                _number(ours),
                f"{_number(others[name])} ({name})" if name else "",
                f"{found['ratio']:.2f}" if name else "",
                f"{found['cpu_ratio']:.2f}" if name else "",
                f"{_number(found['per_s'])} {found['unit']}",
                _number(found.get("gflop")),
                _number(found.get("gbytes")),
                _number(found.get("limit_ms")),
                f"{found['share_of_limit']:.0%}" if "share_of_limit" in found else "",
            ]
        )
    head = ["workload", "ours, ms", "fastest other, ms", "ratio", "of CPU time"]
    head += ["per second", "GFLOP", "GB", "limit, ms", "share of it"]
    return f"{_conditions(results)}\n\n{markdown(head, rows, left=1)}"


def memory_table(results: Sequence[Found]) -> str:
    """Build the table of peak memory, for every workload that has a batch."""
    rows = [
        [
            found["title"],
            str(found["batch_size"]),
            _number(found["arguments_mib"]),
            _number(found["peak_mib"]),
            f"{found['batch_per_gib']:,}",
        ]
        for found in results
        if "batch_per_gib" in found
    ]
    head = ["step", "batch", "weights, moments, data, MiB", "peak, MiB"]
    return markdown([*head, "examples per further GiB"], rows, left=1)


def behind_list(results: Sequence[Found]) -> str:
    """List the workloads in which another library is quicker, worst first."""
    slower = [f for f in results if f.get("ratio", 1.0) < 1.0]
    if not slower:
        return "No workload is behind."
    return "\n".join(
        f"- {f['title']}: {f['ratio']:.2f} by the clock, {f['cpu_ratio']:.2f} of CPU "
        "time"
        for f in sorted(slower, key=lambda f: f["ratio"])
    )


def targets_table(reached: Sequence[Target]) -> str:
    """Build the table of goals for one GPU beside the measurements."""
    rows = [
        [t.name, t.goal, t.measured, "yes" if t.is_reached else "no"] for t in reached
    ]
    return markdown(["task", "goal", "measured", "reached"], rows, left=1)


def _targets_of(results: Sequence[Found]) -> str:
    reached = targets.targets(results)
    return targets_table(reached) if reached else _NOTHING


_BY_DEVICE: dict[str, Callable[[Sequence[Found]], str]] = {
    "speed": speed_table,
    "memory": memory_table,
    "behind": behind_list,
    "targets": _targets_of,
}


def render(page: str, results: Path) -> str:
    """Return `page` with every table rebuilt from the files below `results`."""

    def block(match: re.Match[str]) -> str:
        name = match.group(1)
        kind, _, device = name.partition(" ")
        found = read_results(results / device)
        text = _BY_DEVICE[kind](found) if found else _NOTHING
        return f"<!-- {name} -->\n\n{text}\n\n<!-- end of {name} -->"

    return _BLOCK.sub(block, page)


def rewrite(page: Path, results: Path) -> None:
    """Rebuild the tables of a page in place."""
    page.write_text(render(page.read_text(), results))


def _sides(found: Found) -> tuple[float, dict[str, float]]:
    others = dict(found["ms"])
    return others.pop("jaxgrow"), others


def _conditions(results: Sequence[Found]) -> str:
    devices = sorted({f"{f['device']}, {f['cpus']} CPUs" for f in results})
    versions = results[0]["versions"]
    peaks = [f["peak"] for f in results]
    loads = [f["load_average"] for f in results]

    def span(values: Sequence[float]) -> str:
        low, high = min(values), max(values)
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    own = f" (the benchmark itself is about {results[0]['cpus']})"
    on_cpu = all(f["device"] == "cpu" for f in results)
    return (
        f"{'; '.join(devices)}; JAX {versions['jax']}, PyTorch {versions['torch']}; "
        f"measured peak {span([p['gflops_per_s'] for p in peaks])} GFLOP/s and "
        f"{span([p['gbytes_per_s'] for p in peaks])} GB/s; load average "
        f"{span(loads)}{own if on_cpu else ''}."
    )


def _number(value: float | None) -> str:
    """Three digits, whole numbers from 100 on; empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """Return a table whose first `left` columns are text and the others numbers."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


if __name__ == "__main__":
    rewrite(_HERE.parent / "docs" / "performance.md", _HERE / "results")
