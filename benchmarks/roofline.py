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


_MATRIX_SIDE = {"cpu": 2048}
_COPY_FLOATS = {"cpu": 1 << 26}
_MATRIX_SIDE_ELSEWHERE, _COPY_FLOATS_ELSEWHERE = 8192, 1 << 28
_REPEATS = 8


class Peak(NamedTuple):
    """Of one device: billions of operations and of bytes per second."""

    gflops_per_s: float
    gbytes_per_s: float


class Cost(NamedTuple):
    """Of one call of a program: operations, bytes read and written, peak of memory.

    Attributes:
        flops: Additions and multiplications.
        bytes_accessed: Sum over the program's kernels, as if none found anything in a
            cache.
        argument_bytes: Of what goes in: weights, moments, data.
        peak_bytes: Of arguments, results and temporary arrays together.
        temp_bytes: Of temporary arrays: activations and gradients.
    """

    flops: float
    bytes_accessed: float
    argument_bytes: int
    peak_bytes: int
    temp_bytes: int


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
    memory = program.memory_analysis()
    arguments = memory.argument_size_in_bytes
    # Donated arguments are written over and count once.
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    temporary = memory.temp_size_in_bytes
    return Cost(
        flops=loop_trips * cost.get("flops", 0.0),
        bytes_accessed=loop_trips * cost.get("bytes accessed", 0.0),
        argument_bytes=arguments,
        peak_bytes=arguments + results + temporary,
        temp_bytes=temporary,
    )


def batch_per_gib(cost: Cost, batch_size: int) -> int:
    """Examples whose activations fit into a GiB beside the weights and their moments.

    Temporary arrays are taken to grow with the batch; the gradients among them do not,
    so that the figure is a little too small.
    """
    return int((1 << 30) * batch_size / max(cost.temp_bytes, 1))


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
