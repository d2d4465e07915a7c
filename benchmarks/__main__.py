"""Compare every workload with other libraries: time, ratio, cost, roofline.

    python -m benchmarks
    python -m benchmarks --only gan score resnet18-demo

Both sides must compute the same numbers before they are timed. Each workload writes a
JSON file into the folder of results, and the tables of docs/performance.md are rebuilt
from these files.
"""

import dataclasses
import functools
import os
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from benchmarks import measure, roofline, table, targets
from benchmarks.roofline import Peak
from benchmarks.sizes import CPU, GPU, TINY, Sizes
from jaxgrow.devices import runtime
from jaxgrow.errors import UserError


if TYPE_CHECKING:
    from benchmarks.workloads import Workload


RESULTS = Path(__file__).parent / "results"
_SIZES = {"cpu": CPU, "gpu": GPU, "tiny": TINY}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Workloads, budget and output."""

    only: tuple[str, ...] = ()
    """Workloads, or their beginnings: gan, score, resnet18-demo. None = all; on CPU
    without the long ones."""
    rounds: int = 7
    """Most timed rounds of each side; the median counts."""
    budget_s: float = 840.0
    """Seconds for everything. A short budget has fewer rounds, and prints the
    workloads that it does not reach."""
    sizes: Literal["auto", "cpu", "gpu", "tiny"] = "auto"
    """Sizes of the workloads; auto = for the device, tiny = a test of the code."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of our products in System 2; the twins use float32. The workloads target-*,
    which have no twin, use bfloat16."""
    torch_compile: bool = False
    """Also time the twins under torch.compile, which takes minutes to compile."""
    out: Path | None = None
    """Folder of results; None = benchmarks/results/<device>."""
    docs: Path | None = Path(__file__).parents[1] / "docs" / "performance.md"
    """Page whose tables are rebuilt; None = no page."""


def main(options: Options) -> None:
    begun = time.monotonic()
    import jax

    from benchmarks.workloads import WORKLOADS, choose

    on_cpu = jax.default_backend() == "cpu"
    if not on_cpu:
        runtime.keep_compiled()
    names = choose(options.only, on_cpu=on_cpu)
    kind = ("cpu" if on_cpu else "gpu") if options.sizes == "auto" else options.sizes
    folder = options.out or RESULTS / measure.device_name()
    _put_twins_beside_us(on_cpu=on_cpu)
    peak_of = functools.cache(_measured_peak)
    late, failed = [], []
    for number, name in enumerate(names):
        left = options.budget_s - (time.monotonic() - begun)
        if left <= 0:
            late.append(name)
            continue
        # Compiling and checking take the other half of a workload's share.
        seconds = left / (len(names) - number) / 2
        workload = WORKLOADS[name]
        dtype = workload.compute_dtype or options.compute_dtype
        sizes = dataclasses.replace(_SIZES[kind], compute_dtype=dtype)
        try:
            found = _measure(workload, sizes, peak_of(dtype), options, seconds)
        except Exception as error:  # one failure must not stop the others
            failed.append(name)
            traceback.print_exception(error)
            continue
        found = {"workload": name, **found, "sizes": dataclasses.asdict(sizes)}
        measure.write_json(folder / f"{name}.json", found)
        print(table.line(found), flush=True)
    if options.docs is not None and options.docs.exists():
        table.rewrite(options.docs, RESULTS)
    if reached := targets.targets(table.read_results(folder)):
        print(table.targets_table(reached))
    print(f"{time.monotonic() - begun:.0f} s in all; results in {folder}")
    if late:
        print(f"No time was left for {', '.join(late)}: raise --budget-s.")
    if failed:
        raise UserError(f"{', '.join(failed)} failed: see the errors above.")


def _measured_peak(dtype: str) -> Peak:
    peak = roofline.measure_peak(dtype)
    print(
        f"{dtype}: {peak.gflops_per_s:.0f} GFLOP/s, {peak.gbytes_per_s:.1f} GB/s",
        flush=True,
    )
    return peak


def _measure(
    workload: "Workload", sizes: Sizes, peak: Peak, options: Options, seconds: float
) -> dict[str, Any]:
    """Measure a workload; return the content of its JSON file."""
    sides = workload.build(sizes)
    try:
        found = measure.report(
            sides,
            peak,
            rounds=options.rounds,
            seconds=seconds,
            torch_compile=options.torch_compile,
        )
    finally:
        sides.close()
        measure.forget()
    return {"title": workload.title, **found, **measure.provenance(peak)}


def _put_twins_beside_us(*, on_cpu: bool) -> None:
    """Run PyTorch on the GPU too, with products rounded as XLA rounds them."""
    import torch

    if on_cpu:
        return
    if not torch.cuda.is_available():
        raise UserError(
            "PyTorch sees no GPU: install a build for CUDA, or run on CPU with "
            "JAX_PLATFORMS=cpu."
        )
    any_torch: Any = torch
    any_torch.set_default_device("cuda")
    any_torch.set_float32_matmul_precision("high")


if __name__ == "__main__":
    # Set before PyTorch loads: its idle threads would spin and slow both sides.
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    # JAX would take three quarters of a GPU's memory, and PyTorch needs a part.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.55")
    runtime.configure(onednn=True)
    try:
        main(tyro.cli(Options, prog="python -m benchmarks", description=__doc__))
    except UserError as error:
        sys.exit(f"error: {error}")
