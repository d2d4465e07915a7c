"""The tables of docs/performance.md, from the JSON files of results.

    python -m benchmarks.table

A table stands between `<!-- NAME -->` and `<!-- end of NAME -->`, where the name is
`speed DEVICE`, `memory DEVICE`, `behind DEVICE`, `targets DEVICE`, `scaling` or `h100`.
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
    """One workload in a line of the terminal."""
    times = ", ".join(f"{name} {ms:g} ms" for name, ms in found["ms"].items())
    ratio = f", {found['ratio']:.2f} times" if "ratio" in found else ""
    share = ""
    if "share_of_limit" in found:
        share = f", {found['share_of_limit']:.0%} of the limit"
    return f"{found['workload']}: {times}{ratio}{share}"


def read_results(folder: Path) -> list[Found]:
    """The workloads of a device, in the order of their titles' kinds and names."""
    found = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    return [f for f in found if "workload" in f]


def speed_table(results: Sequence[Found]) -> str:
    """Every workload: time, ratio, rate, cost, limit."""
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
    return f"{_conditions(results)}\n\n{_markdown(head, rows, left=1)}"


def memory_table(results: Sequence[Found]) -> str:
    """Every program with a batch: peak memory, and what a GiB more holds."""
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
    return _markdown([*head, "examples per further GiB"], rows, left=1)


def behind_list(results: Sequence[Found]) -> str:
    """The workloads in which another library is quicker."""
    slower = [f for f in results if f.get("ratio", 1.0) < 1.0]
    if not slower:
        return "No workload is behind."
    return "\n".join(
        f"- {f['title']}: {f['ratio']:.2f} by the clock, {f['cpu_ratio']:.2f} of CPU "
        "time"
        for f in sorted(slower, key=lambda f: f["ratio"])
    )


def scaling_table(found: Found) -> str:
    """Collectives of the data-parallel steps, and the estimate for many devices."""
    rows = [
        [
            row["step"],
            str(row["devices"]),
            str(row["batch_per_device"]),
            str(row["collectives"]),
            _number(row["mbytes"]),
            str(row["asynchronous"]),
        ]
        for row in found["collectives"]
    ]
    head = ["step", "devices", "batch of each", "all-reduces", "MB in all", "async"]
    first = _markdown(head, rows, left=1)
    rows = [
        [
            row["step"],
            row["kind"],
            str(row["batch_per_device"]),
            _number(row["compute_ms"]),
            _number(row["all_reduce_ms"]),
            f"{row['efficiency']:.0%}",
            f"{row['efficiency_overlapped']:.0%}",
        ]
        for row in found["estimate"]
    ]
    head = ["step", "scaling", "batch of each", "arithmetic, ms", "all-reduce, ms"]
    head += ["efficiency", "if overlapped"]
    second = _markdown(head, rows, left=2)
    return f"{first}\n\n{found['assumptions']}\n\n{second}"


def h100_table(found: Found) -> str:
    """Predicted times, and what each step of them was predicted from."""
    rows = [
        [
            row["step"],
            str(row["batch_size"]),
            _number(row["gflop"]),
            _number(row["gbytes"]),
            f"{row['kernels']:,}",
            _number(row["limit_ms"]),
            _number(row["predicted_ms"]),
        ]
        for row in found["steps"]
    ]
    head = ["step", "batch", "GFLOP", "GB", "kernels", "limit, ms", "predicted, ms"]
    totals = [
        [
            row["task"],
            _number(row["limit_s"]),
            _number(row["predicted_s"]),
            f"{_number(row['fast_s'])} to {_number(row['slow_s'])}",
            row["goal"],
        ]
        for row in found["tasks"]
    ]
    heads = ["task", "limit, s", "predicted, s", "range", "goal"]
    tasks = _markdown(heads, totals, left=1)
    return f"{found['assumptions']}\n\n{_markdown(head, rows, left=1)}\n\n{tasks}"


def targets_table(reached: Sequence[Target]) -> str:
    """Goals for one GPU beside what was measured."""
    rows = [
        [t.name, t.goal, t.measured, "yes" if t.is_reached else "no"] for t in reached
    ]
    return _markdown(["task", "goal", "measured", "reached"], rows, left=1)


def _targets_of(results: Sequence[Found]) -> str:
    reached = targets.targets(results)
    return targets_table(reached) if reached else _NOTHING


_BY_DEVICE: dict[str, Callable[[Sequence[Found]], str]] = {
    "speed": speed_table,
    "memory": memory_table,
    "behind": behind_list,
    "targets": _targets_of,
}
_BY_FILE: dict[str, Callable[[Found], str]] = {
    "scaling": scaling_table,
    "h100": h100_table,
}


def render(page: str, results: Path) -> str:
    """`page` with every table written anew from the files below `results`."""

    def block(match: re.Match[str]) -> str:
        name = match.group(1)
        kind, _, device = name.partition(" ")
        if kind in _BY_DEVICE:
            found = read_results(results / device)
            text = _BY_DEVICE[kind](found) if found else _NOTHING
        elif (file := results / f"{kind}.json").exists():
            text = _BY_FILE[kind](json.loads(file.read_text()))
        else:
            text = _NOTHING
        return f"<!-- {name} -->\n\n{text}\n\n<!-- end of {name} -->"

    return _BLOCK.sub(block, page)


def rewrite(page: Path, results: Path) -> None:
    """Writes a page's tables anew."""
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
    """Three digits, whole numbers from 100 on; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A table whose first `left` columns are text and the others numbers."""
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


if __name__ == "__main__":
    rewrite(_HERE.parent / "docs" / "performance.md", _HERE / "results")
