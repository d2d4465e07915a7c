"""Sizes of the workloads on CPU, on a GPU and in tests."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of all workloads; networks have the papers' sizes unless noted."""

    gan_batch: int = 64
    """Pictures of a step of System 1."""
    views_batch: int = 64
    """Objects or pictures of a step of the score network or the autoencoder."""
    classifier_batch: int = 128
    """Pictures of a step of a classifier at 64 px."""
    demo_batch: int = 64
    """Pictures of a step of a classifier at the demo's 32 px."""
    sampled_objects: int = 64
    """Objects of a sampling run."""
    generated_objects: int = 8
    """Objects whose views are generated from one."""
    target_score_batch: int = 32_768
    """Objects of the score network's step in its goal."""
    target_objects: int = 10_000
    """Objects of the goal for generation."""
    score_width: int = 1536
    """Width of the score network."""
    base_channels: int = 64
    """Base channels of the autoencoder."""
    files: int = 64
    """JPEG files that the data pipeline reads."""
    rows: int = 4096
    """Pictures of 64 px in memory, mapped or on the device."""
    metric_images: int = 128
    """Pictures of 64 px whose PSNR and SSIM are taken."""
    feature_rows: int = 2048
    """Rows of features whose statistics are taken."""
    feature_dim: int = 512
    """Features of a row; Inception has 2048."""
    steps_per_call: int = 1
    """Training steps in one loop on the device. On CPU XLA's gradients of convolutions
    are 10 to 80 times slower inside a loop."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of our products in System 2; the twins use float32."""


CPU = Sizes()

GPU = Sizes(
    gan_batch=128,
    views_batch=512,
    demo_batch=512,
    sampled_objects=4096,
    generated_objects=1024,
    files=256,
    rows=65_536,
    metric_images=4096,
    feature_rows=16_384,
    feature_dim=2048,
    steps_per_call=50,
)

TINY = Sizes(
    gan_batch=4,
    views_batch=4,
    classifier_batch=16,
    demo_batch=32,
    sampled_objects=4,
    generated_objects=2,
    target_score_batch=4,
    target_objects=2,
    score_width=256,  # below it the norms' small groups amplify rounding
    base_channels=4,
    files=4,
    rows=256,
    metric_images=4,
    feature_rows=128,
    feature_dim=16,
)
"""Sizes for tests of the code; the times mean nothing."""
