"""What one H100 should need, from its programs' kernels, without running them.

    python -m benchmarks.predict

The programs are compiled for an H100 without one, which takes XLA's plug-in for CUDA
('jaxgrow[cuda13]' or [cuda12], in an environment of its own) and about ten minutes
of two cores.
`make bench-gpu` measures.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp

from benchmarks import gpu_program, hlo_kernels, measure, programs, table
from benchmarks.hlo_kernels import Kernel
from benchmarks.programs import Program
from benchmarks.targets import OBJECTS, SCHEDULE
from jaxgrow.devices import backend
from jaxgrow.errors import UserError
from jaxgrow.nets import autoencoder, score
from jaxgrow.nets.autoencoder import AutoencoderConfig
from jaxgrow.nets.score import ScoreConfig


PEAK_TFLOPS = {"bf16": 989.0, "f32": 494.0}
"""The H100 SXM's data sheet: tensor cores, float32 as TF32, which is JAX's default."""
GBYTES_PER_S = 3350.0
ACHIEVABLE = 0.7
"""Share of the peak that one large matrix product reaches: the rate that counts."""


class Reach(NamedTuple):
    """What a kernel gets of the data sheet, and what it takes to start one.

    Attributes:
        narrow: Of the arithmetic, fewer than 64 channels on one side.
        wide: The same with more.
        large: The same from 512 on.
        bandwidth: Of the memory's.
        kernel_us: Per kernel, in a CUDA graph.
    """

    narrow: float
    wide: float
    large: float
    bandwidth: float
    kernel_us: float

    def of(self, width: int) -> float:
        return (self.narrow, self.wide, self.large)[(width >= 64) + (width >= 512)]


LIMIT = Reach(1.0, 1.0, 1.0, 1.0, 0.0)
MIDDLE = Reach(0.2, 0.5, ACHIEVABLE, 0.7, 2.0)
LOW = Reach(0.15, 0.4, 0.6, 0.6, 3.0)
HIGH = Reach(0.3, 0.6, 0.75, 0.8, 1.0)
ASSUMPTIONS = (
    "**Predicted, not measured.** The programs are compiled for an H100 SXM by "
    "XLA's plug-in for CUDA, without the device and so without its tuning. Their "
    "kernels are summed up: each takes the longer of its products and its bytes. The "
    "limit takes the data sheet whole: 989 TFLOP/s in bf16, 494 in TF32, 3.35 TB/s. "
    "The prediction guesses what a kernel reaches: 20 % of the arithmetic with fewer "
    "than 64 channels, 50 % with more, 70 % from 512 on; 70 % of the bandwidth; and "
    "2 us more for each, started from a CUDA graph. The range has 15, 40, 60, 60 % and "
    "3 us, and 30, 60, 75, 80 % and 1 us."
)
_SCORE_BATCHES = (512, 4_096, 32_768)
_AT_ONCE, _EVALUATIONS = 512, 12
_GAN, _SCORE = "GAN step, {} px, perceptual term, {}", "score network, step, bf16, {:,}"
_GENERATION = "generation of 512 objects, bf16"


def time_ms(kernels: Sequence[Kernel], reach: Reach) -> float:
    """The sum over the kernels of the slower of arithmetic and memory, and starts."""

    def seconds(kernel: Kernel) -> float:
        memory = kernel.num_bytes / (GBYTES_PER_S * 1e9 * reach.bandwidth)
        if kernel.dtype is None:
            return memory
        peak = PEAK_TFLOPS[kernel.dtype] * 1e12 * reach.of(kernel.width)
        return max(memory, kernel.flops / peak)

    return 1e3 * sum(map(seconds, kernels)) + 1e-3 * reach.kernel_us * len(kernels)


def row(name: str, batch_size: int, kernels: Sequence[Kernel]) -> dict[str, Any]:
    """A line of the table of steps."""
    return {
        "step": name,
        "batch_size": batch_size,
        "gflop": round(sum(k.flops for k in kernels) / 1e9, 3),
        "gbytes": round(sum(k.num_bytes for k in kernels) / 1e9, 3),
        "kernels": len(kernels),
        "limit_ms": round(time_ms(kernels, LIMIT), 4),
        "fast_ms": round(time_ms(kernels, HIGH), 4),
        "predicted_ms": round(time_ms(kernels, MIDDLE), 4),
        "slow_ms": round(time_ms(kernels, LOW), 4),
    }


def main() -> None:
    jax.config.update("jax_platforms", "cpu")  # the plug-in would look for a GPU
    rows = []
    with (
        mock.patch.object(backend, "on_cpu", return_value=False),
        mock.patch.object(backend, "on_gpu", return_value=True),
    ):
        for name, size, make in _steps():
            kernels = hlo_kernels.kernels_of(gpu_program.compile_for_h100(make()))
            rows.append(row(name, size, kernels))
            print(rows[-1], flush=True)
    found = {"assumptions": ASSUMPTIONS, "steps": rows, "tasks": tasks(rows)}
    results = Path(__file__).parent / "results"
    measure.write_json(results / "h100.json", found)
    print(table.h100_table(found))


def _steps():
    """(name, batch size, program) of everything that is predicted."""
    bf16 = "bfloat16"
    for r in SCHEDULE:
        yield _GAN.format(r, "bf16"), 128, lambda r=r: programs.gan(r, 128, bf16)
    yield _GAN.format(64, "TF32"), 128, lambda: programs.gan(64, 128)
    for n in _SCORE_BATCHES:
        yield _SCORE.format(n), n, lambda n=n: programs.score_step(n, bf16)
    coder, net = programs.autoencoder_step, programs.resnet18_step
    yield "autoencoder, step, bf16", 128, lambda: coder(128, bf16)
    yield "ResNet18, step, bf16", 128, lambda: net(128, bf16)
    yield _GENERATION, _AT_ONCE, _generation


def _generation() -> Program:
    """Encode every view, 12 evaluations in a row, decode every view."""
    coder = AutoencoderConfig(compute_dtype="bfloat16")
    net = ScoreConfig(compute_dtype="bfloat16")
    coder_shapes = jax.eval_shape(lambda: autoencoder.init_autoencoder(coder, 0))
    net_shapes = jax.eval_shape(lambda: score.init_score(net, 4, 64, 0))

    def work(images, params, tau):
        coder_params, net_params = params
        z = autoencoder.encode(coder, coder_params, images)
        x = z.reshape(_AT_ONCE, 4, 64)
        for _ in range(_EVALUATIONS):
            x = score.apply_score(net, net_params, x, tau)
        return autoencoder.decode(coder, coder_params, x.reshape(-1, 64))

    images = jax.ShapeDtypeStruct((_AT_ONCE * 4, 64, 64, 3), jnp.float32)
    tau = jax.ShapeDtypeStruct((_AT_ONCE, 4), jnp.float32)
    return Program(work, images, (coder_shapes, net_shapes), tau)


def tasks(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the goals ask for, from the rows."""
    by_name = {row["step"]: row for row in rows}

    def task(name: str, goal: str, calls: dict[str, float]) -> dict[str, Any]:
        kinds = ("limit", "fast", "predicted", "slow")
        seconds = {
            f"{kind}_s": sum(n * by_name[s][f"{kind}_ms"] for s, n in calls.items())
            for kind in kinds
        }
        rounded = {kind: round(value / 1e3, 3) for kind, value in seconds.items()}
        return {"task": name, "goal": goal, **rounded}

    def share(step: dict[str, Any]) -> float:
        rate = step["gflop"] / step["predicted_ms"]  # TFLOP/s
        return rate / (ACHIEVABLE * PEAK_TFLOPS["bf16"])

    scores = [by_name[_SCORE.format(n)] for n in _SCORE_BATCHES]
    return [
        task(
            "System 1, the paper's schedule: 107,000 batches of 128",
            "900 s",
            {_GAN.format(r, "bf16"): n for r, n in SCHEDULE.items()},
        ),
        *(
            task(
                f"score network, 1,000 steps of {step['batch_size']:,}: "
                f"{share(step):.0%} of the achievable rate",
                "half of it",
                {step["step"]: 1_000},
            )
            for step in scores
        ),
        task(
            f"three views of {OBJECTS:,} objects, 12 evaluations",
            "10 s",
            {_GENERATION: -(-OBJECTS // _AT_ONCE)},
        ),
    ]


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
