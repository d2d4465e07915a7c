"""Two sides of a workload, timed in alternating rounds, and their JSON files."""

import dataclasses
import gc
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax

from benchmarks import roofline
from benchmarks.roofline import Peak
from jaxgrow.devices import memory, runtime
from jaxgrow.storage.provenance import git_revision


Call: TypeAlias = Callable[[], Any]

OURS = "jaxgrow"
_SHORTEST_ROUND_S = 0.1  # shorter calls are repeated within a round
_LONG_CALL_S = 1.0
_MOST_REPEATS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sides:
    """A workload here and in other libraries, checked to compute the same.

    Attributes:
        ours: Function that does the work once and returns arrays to wait for.
        twins: The same work in other libraries, by name.
        items: Number of pictures, objects or rows of one call.
        unit: Name of the items.
        checked: The quantity that agreed before timing, and its tolerance.
        program: Our compiled program; None if the work is not XLA's.
        program_calls: Calls of the program in one call of ours.
        loop_trips: Iterations of the program's loop, if XLA counts it once.
        flops: Operations of a step of ours, if a closed form is better than the count
            of `roofline.cost_of`; None = that count.
        steps_per_call: Steps of one call of ours, in one loop on the device.
        batch_size: Examples of a step, for the memory of each; 0 = not reported.
        make_compiled: Builds the twin under `torch.compile`; None if it has no network.
        close: Removes the files that the sides read.
    """

    ours: Call
    twins: Mapping[str, Call]
    items: int
    unit: str
    checked: str
    program: Any = None
    program_calls: int = 1
    loop_trips: int = 1
    flops: float | None = None
    steps_per_call: int = 1
    batch_size: int = 0
    make_compiled: Callable[[], Call] | None = None
    close: Callable[[], None] = lambda: None


class Times(NamedTuple):
    """Median wall time and CPU time of all threads, in ms per call."""

    ms: float
    cpu_ms: float


