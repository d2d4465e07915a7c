"""Memory of compiled steps on a device: needed, available and used.

Steps are compiled ahead. Such a program refuses all shapes but its own, so that nothing
is recompiled unseen.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from jaxgrow.errors import UserError


_GIB = 1 << 30
_CGROUP_LIMITS = (  # of version 2, and of version 1 with a huge number for none
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# XLA's compiler for CPU removes the barriers of `jax.checkpoint` before it merges equal
# operations, and so keeps the activations that should be recomputed.
_CPU_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander"}

TooLarge = Callable[[str], UserError]
"""From the memory needed, as in "8,000 MB where ...", to an error with a remedy."""


class StepMemory(NamedTuple):
    """Bytes of one call of a program on each device.

    Attributes:
        argument_bytes: Of the arguments: weights, moments, data and the batch.
        temp_bytes: Of temporary arrays: activations and gradients.
        peak_bytes: Of arguments, results and temporary arrays together. A donated
            argument shares its memory with a result and counts once.
    """

    argument_bytes: int
    temp_bytes: int
    peak_bytes: int


class Measured(NamedTuple):
    """Peak memory of this process since it began.

    Attributes:
        num_bytes: The peak.
        by: device: counted by the allocator of the fullest device; process: the whole
            resident set, if devices count nothing (CPU).
    """

    num_bytes: int
    by: Literal["device", "process"]


def of_program(program: Any) -> StepMemory | None:
    """Return XLA's analysis of a compiled program; None if there is none."""
    found = program.memory_analysis()
    if found is None:
        return None
    arguments, temporary = found.argument_size_in_bytes, found.temp_size_in_bytes
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    return StepMemory(arguments, temporary, arguments + results + temporary)


def examples_per_gib(memory: StepMemory, batch_size: int) -> int:
    """Return the examples whose activations fit into a GiB beside the weights.

    Temporary arrays are assumed to grow with the batch. The gradients among them do
    not, so the figure is a little too small. `batch_size` is the step's on one device.
    """
    return int(_GIB * batch_size / max(memory.temp_bytes, 1))


class Programs:
    """The compiled programs of one step, by key.

    Attributes:
        memory: Of the largest; None if there is none, or without XLA's analysis.
    """

    def __init__(self) -> None:
        self.memory: StepMemory | None = None
        self._compiled: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any:
        """Return the program, or None if it is not compiled yet."""
        return self._compiled.get(key)

    def compile(
        self,
        key: Hashable,
        jitted: Any,
        *arguments: Any,
        too_large: TooLarge,
        tell: Callable[[StepMemory], None],
    ) -> Any:
        """Compile `jitted` for arguments like these, arrays or shapes, and keep it.

        `tell` is called with the program's memory, if no program before took more.

        Raises:
            UserError: `too_large`, if it does not fit into a device's memory.
        """
        before = self.memory
        options = _CPU_OPTIONS if jax.default_backend() == "cpu" else None
        with errors(too_large):
            compiled = jitted.lower(*arguments).compile(compiler_options=options)
        self.add(key, compiled, too_large)
        if self.memory is not None and self.memory != before:
            tell(self.memory)
        return compiled

    def add(self, key: Hashable, compiled: Any, too_large: TooLarge) -> None:
        """Keep a program, or raise `too_large` if it does not fit."""
        needed = of_program(compiled)
        if needed is not None:
            available = device_bytes()
            if available is not None and needed.peak_bytes > available:
                raise too_large(
                    f"{megabytes(needed.peak_bytes):,.0f} MB where the device has "
                    f"{megabytes(available):,.0f} MB"
                )
            if self.memory is None or needed.peak_bytes > self.memory.peak_bytes:
                self.memory = needed
        self._compiled[key] = compiled


@contextlib.contextmanager
def errors(too_large: TooLarge) -> Iterator[None]:
    """Turn a device's lack of memory into the given `UserError`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise too_large("more memory than the device has") from error


def device_bytes() -> int | None:
    """Return the memory of a device; for a CPU, of the machine or the container."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    if jax.default_backend() == "cpu" and hasattr(os, "sysconf"):
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min([physical, *_container_limits()])
    return None


def _container_limits() -> list[int]:
    """Return the limits of this container, if Linux sets any."""
    texts = [path.read_text().strip() for path in _CGROUP_LIMITS if path.is_file()]
    return [int(text) for text in texts if text != "max"]


def measured() -> Measured | None:
    """Return the peak so far; None if nothing counts it."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    counted = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    if counted:
        return Measured(max(counted), "device")
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Measured(peak, "process")


def describe(memory: StepMemory | None, batch_size: int) -> dict[str, Any]:
    """Return a run's record of a step's memory on one device, computed and measured."""
    found: dict[str, Any] = {}
    if memory is not None:
        found = {
            "peak_memory_mb": round(megabytes(memory.peak_bytes), 1),
            "argument_mb": round(megabytes(memory.argument_bytes), 1),
            "examples_per_gib": examples_per_gib(memory, batch_size),
        }
    used = measured()
    if used is not None:
        found["measured_mb"] = round(megabytes(used.num_bytes), 1)
        found["measured_by"] = used.by
    return found


def sentence(memory: StepMemory, batch_size: int, unit: str) -> str:
    """Return a sentence on the memory of a step on one device, for the console."""
    return (
        f"a step fits: {megabytes(memory.peak_bytes):,.0f} MB, "
        f"{megabytes(memory.argument_bytes):,.0f} MB of them weights, moments and "
        f"data; a further GiB holds {examples_per_gib(memory, batch_size):,} {unit}"
    )


def measured_sentence() -> str:
    """Return a sentence on the peak so far; "" if nothing counts it."""
    used = measured()
    if used is None:
        return ""
    what = "a device" if used.by == "device" else "the process (resident set)"
    return f"{what} has taken {megabytes(used.num_bytes):,.0f} MB at most so far"


def megabytes(num_bytes: int) -> float:
    """Return bytes in units of 2^20."""
    return num_bytes / 2**20
