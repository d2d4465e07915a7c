"""How fast the synthetic objects are rendered, on one core and on all.

    python -m benchmarks.render_views --out benchmarks/results/render_views.json

Every class has the same share. A single core is timed in this process, all of them
through worker processes, whose start and end are counted. Rounds on one core and on all
take turns, so that a noisy machine disturbs both alike; the median counts.
"""

import dataclasses
import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import tyro

from jaxgrow import runtime
from jaxgrow.data import procedural
from jaxgrow.data.procedural.workers import available_cores
from jaxgrow.evaluation.provenance import git_revision


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


def objects_per_second(num_views: int, num_workers: int, options: Options) -> float:
    """Rate of one round, in objects per second of wall time."""
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
    begun = time.perf_counter()
    done = sum(1 for _ in found)
    return done / (time.perf_counter() - begun)


def measure(num_views: int, options: Options) -> dict[str, Any]:
    """Median rates at a number of views."""
    cores = available_cores()
    rates: dict[str, list[float]] = {"one_core": [], "all_cores": []}
    for _ in range(options.rounds):
        rates["one_core"].append(objects_per_second(num_views, 0, options))
        rates["all_cores"].append(objects_per_second(num_views, cores, options))
    medians = {name: round(statistics.median(r), 1) for name, r in rates.items()}
    return {"views": num_views, "objects_per_s": medians}


def main(options: Options) -> None:
    found = {
        "options": {k: str(v) for k, v in vars(options).items() if k != "out"},
        "device": f"{available_cores()} CPUs",
        "machine": platform.processor() or platform.machine(),
        "git_revision": git_revision(Path(__file__)),
        "versions": runtime.versions(),
        "generator_version": procedural.VERSION,
        "results": [measure(views, options) for views in options.views],
    }
    print(json.dumps(found, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
