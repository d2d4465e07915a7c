"""Goals for one GPU, and the results of `target-*` that reach them or not."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


SCHEDULE = {4: 2_000, 8: 5_000, 16: 10_000, 32: 30_000, 64: 60_000}
"""Batches of each stage of the preset `paper`."""
OBJECTS = 10_000
_SCHEDULE_S, _SHARE, _GENERATION_S = 900.0, 0.5, 10.0


class Target(NamedTuple):
    """A goal and its measurement."""

    name: str
    goal: str
    measured: str
    is_reached: bool


def targets(results: Sequence[Mapping[str, Any]]) -> list[Target]:
    """Return the goals whose workloads are all among the results."""
    by_name = {found["workload"]: found for found in results}
    stages = {r: by_name[n] for r in SCHEDULE if (n := f"target-stage-{r}") in by_name}
    found = []
    if len(stages) == len(SCHEDULE):
        ms = {r: stage["ms"]["jaxgrow"] for r, stage in stages.items()}
        seconds = sum(n * ms[r] / 1e3 for r, n in SCHEDULE.items())
        found.append(
            Target(
                "System 1, the paper's schedule of 107,000 batches with its "
                "perceptual term, without data, validations and checkpoints",
                f"under {_SCHEDULE_S:g} s",
                f"{seconds:,.0f} s",
                seconds < _SCHEDULE_S,
            )
        )
    score = by_name.get("target-score", {})
    if "gflop" in score:
        rate = score["gflop"] / score["ms"]["jaxgrow"] * 1e3
        share = rate / score["peak"]["gflops_per_s"]
        found.append(
            Target(
                f"score network, steps of {score['items']:,} objects",
                f"over {_SHARE:.0%} of the measured matrix rate",
                f"{share:.0%}",
                share > _SHARE,
            )
        )
    if generation := by_name.get("target-generation"):
        each_ms = generation["ms"]["jaxgrow"] / generation["items"]
        seconds = OBJECTS * each_ms / 1e3
        found.append(
            Target(
                f"three views of {OBJECTS:,} objects, 12 evaluations, decoded",
                f"under {_GENERATION_S:g} s",
                f"{seconds:.1f} s",
                seconds < _GENERATION_S,
            )
        )
    return found
