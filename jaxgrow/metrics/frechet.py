"""Frechet distance between two sets of images in a network's features.

The squared distance of the two normal distributions with the sets' means and
covariances (Dowson and Landau 1982; Heusel et al. 2017, Eq. 6),

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)).

It is FID only on the features of FID's own Inception; on other features it bears
another name. Sums are float64, also where JAX is set to float32: the features of 10,000
images have covariances with eigenvalues down to a millionth of the largest, whose
square roots count. They run where the features lie, and on the CPU in NumPy, whose BLAS
halves the product of a matrix and its own transpose.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from jaxgrow import ops
from jaxgrow.data import arrays
from jaxgrow.devices import settings
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.errors import UserError


FID = "FID"
CLASSIFIER_DISTANCE = "classifier Frechet distance"
"""On the features of a classifier that this project trained; never called FID."""

FEW_IMAGES = 2048


class FeatureStats(NamedTuple):
    """Mean and scatter of the rows seen so far, all float64.

    Attributes:
        count: Rows.
        mean: (d,).
        scatter: (d, d), sum over rows of (x - mean)(x - mean)^T.
    """

    count: Float[Array | np.ndarray, ""]
    mean: Float[Array | np.ndarray, " d"]
    scatter: Float[Array | np.ndarray, "d d"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrechetDistance:
    """A distance, with notes for the reader.

    Attributes:
        name: What to call it.
        value: The squared distance, 0 or more.
        notes: A sentence for each reason not to trust the figure; empty if both sets
            are large enough.
    """

    name: str
    value: float
    notes: tuple[str, ...]


@ops.in_float64
def stats_of(
    xp: Any,
    features: Float[Array | np.ndarray, "b d"],
    valid: Bool[Array | np.ndarray, " b"] | None = None,
) -> FeatureStats:
    """Return the statistics of one batch.

    Args:
        xp: NumPy or `jax.numpy`, from `in_float64`.
        features: One row per image.
        valid: False on rows that only fill up a batch; None: all count.
    """

    def counted(x):
        """Zero the rows that do not count; they may hold NaN."""
        return x if valid is None else xp.where(valid[:, None], x, 0.0)

    rows = len(features) if valid is None else valid.sum()
    count = xp.asarray(rows, xp.float64)
    x = counted(features).astype(xp.float64)
    mean = x.sum(axis=0) / xp.maximum(count, 1.0)
    centred = counted(x - mean[None])
    return FeatureStats(count, mean, centred.T @ centred)


@ops.in_float64
def merge(xp: Any, a: FeatureStats, b: FeatureStats) -> FeatureStats:
    """Merge the statistics of two sets (Chan, Golub and LeVeque 1983, Eq. 2.1)."""
    count = a.count + b.count
    share = b.count / xp.maximum(count, 1.0)
    delta = b.mean - a.mean
    between = a.count * share * delta[:, None] * delta[None, :]
    return FeatureStats(count, a.mean + share * delta, a.scatter + b.scatter + between)


@settings.fixed()
def stats_of_images(
    features_fn: Callable[[UInt8[Array, "b h w 3"]], Float[Array, "b d"]],
    images: Any,
    *,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> FeatureStats:
    """Return the statistics of a network's features of many images.

    The devices of this machine share every call's images, and sum up their features
    where these lie. A call's `batch_size` is rounded up to a multiple of the devices.
    `features_fn` is jittable and takes 8-bit pixels, each image on its own. The images
    are (n, h, w, 3), in memory or memory-mapped. `on_progress` gets the images done and
    their number after each batch.

    Raises:
        UserError: The images are not 8-bit RGB.
    """
    images = arrays.as_pixels(images, "the images")
    compiled = RowsFn(lambda _, pixels: features_fn(pixels))
    batch_size = compiled.whole_shares(batch_size)
    stats = None
    for start in range(0, len(images), batch_size):
        rows = np.arange(start, start + batch_size)
        valid = rows < len(images)
        features = compiled((), images[rows.clip(max=len(images) - 1)])
        batch = stats_of(features, valid)
        stats = batch if stats is None else merge(stats, batch)
        if on_progress is not None:
            on_progress(min(start + batch_size, len(images)), len(images))
    assert stats is not None
    return stats


def mean_and_covariance(
    stats: FeatureStats,
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Return mean and unbiased covariance (divisor n - 1, as `numpy.cov`) on the host.

    Raises:
        UserError: Fewer than two rows, or features that are not finite.
    """
    count, mean, scatter = (np.asarray(part) for part in stats)
    if count < 2:
        raise UserError(
            f"a covariance takes 2 images or more, and there are {count:.0f}: add some."
        )
    if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
        raise UserError(
            "some features are NaN or infinite: check the images and the network's "
            "weights."
        )
    return mean, scatter / (count - 1.0)


def frechet_distance(
    a: FeatureStats, b: FeatureStats, *, name: str = "Frechet distance"
) -> FrechetDistance:
    """Return the distance of two sets of images by the statistics of their features.

    `name` is that of the figure: `FID`, `CLASSIFIER_DISTANCE`, ...

    Raises:
        UserError: Different features, fewer than two images, or features that are not
            finite.
    """
    if a.mean.shape != b.mean.shape:
        raise UserError(
            f"one set has {len(a.mean)} features per image and the other "
            f"{len(b.mean)}: take both from one network."
        )
    (mean_a, cov_a), (mean_b, cov_b) = map(mean_and_covariance, (a, b))
    mean_term = float(np.square(mean_a - mean_b).sum())
    # With C = F F^T for both, the trace of the root is the sum of the singular values
    # of F_a^T F_b: real for singular covariances too, and as accurate as the factors.
    # An iteration for the root of the product loses half of the digits or diverges.
    product = _factor(cov_a).T @ _factor(cov_b)
    overlap = np.linalg.svd(product, compute_uv=False).sum()
    covariance_term = float(np.trace(cov_a) + np.trace(cov_b) - 2.0 * overlap)
    counts, num_features = (int(a.count), int(b.count)), len(mean_a)
    return FrechetDistance(
        name=name,
        value=max(mean_term + covariance_term, 0.0),
        notes=_notes(name, min(counts), num_features),
    )


def _factor(cov: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d r"]:
    """Return F with F F^T = cov, without the directions of rounding errors."""
    values, vectors = np.linalg.eigh(cov)
    rounding = len(cov) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    kept = values > rounding
    return vectors[:, kept] * np.sqrt(values[kept])


def _notes(name: str, count: int, num_features: int) -> tuple[str, ...]:
    notes = []
    if count < FEW_IMAGES:
        notes.append(
            f"{name} of {count:,} images is biased upwards: compare it only with "
            f"figures of as many images, and take {FEW_IMAGES:,} or more for the usual "
            "one"
        )
    if count <= num_features:
        notes.append(
            f"{count:,} images cannot fill the covariance of {num_features:,} "
            f"features: {name} rests on singular matrices"
        )
    return tuple(notes)
