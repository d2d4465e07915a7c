"""The measured peak of a device, and the least time of a program on it.

A program of F operations on B bytes of memory takes max(F / peak, B / bandwidth) at
least (the roofline of Williams et al. 2009). Peak and bandwidth are those of one large
matrix product and one large copy in the same process, so that a busy or throttled
machine lowers the limit too.
"""

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import hlo_kernels
from jaxgrow.devices import backend


_MATRIX_SIDE = {"cpu": 2048}
_COPY_FLOATS = {"cpu": 1 << 26}
_MATRIX_SIDE_ELSEWHERE, _COPY_FLOATS_ELSEWHERE = 8192, 1 << 28
_REPEATS = 8


class Peak(NamedTuple):
    """Billions of operations and of bytes per second of one device."""

    gflops_per_s: float
    gbytes_per_s: float


class Cost(NamedTuple):
    """Operations and bytes of one call of a program.

    Attributes:
        flops: Additions and multiplications.
        bytes_accessed: Bytes read and written by its kernels, as if no cache helped.
    """

    flops: float
    bytes_accessed: float


def limit_ms(flops: float, bytes_accessed: float, peak: Peak) -> float:
    """Return the least time in ms: max(F / peak, B / bandwidth)."""
    seconds = max(
        flops / (peak.gflops_per_s * 1e9), bytes_accessed / (peak.gbytes_per_s * 1e9)
    )
    return seconds * 1e3


def cost_of(program: Any, *, loop_trips: int = 1, steps: int = 1) -> Cost:
    """Return the cost of a compiled program.

    On CPU it is XLA's analysis, which counts no custom call, plus the calls of oneDNN.
    On a GPU it is a sum over kernels with the operations of products and convolutions
    alone.

    Args:
        program: `jax.jit(...).lower(...).compile()`.
        loop_trips: Iterations of the program's loop, which XLA counts once.
        steps: Steps in the program's loop; the cost is that of one.

    Raises:
        ValueError: A GPU's program branches, or has a loop of unknown length.
    """
    if backend.on_gpu():
        kernels = hlo_kernels.kernels_of(program.as_text())
        flops = sum(kernel.flops for kernel in kernels) / steps
        return Cost(flops, sum(k.num_bytes for k in kernels) / steps)
    cost = program.cost_analysis()
    calls = hlo_kernels.onednn_kernels_of(program.as_text())
    flops = cost.get("flops", 0.0) + sum(call.flops for call in calls)
    num_bytes = cost.get("bytes accessed", 0.0) + sum(c.num_bytes for c in calls)
    return Cost(loop_trips * flops, loop_trips * num_bytes)


def measure_peak(dtype: str = "float32") -> Peak:
    """Time matrix products and copies on the first device; return the best rates."""
    kind = jax.default_backend()
    side = _MATRIX_SIDE.get(kind, _MATRIX_SIDE_ELSEWHERE)
    floats = _COPY_FLOATS.get(kind, _COPY_FLOATS_ELSEWHERE)
    # A GPU is faster on equal numbers, so they are random; the scale keeps the size of
    # products of products.
    normal = jax.random.normal(jax.random.key(0), (side, side)) / side**0.5
    matrix = normal.astype(dtype)
    product = _best_seconds(functools.partial(jax.jit(jnp.matmul), matrix), matrix)
    # The change of sign keeps XLA from removing the copy. It is in place, because fresh
    # pages would cost more than the copy.
    copy = _best_seconds(
        jax.jit(jnp.negative, donate_argnums=0), jnp.ones(floats, jnp.float32)
    )
    return Peak(2e-9 * side**3 / product, 8e-9 * floats / copy)


def _best_seconds(fn: Any, x: Any) -> float:
    """Least time of some calls, each on the result of the one before."""
    x = fn(x).block_until_ready()
    found = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        x = fn(x).block_until_ready()
        found.append(time.perf_counter() - begun)
    return min(found)
