"""Print the kernels of one step of a workload of ours, slowest first.

    python -m benchmarks.kernel_times target-stage-64

They are read from a trace of the profiler. On a GPU the trace is taken without CUDA
graphs, whose kernels have no name of an operation.
"""

import collections
import contextlib
import dataclasses
import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import tyro

from benchmarks import hlo_kernels, sizes
from benchmarks.sizes import Sizes
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError


_MOST_KINDS = 12


class Operation(NamedTuple):
    """Time of one operation of a compiled program.

    Attributes:
        name: Name in the program's text.
        ms: Time of all its kernels, per step.
        kernels: Number of its kernels, per step.
    """

    name: str
    ms: float
    kernels: float


@dataclasses.dataclass(frozen=True)
class Options:
    """Workload and length of the list."""

    workload: Annotated[str, tyro.conf.Positional]
    """A workload of python -m benchmarks."""
    top: int = 40
    """Operations to show."""


def main(options: Options) -> None:
    from benchmarks.workloads import WORKLOADS, choose

    on_cpu = jax.default_backend() == "cpu"
    if options.workload not in WORKLOADS:
        choose([options.workload], on_cpu=on_cpu)  # names them if there is none
        raise UserError(f"{options.workload} is several workloads: name one.")
    workload = WORKLOADS[options.workload]
    chosen = sizes.CPU if on_cpu else sizes.GPU
    if workload.compute_dtype is not None:
        chosen = dataclasses.replace(chosen, compute_dtype=workload.compute_dtype)
    print(table(*measured(workload.build, chosen), top=options.top))


def measured(build: Any, chosen: Sizes) -> tuple[list[Operation], dict[str, str]]:
    """Measure the operations of one step of ours; return them and their shapes.

    Raises:
        UserError: The workload is not one program of XLA's.
    """
    sides = build(chosen)
    with contextlib.closing(sides):
        if sides.program is None or sides.program_calls > 1:
            raise UserError("this workload is not one compiled program: name another.")
        for _ in range(2):
            jax.block_until_ready(sides.ours())
        with tempfile.TemporaryDirectory() as folder:
            with jax.profiler.trace(folder):
                jax.block_until_ready(sides.ours())
            events = read_events(Path(folder))
    shapes = hlo_kernels.shapes_of(sides.program.as_text())
    return by_operation(events, sides.steps_per_call), shapes


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return all events of the profiler's traces below a folder."""
    traces = [gzip.decompress(f.read_bytes()) for f in folder.rglob("*.trace.json.gz")]
    return [event for trace in traces for event in json.loads(trace)["traceEvents"]]


def by_operation(events: Iterable[dict[str, Any]], steps: int) -> list[Operation]:
    """Sum times by operation, slowest first.

    Args:
        events: Events in the format of Chrome's trace viewer; those without the name
            of an operation are ignored.
        steps: Number of steps in the trace.
    """
    ms: dict[str, float] = collections.defaultdict(float)
    kernels: collections.Counter[str] = collections.Counter()
    for event in events:
        name = event.get("args", {}).get("hlo_op")
        if event.get("ph") == "X" and name:
            ms[name] += event["dur"] / 1e3
            kernels[name] += 1
    return [
        Operation(name, total / steps, kernels[name] / steps)
        for name, total in sorted(ms.items(), key=lambda item: -item[1])
    ]


def table(operations: list[Operation], shapes: dict[str, str], top: int) -> str:
    """Return the sums by kind, then the slowest operations."""
    by_kind: dict[str, float] = collections.defaultdict(float)
    for one in operations:
        by_kind[re.sub(r"[.\d]+$", "", one.name)] += one.ms
    lines = [f"{sum(one.ms for one in operations):9.3f} ms in all"]
    kinds = sorted(by_kind.items(), key=lambda item: -item[1])[:_MOST_KINDS]
    lines += [f"{ms:9.3f} ms {kind}" for kind, ms in kinds]
    lines += [
        f"{one.ms:9.3f} ms {one.kernels:6.1f} kernels {one.name}: "
        f"{shapes.get(one.name, '')}"
        for one in operations[:top]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    runtime.configure(onednn=True)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_enable_command_buffer="
    try:
        main(tyro.cli(Options, prog="python -m benchmarks.kernel_times"))
    except UserError as error:
        sys.exit(f"error: {error}")
