"""Paired differences of hole PSNR with bootstrap intervals."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from jaxgrow.evaluation.figures import MetricColumns
from jaxgrow.metrics.image import EIGHT_BIT_NOISE


@dataclasses.dataclass(frozen=True)
class Difference:
    """A PSNR of the reference minus a baseline's, in dB, with its 95 % interval.

    Attributes:
        metric: "psnr_hole" or "psnr_hole_pooled".
        baseline: Name of the other method.
        bin: As in `MetricRow`.
        mean: The difference of the two rows; `low` to `high` is its interval.
    """

    metric: str
    baseline: str
    bin: str
    mean: float
    low: float
    high: float


def differences(
    values: Mapping[str, Mapping[str, MetricColumns]],
    reference: str,
    image_index: Int[np.ndarray, " n"],
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """Compare the reference with every other method, on the same resamples.

    `values` has method -> bin -> metrics of each image, "psnr_hole" and "mse_hole" too;
    a bin may hold the images several times over, in order. `image_index` is the
    photograph that each image is a crop of.
    """
    _, photo = np.unique(image_index, return_inverse=True)
    draws = draw_photos(int(photo.max()) + 1, num_resamples, seed)
    found = []
    for baseline, by_bin in values.items():
        if baseline == reference:
            continue
        for bin, theirs in by_bin.items():
            ours = values[reference][bin]
            repeated = np.tile(photo, len(ours["psnr_hole"]) // len(photo))

            psnr, mse = (
                [resampled_means(of[name], repeated, draws) for of in (ours, theirs)]
                for name in ("psnr_hole", "mse_hole")
            )
            gains = {
                "psnr_hole": psnr[0] - psnr[1],
                "psnr_hole_pooled": pooled_psnr(mse[0]) - pooled_psnr(mse[1]),
            }
            for metric, (mean, *resampled) in gains.items():
                low, high = np.percentile(resampled, [2.5, 97.5]).tolist()
                found.append(Difference(metric, baseline, bin, float(mean), low, high))
    return found


def draw_photos(
    num_photos: int, num_resamples: int, seed: int
) -> Float[np.ndarray, "s p"]:
    """Draw photographs with replacement; return the count of each per resample.

    Row 0 is the sample itself: every photograph once.
    """
    rng = np.random.default_rng(seed)
    draws = np.ones((num_resamples + 1, num_photos), np.float32)
    for row in draws[1:]:
        drawn = rng.integers(num_photos, size=num_photos)
        row[:] = np.bincount(drawn, minlength=num_photos)
    return draws


def resampled_means(
    values: Float[np.ndarray, " n"],
    photo: Int[np.ndarray, " n"],
    draws: Float[np.ndarray, "s p"],
) -> Float[np.ndarray, " s"]:
    """Return the mean of each resample, photographs weighted by their counts."""
    num_photos = draws.shape[1]
    sums = np.bincount(photo, weights=values, minlength=num_photos)
    counts = np.bincount(photo, minlength=num_photos)
    return (draws @ sums) / (draws @ counts)


def pooled_psnr(mse_hole: Float[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Return the PSNR in dB of mean squared errors averaged over holes."""
    return -10 * np.log10(np.maximum(mse_hole, EIGHT_BIT_NOISE))