def num_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def device_name() -> str:
    """Return the folder of results: `cpu-2-cores`, `nvidia-h100-80gb-hbm3`."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"cpu-{num_cpus()}-cores"
    return re.sub(r"[^a-z0-9]+", "-", device.device_kind.lower()).strip("-")


def tolerance(dtype: str = "float32") -> float:
    """Return the relative tolerance; GPUs round the operands of products."""
    exact = jax.default_backend() == "cpu" and dtype == "float32"
    return 1e-4 if exact else 2e-2


def stepper(
    step: Callable[..., Any], state: Any, data: Any, batch: Any, steps_per_call: int = 1
) -> tuple[Call, Any]:
    """Return (call, program); a call takes the next steps and returns the metrics.

    More than one step per call run in one loop on the device.
    """
    if steps_per_call > 1:
        step = _in_a_loop(step)
        batch = jax.tree.map(lambda x: _repeat(x, steps_per_call), batch)
    batch = jax.device_put(batch)
    program = jax.jit(step, donate_argnums=0).lower(state, data, batch).compile()
    box = [state]

    def run() -> Any:
        box[0], metrics = program(box[0], data, batch)
        return metrics

    return run, program


def _in_a_loop(step: Callable[..., Any]) -> Callable[..., Any]:
    def steps(state: Any, data: Any, batches: Any) -> Any:
        return jax.lax.scan(lambda s, batch: step(s, data, batch), state, batches)

    return steps


def _repeat(x: Any, count: int) -> Any:
    return jax.numpy.broadcast_to(x, (count, *x.shape))


def first_step(metrics: Mapping[str, Any], name: str) -> float:
    """Return a metric of the first step of a call."""
    return float(jax.numpy.ravel(metrics[name])[0])


def time_in_turn(
    sides: Mapping[str, Call], rounds: int, seconds: float = float("inf")
) -> dict[str, Times]:
    """Return medians of every side; the sides alternate, so that all share the noise.

    Args:
        sides: Calls by name; each runs once before it is timed.
        rounds: Most rounds of each side.
        seconds: Time after which no round begins; one is always run.
    """
    repeats = {name: _repeats(call) for name, call in sides.items()}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    begun = time.perf_counter()
    for number in range(rounds):
        if number and time.perf_counter() - begun > seconds * number / (number + 1):
            break
        for name, call in sides.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                result = call()
            _wait(result)
            wall[name].append((time.perf_counter() - start) / repeats[name])
            busy[name].append((time.process_time() - cpu_start) / repeats[name])
    return {
        name: Times(
            1e3 * statistics.median(wall[name]), 1e3 * statistics.median(busy[name])
        )
        for name in sides
    }


def _repeats(call: Call) -> int:
    """Calls of a round; the slower first call counts only if all calls are long."""
    took = _seconds(call)
    if took < _LONG_CALL_S:
        took = _seconds(call)
    return max(1, min(_MOST_REPEATS, int(_SHORTEST_ROUND_S / max(took, 1e-6))))


def _seconds(call: Call) -> float:
    begun = time.perf_counter()
    _wait(call())
    return time.perf_counter() - begun


def _wait(result: Any) -> None:
    jax.block_until_ready(result)
    if jax.default_backend() != "cpu":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


def report(
    sides: Sides,
    peak: Peak,
    *,
    rounds: int,
    seconds: float = float("inf"),
    torch_compile: bool = False,
) -> dict[str, Any]:
    """Time every side of a workload; return its JSON file without provenance.

    A twin under `torch.compile` that fails is left out with the reason, as are the
    operations and bytes of a GPU's program that branches.
    """
    calls, skipped = {OURS: sides.ours, **sides.twins}, {}
    if sides.make_compiled is not None and not torch_compile:
        skipped["torch.compile"] = "not asked for: --torch-compile"
    elif sides.make_compiled is not None:
        try:
            compiled = sides.make_compiled()
            for _ in range(2):  # what changed after the first may compile once more
                _wait(compiled())
            calls["torch.compile"] = compiled
        except Exception as error:
            skipped["torch.compile"] = f"{type(error).__name__}: {error}".split("\n")[0]
    times = time_in_turn(calls, rounds, seconds)
    times[OURS] = Times(*(t / sides.steps_per_call for t in times[OURS]))
    ours = times[OURS]
    found: dict[str, Any] = {
        "ms": {name: _rounded(t.ms) for name, t in times.items()},
        "cpu_ms": {name: _rounded(t.cpu_ms) for name, t in times.items()},
        "skipped": skipped,
        "checked": sides.checked,
        "per_s": _rounded(1e3 * sides.items / ours.ms),
        "unit": sides.unit,
        "items": sides.items,
    }
    others = [t for name, t in times.items() if name != OURS]
    if others:
        # The fastest of the others counts.
        found["ratio"] = round(min(t.ms for t in others) / ours.ms, 2)
        found["cpu_ratio"] = round(
            min(t.cpu_ms for t in others) / max(ours.cpu_ms, 1e-6), 2
        )
    if sides.program is not None:
        found |= _memory(sides)
        try:
            found |= _cost(sides, ours.ms, peak)
        except ValueError as error:
            skipped["cost"] = str(error)
    return found


def _cost(sides: Sides, ms: float, peak: Peak) -> dict[str, Any]:
    """Operations and bytes of a step that takes `ms`, and their limit."""
    cost = roofline.cost_of(
        sides.program, loop_trips=sides.loop_trips, steps=sides.steps_per_call
    )
    flops = sides.program_calls * cost.flops if sides.flops is None else sides.flops
    bytes_accessed = sides.program_calls * cost.bytes_accessed
    limit = roofline.limit_ms(flops, bytes_accessed, peak)
    return {
        "gflop": _rounded(flops / 1e9),
        "gbytes": _rounded(bytes_accessed / 1e9),
        "limit_ms": _rounded(limit),
        "share_of_limit": round(limit / ms, 2),
    }


def _memory(sides: Sides) -> dict[str, Any]:
    """Memory of the program, and the examples that a further GiB would hold."""
    needed = memory.of_program(sides.program)
    assert needed is not None  # CPU and GPU report it
    found = {
        "peak_mib": round(memory.megabytes(needed.peak_bytes), 1),
        "arguments_mib": round(memory.megabytes(needed.argument_bytes), 1),
    }
    if sides.batch_size:
        found["batch_size"] = sides.batch_size
        found["batch_per_gib"] = memory.examples_per_gib(needed, sides.batch_size)
    return found


def _rounded(value: float) -> float:
    """Four digits."""
    return float(f"{value:.4g}")


def provenance(peak: Peak) -> dict[str, Any]:
    """Return device, versions, flags, revision and load."""
    import torch

    return {
        "device": jax.devices()[0].device_kind,
        "revision": git_revision(Path(__file__)),
        "cpus": num_cpus(),
        "machine": platform.processor() or platform.machine(),
        "versions": runtime.versions() | {"torch": torch.__version__},
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT", "not set"),
        "load_average": round(os.getloadavg()[0], 1),
        "peak": {
            "gflops_per_s": _rounded(peak.gflops_per_s),
            "gbytes_per_s": _rounded(peak.gbytes_per_s),
        },
    }


def write_json(path: Path, found: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")


def forget() -> None:
    """Free the memory of the last workload."""
    gc.collect()
    jax.clear_caches()
    if jax.default_backend() != "cpu":
        import torch

        torch.cuda.empty_cache()
