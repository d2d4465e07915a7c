"""What one H100 should need, from operations, bytes and kernels. Nobody has run it.

    python -m benchmarks.predict

The programs are those that a GPU gets, compiled for the CPU that is at hand, whose
analysis counts operations and bytes; fusion on a GPU differs, so bytes and kernels are
estimates. `make bench-gpu` measures.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from jaxgrow import runtime


runtime.configure()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from benchmarks import measure, programs, roofline, table  # noqa: E402
from benchmarks.roofline import Peak  # noqa: E402
from jaxgrow.nets import autoencoder, backend, score  # noqa: E402
from jaxgrow.nets.autoencoder import AutoencoderConfig  # noqa: E402
from jaxgrow.nets.score import ScoreConfig  # noqa: E402


FP32 = Peak(67e3, 3350.0)
BF16 = Peak(989e3, 3350.0)
"""The H100 SXM's data sheet: GFLOP/s without and with tensor cores, GB/s."""

NARROW, WIDE = 0.2, 0.5
BANDWIDTH = 0.6
KERNEL_US = 2.0
ASSUMPTIONS = (
    "**Predicted; nobody has run it.** One H100 SXM by its data sheet: 67 TFLOP/s in "
    "fp32 (System 1), 989 in bf16 (System 2), 3.35 TB/s. The limit takes these whole. "
    "The prediction takes 20 % of the arithmetic peak for System 1's convolutions of "
    "9 channels, 50 % for System 2's products, 60 % of the bandwidth, and adds 2 us "
    "for every kernel, started from a CUDA graph. Operations, bytes and kernels are "
    "counted in the program as it is compiled for a CPU, which fuses less and turns "
    "bf16 to fp32 and back: bytes and kernels are overestimates."
)
SCHEDULE = {4: 2_000, 8: 5_000, 16: 10_000, 32: 30_000, 64: 60_000}
_LARGE = "score network, step, bf16, large batch"
_OBJECTS, _AT_ONCE, _EVALUATIONS = 10_000, 512, 12
_KERNEL = re.compile(
    r" = [^=]*? (fusion|call|convolution|dot|custom-call|reduce|reduce-window|scatter|"
    r"gather|sort|select-and-scatter|concatenate|pad|copy|transpose)\("
)


class Prediction(NamedTuple):
    """Times in ms: the roofline's, and with efficiencies and kernels."""

    limit_ms: float
    predicted_ms: float


def predict(
    flops: float, bytes_accessed: float, kernels: int, peak: Peak, efficiency: float
) -> Prediction:
    """The slower of arithmetic and memory, and the kernels' starts on top."""
    reached = Peak(peak.gflops_per_s * efficiency, peak.gbytes_per_s * BANDWIDTH)
    slowed = roofline.limit_ms(flops, bytes_accessed, reached)
    return Prediction(
        roofline.limit_ms(flops, bytes_accessed, peak),
        slowed + kernels * KERNEL_US * 1e-3,
    )


def count_kernels(hlo: str) -> int:
    """Instructions of the entry computation that a GPU would run as kernels."""
    entry = hlo.partition("\nENTRY ")[2].partition("\n}")[0]
    return len(_KERNEL.findall(entry))


def main() -> None:
    steps = {}
    with mock.patch.object(backend, "on_cpu", return_value=False):
        for resolution in SCHEDULE:
            program = programs.gan(resolution, 128)
            steps[f"GAN step, {resolution} px, perceptual term"] = _row(
                program, 128, FP32, NARROW
            )
        for name, make, size in (
            ("score network, step, bf16", programs.score_step, 512),
            (_LARGE, programs.score_step, 8_192),
            ("autoencoder, step, bf16", programs.autoencoder_step, 128),
            ("ResNet18, step, bf16", programs.resnet18_step, 128),
        ):
            steps[name] = _row(make(size, "bfloat16"), size, BF16, WIDE)
        steps["generation of 512 objects"] = _generation()
    rows = [{"step": name, **row} for name, row in steps.items()]
    found = {"assumptions": ASSUMPTIONS, "steps": rows, "tasks": _tasks(steps)}
    results = Path(__file__).parent / "results"
    measure.write_json(results / "h100.json", found)
    print(table.h100_table(found))


def _row(
    program: programs.Program, batch_size: int, peak: Peak, efficiency: float
) -> dict[str, Any]:
    step, *shapes = program
    compiled = jax.jit(step, donate_argnums=0).lower(*shapes).compile()
    return _described(compiled, batch_size, peak, efficiency)


def _described(
    compiled: Any, batch_size: int, peak: Peak, efficiency: float
) -> dict[str, Any]:
    cost = roofline.cost_of(compiled)
    kernels = count_kernels(compiled.as_text())
    found = predict(cost.flops, cost.bytes_accessed, kernels, peak, efficiency)
    return {
        "batch_size": batch_size,
        "gflop": round(cost.flops / 1e9, 3),
        "gbytes": round(cost.bytes_accessed / 1e9, 3),
        "kernels": kernels,
        "limit_ms": round(found.limit_ms, 4),
        "predicted_ms": round(found.predicted_ms, 4),
    }


def _generation() -> dict[str, Any]:
    """Encode every view, 12 evaluations in a row, decode every view."""
    coder = AutoencoderConfig(compute_dtype="bfloat16")
    net = ScoreConfig(compute_dtype="bfloat16")
    coder_shapes = jax.eval_shape(lambda: autoencoder.init_autoencoder(coder, 0))
    net_shapes = jax.eval_shape(lambda: score.init_score(net, 4, 64, 0))

    def work(coder_params, net_params, images, tau):
        z = autoencoder.encode(coder, coder_params, images)
        x = z.reshape(_AT_ONCE, 4, 64)
        for _ in range(_EVALUATIONS):
            x = score.apply_score(net, net_params, x, tau)
        return autoencoder.decode(coder, coder_params, x.reshape(-1, 64))

    images = jax.ShapeDtypeStruct((_AT_ONCE * 4, 64, 64, 3), jnp.float32)
    tau = jax.ShapeDtypeStruct((_AT_ONCE, 4), jnp.float32)
    lowered = jax.jit(work).lower(coder_shapes, net_shapes, images, tau)
    return _described(lowered.compile(), _AT_ONCE, BF16, WIDE)


def _tasks(steps: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    def task(name: str, goal: str, calls: dict[str, float]) -> dict[str, Any]:
        return {
            "task": name,
            "goal": goal,
            **{
                f"{kind}_s": round(
                    sum(n * steps[s][f"{kind}_ms"] for s, n in calls.items()) / 1e3, 3
                )
                for kind in ("limit", "predicted")
            },
        }

    def share(name: str) -> str:
        seconds = steps[name]["predicted_ms"] / 1e3
        return f"{steps[name]['gflop'] / seconds / BF16.gflops_per_s:.0%} of the peak"

    small = "score network, step, bf16"
    return [
        task(
            "System 1, the paper's schedule: 107,000 batches of 128",
            "900 s",
            {f"GAN step, {r} px, perceptual term": n for r, n in SCHEDULE.items()},
        ),
        *(
            task(
                f"score network, 1,000 steps of {steps[name]['batch_size']:,}: "
                f"{share(name)}",
                "half of the achievable rate",
                {name: 1_000},
            )
            for name in (small, _LARGE)
        ),
        task(
            "three views of 10,000 objects, 12 evaluations",
            "10 s",
            {"generation of 512 objects": -(-_OBJECTS // _AT_ONCE)},
        ),
    ]


if __name__ == "__main__":
    main()
