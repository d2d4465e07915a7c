"""Table of all workloads by name."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal

from benchmarks import (
    classifier_workloads,
    data_workloads,
    gan_workloads,
    generation_workload,
    metric_workloads,
    target_workloads,
    targets,
    view_workloads,
)
from benchmarks.classifier_workloads import Case
from benchmarks.measure import Sides
from benchmarks.sizes import Sizes
from jaxgrow.errors import UserError


@dataclasses.dataclass(frozen=True)
class Workload:
    """One row of the table.

    Attributes:
        title: Name in the table.
        build: Function that builds both sides and checks that they compute the same.
        is_long: True if a run on CPU leaves it out unless it is named.
        compute_dtype: Type of our products; None = as the options say.
    """

    title: str
    build: Callable[[Sizes], Sides]
    is_long: bool = False
    compute_dtype: Literal["float32", "bfloat16"] | None = None


def _target(title: str, build: Callable[[Sizes], Sides]) -> Workload:
    return Workload(title, build, is_long=True, compute_dtype="bfloat16")


def _gan(resolution: int, perceptual: bool) -> Workload:
    term = ", perceptual term" if perceptual else ""
    return Workload(
        f"GAN step, {resolution} px{term}",
        lambda sizes: gan_workloads.gan_sides(resolution, sizes, perceptual=perceptual),
        is_long=resolution == 64,
    )


def _classifier(title: str, case: Case) -> Workload:
    def build(sizes: Sizes) -> Sides:
        is_demo = case.side == 32
        batch_size = sizes.demo_batch if is_demo else sizes.classifier_batch
        return classifier_workloads.classifier_sides(
            case._replace(batch_size=batch_size), sizes
        )

    return Workload(title, build)


def _sampling(title: str, name, num_steps: int) -> Workload:
    return Workload(
        title, functools.partial(view_workloads.sampling_sides, name, num_steps)
    )


# Most important first: a short budget drops the last ones.
WORKLOADS: dict[str, Workload] = {
    **{
        f"target-stage-{r}": _target(
            f"the paper's stage of {r} px, step, bf16",
            functools.partial(target_workloads.stage_sides, r),
        )
        for r in targets.SCHEDULE
    },
    "target-score": _target(
        "score network, step, bf16, a large batch", target_workloads.score_sides
    ),
    "target-generation": _target(
        f"3 views of {targets.OBJECTS:,} objects, bf16",
        target_workloads.generation_sides,
    ),
    **{f"gan-{r}": _gan(r, False) for r in (8, 16, 32)},
    "score": Workload("score network, step", view_workloads.score_sides),
    "autoencoder": Workload(
        "autoencoder, step, 64 px", view_workloads.autoencoder_sides
    ),
    "resnet18": _classifier("ResNet18, step, 64 px", Case("resnet18")),
    "mobilenet-v3-large": _classifier(
        "MobileNetV3 large, step, 64 px", Case("mobilenet_v3_large")
    ),
    "mobilenet-v3-small": _classifier(
        "MobileNetV3 small, step, 64 px", Case("mobilenet_v3_small")
    ),
    "sampling-12": _sampling("sampling, 12 evaluations (DDIM)", "ddim", 12),
    "generation": Workload(
        "3 views of an object from 1: encode, 12 evaluations, decode",
        generation_workload.generation_sides,
    ),
    "data-jpeg": Workload("data, JPEG of 256 px to 64 px", data_workloads.jpeg_sides),
    "data-map": Workload("data, memory map", data_workloads.map_sides),
    "data-device": Workload("data, on the device", data_workloads.device_sides),
    "psnr-ssim": Workload("PSNR and SSIM, 64 px", metric_workloads.psnr_ssim_sides),
    "fid-statistics": Workload(
        "feature statistics in float64", metric_workloads.statistics_sides
    ),
    "resnet18-demo": _classifier(
        "ResNet18 of width 16, step, 32 px", Case("resnet18", side=32, width=16)
    ),
    "mobilenet-v3-small-demo": _classifier(
        "MobileNetV3 small, step, 32 px", Case("mobilenet_v3_small", side=32)
    ),
    "gan-4": _gan(4, False),
    **{f"gan-{r}-perceptual": _gan(r, True) for r in (4, 8, 16, 32)},
    "sampling-250": _sampling(
        "sampling, 250 evaluations (Euler-Maruyama)", "euler_maruyama", 250
    ),
    "gan-64": _gan(64, False),
    "gan-64-perceptual": _gan(64, True),
}


def choose(only: Sequence[str], *, on_cpu: bool) -> list[str]:
    """Return the names of the workloads to run.

    Args:
        only: Names, or their beginnings up to a hyphen; empty = all, except the long
            ones on CPU.
        on_cpu: True if the device is a CPU.

    Raises:
        UserError: There is no such workload.
    """
    if not only:
        return [n for n, w in WORKLOADS.items() if not (on_cpu and w.is_long)]
    for wanted in only:
        if not any(_is_part(wanted, name) for name in WORKLOADS):
            raise UserError(
                f"there is no workload {wanted}: choose among {', '.join(WORKLOADS)}."
            )
    return [n for n in WORKLOADS if any(_is_part(wanted, n) for wanted in only)]


def _is_part(wanted: str, name: str) -> bool:
    return name == wanted or (wanted not in WORKLOADS and name.startswith(f"{wanted}-"))
