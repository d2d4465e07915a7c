"""What a device can do at most, measured, and how near to it a program comes.

A program of F operations on B bytes of memory takes max(F / peak, B / bandwidth) at
least (the roofline of Williams et al. 2009). Peak and bandwidth are those of one large
matrix product and one large copy in the same process, so that a busy or throttled
machine lowers the limit as it lowers the rest.
"""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxgrow import memory
from jaxgrow.memory import StepMemory


_MATRIX_SIDE = {"cpu": 2048}
_COPY_FLOATS = {"cpu": 1 << 26}
_MATRIX_SIDE_ELSEWHERE, _COPY_FLOATS_ELSEWHERE = 8192, 1 << 28
_REPEATS = 8


class Peak(NamedTuple):
    """Of one device: billions of operations and of bytes per second."""

    gflops_per_s: float
    gbytes_per_s: float


class Cost(NamedTuple):
    """Of one call of a program: operations, bytes read and written, memory.

    Attributes:
        flops: Additions and multiplications.
        bytes_accessed: Sum over the program's kernels, as if none found anything in a
            cache.
        memory: That it takes.
    """

    flops: float
    bytes_accessed: float
    memory: StepMemory


def limit_ms(flops: float, bytes_accessed: float, peak: Peak) -> float:
    """The least time in ms: max(F / peak, B / bandwidth)."""
    seconds = max(
        flops / (peak.gflops_per_s * 1e9), bytes_accessed / (peak.gbytes_per_s * 1e9)
    )
    return seconds * 1e3


def cost_of(program: Any, loop_trips: int = 1) -> Cost:
    """What XLA's analysis says of a compiled program.

    Args:
        program: `jax.jit(...).lower(...).compile()`.
        loop_trips: How often the program's one loop runs: XLA counts its body once.
    """
    cost = program.cost_analysis()
    found = memory.of_program(program)
    assert found is not None  # every backend that this is run on says so
    return Cost(
        flops=loop_trips * cost.get("flops", 0.0),
        bytes_accessed=loop_trips * cost.get("bytes accessed", 0.0),
        memory=found,
    )


def measure_peak(dtype: str = "float32") -> Peak:
    """The best of some matrix products and of some copies on the first device."""
    backend = jax.default_backend()
    side = _MATRIX_SIDE.get(backend, _MATRIX_SIDE_ELSEWHERE)
    floats = _COPY_FLOATS.get(backend, _COPY_FLOATS_ELSEWHERE)
    matrix = jnp.full((side, side), 1.0 / side, dtype)
    product = _best_seconds(jax.jit(lambda x: x @ x), matrix)
    # The change of sign keeps XLA from leaving the copy out; in place, for fresh pages
    # would cost more than the copy.
    copy = _best_seconds(
        jax.jit(jnp.negative, donate_argnums=0), jnp.ones(floats, jnp.float32)
    )
    return Peak(2e-9 * side**3 / product, 8e-9 * floats / copy)


def _best_seconds(fn: Any, x: Any) -> float:
    """Of some calls, each on the result of the one before."""
    x = fn(x).block_until_ready()
    found = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        x = fn(x).block_until_ready()
        found.append(time.perf_counter() - begun)
    return min(found)
