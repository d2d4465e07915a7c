"""What compiled steps take of a device's memory, whether it fits, and what was used.

Steps are compiled ahead. A program compiled ahead takes the shapes that it was compiled
for and refuses all others, so that nothing is ever recompiled unseen.
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
_CGROUP_LIMITS = (  # of version 2 and of version 1, where no limit is a huge number
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# XLA's compiler for CPU removes the barriers of `jax.checkpoint` before it merges equal
# operations, and so keeps what was to be recomputed. Without that pass they hold.
_CPU_OPTIONS = {"xla_disable_hlo_passes": "cse_barrier_expander"}

TooLarge = Callable[[str], UserError]
"""From how much is needed, as in "8,000 MB where ...", to what the user can do."""


class StepMemory(NamedTuple):
    """Bytes that one call of a program takes on each device.

    Attributes:
        argument_bytes: Of what goes in: weights, moments, data and the batch.
        temp_bytes: Of temporary arrays: activations and gradients.
        peak_bytes: Of arguments, results and temporary arrays together. A donated
            argument, which its result is written over, counts once.
    """

    argument_bytes: int
    temp_bytes: int
    peak_bytes: int


class Measured(NamedTuple):
    """The most memory that this process has used since it began.

    Attributes:
        num_bytes: How much.
        by: device: what the fullest device's allocator has counted; process: the
            resident set, with all that is in it, where devices count nothing (CPU).
    """

    num_bytes: int
    by: Literal["device", "process"]


def of_program(program: Any) -> StepMemory | None:
    """What XLA says of a compiled program; None where it does not say."""
    found = program.memory_analysis()
    if found is None:
        return None
    arguments, temporary = found.argument_size_in_bytes, found.temp_size_in_bytes
    results = found.output_size_in_bytes - found.alias_size_in_bytes
    return StepMemory(arguments, temporary, arguments + results + temporary)


def examples_per_gib(memory: StepMemory, batch_size: int) -> int:
    """Examples whose activations fit into a GiB beside the weights and their moments.

    Temporary arrays are taken to grow with the batch; the gradients among them do not,
    so that the figure is a little too small.

    Args:
        memory: Of a step.
        batch_size: Of the step, on one device.
    """
    return int(_GIB * batch_size / max(memory.temp_bytes, 1))


class Programs:
    """The compiled programs of one step, by what each is for.

    Attributes:
        memory: Of the largest; None while there is none, or where XLA does not say.
    """

    def __init__(self) -> None:
        self.memory: StepMemory | None = None
        self._compiled: dict[Hashable, Any] = {}

    def get(self, key: Hashable) -> Any:
        """The program, or None if it is not compiled yet."""
        return self._compiled.get(key)

    def compile(
        self,
        key: Hashable,
        jitted: Any,
        *arguments: Any,
        too_large: TooLarge,
        tell: Callable[[StepMemory], None],
    ) -> Any:
        """Compiles `jitted` for arguments like these, arrays or shapes.

        Args:
            key: What `get` will find it by.
            jitted: By `jax.jit` or `jax.pmap`.
            *arguments: Of a call.
            too_large: See below.
            tell: Gets what it takes, if that is more than the programs before it do.

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
        """Keeps a program, or raises `too_large` if it does not fit."""
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
    """Turns a device without enough memory into the `UserError` that is given."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise too_large("more memory than the device has") from error


def device_bytes() -> int | None:
    """Memory of a device; where it is the CPU, of the machine or the container."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    if jax.default_backend() == "cpu" and hasattr(os, "sysconf"):
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return min([physical, *_container_limits()])
    return None


def _container_limits() -> list[int]:
    """What Linux lets the processes of this container have together, if it says so."""
    texts = [path.read_text().strip() for path in _CGROUP_LIMITS if path.is_file()]
    return [int(text) for text in texts if text != "max"]


def measured() -> Measured | None:
    """What has been used so far; None where nothing counts it."""
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
    """What a run keeps of a step with its training over: computed and measured.

    Args:
        memory: Of the largest program of the step.
        batch_size: Of the step, on one device.
    """
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
    """What a step takes, for the console.

    Args:
        memory: Of the step.
        batch_size: Of the step, on one device.
        unit: What the examples are.
    """
    return (
        f"a step fits: {megabytes(memory.peak_bytes):,.0f} MB, "
        f"{megabytes(memory.argument_bytes):,.0f} MB of them weights, moments and "
        f"data; a further GiB holds {examples_per_gib(memory, batch_size):,} {unit}"
    )


def measured_sentence() -> str:
    """What has been used so far, for the console; "" where nothing counts it."""
    used = measured()
    if used is None:
        return ""
    what = "a device" if used.by == "device" else "the process (resident set)"
    return f"{what} has taken {megabytes(used.num_bytes):,.0f} MB at most so far"


def megabytes(num_bytes: int) -> float:
    """In units of 2^20 bytes."""
    return num_bytes / 2**20
