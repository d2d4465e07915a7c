"""How fast the synthetic objects are rendered, on one core and on all.

    python -m benchmarks.render_views --out render_views.json

Every class has the same share. A single core is timed in this process, all of them
through worker processes, whose start and end are counted. Rounds on one core and on all
take turns, so that a noisy machine disturbs both alike; the median counts. The rate per
second of CPU time, of all processes together, hardly depends on what else is running.
"""

import dataclasses
import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from jaxgrow.data import procedural
from jaxgrow.data.files import available_cores
from jaxgrow.devices import runtime
from jaxgrow.storage.provenance import git_revision


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure."""

    views: tuple[int, ...] = (4, 24)
    """Views per object, evenly spaced around it."""
    size: int = 64
    """Side of a view in pixels."""
    objects: int = 780
    """Objects of a round at 4 views; in proportion fewer at more views."""
    rounds: int = 5
    """Timed rounds; the median counts."""
    seed: int = 0
    """Seed of the objects."""
    out: Path | None = None
    """JSON file for the results; None = only print."""


def objects_per_second(
    num_views: int, num_workers: int, options: Options
) -> tuple[float, float]:
    """Rates of one round, in objects per second of wall time and of CPU time."""
    count = max(2, options.objects * 4 // num_views)
    classes = procedural.CLASSES
    items = [(classes[k % len(classes)], k // len(classes)) for k in range(count)]
    found = procedural.render_objects(
        items,
        seed=options.seed,
        azimuths=[360.0 * k / num_views for k in range(num_views)],
        size=options.size,
        num_workers=num_workers,
    )
    begun, cpu_begun = time.perf_counter(), cpu_seconds()
    done = sum(1 for _ in found)
    return (
        done / (time.perf_counter() - begun),
        done / (cpu_seconds() - cpu_begun),
    )


def cpu_seconds() -> float:
    """CPU time of this process and of the workers that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(num_views: int, options: Options) -> dict[str, Any]:
    """Median rates at a number of views."""
    workers = {"one_core": 0, "all_cores": available_cores()}
    rates = {name: [] for name in workers}
    for _ in range(options.rounds):
        for name, number in workers.items():
            rates[name].append(objects_per_second(num_views, number, options))
    medians = {name: np.median(found, axis=0) for name, found in rates.items()}
    return {
        "views": num_views,
        "objects_per_s": {n: round(float(m[0]), 1) for n, m in medians.items()},
        "objects_per_cpu_s": {n: round(float(m[1]), 1) for n, m in medians.items()},
    }


def main(options: Options) -> None:
    found = {
        "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
        "device": f"{available_cores()} CPUs",
        "machine": platform.processor() or platform.machine(),
        "git_revision": git_revision(Path(__file__)),
        "versions": runtime.versions(),
        "generator_version": procedural.VERSION,
        "load_average_before": round(os.getloadavg()[0], 1),
        "results": [measure(views, options) for views in options.views],
    }
    print(json.dumps(found, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
