"""Figures of a comparison of two sets of images."""

import dataclasses
import functools
import math
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from jaxgrow.metrics import frechet, paired
from jaxgrow.metrics.lpips import Lpips


MetricColumns: TypeAlias = dict[str, Float[np.ndarray, " n"]]
"""Name of a metric -> one value per image."""

NEEDS_WEIGHTS = "needs weights: python -m tools.export_weights {} --out {}"

_TITLES = {"psnr": "PSNR, dB", "ssim": "SSIM", "l1": "L1"}
_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        metric: Its key.
        title: Its name for readers, with unit.
        value: The figure; None if something is missing.
        half_width: Of the mean's 95 % interval over the images, if it is a mean.
        needs: Missing package or weights, if there is no value.
    """

    metric: str
    title: str
    value: float | None = None
    half_width: float | None = None
    needs: str | None = None


def paired_figures(per_image: MetricColumns, lpips: Lpips | None) -> list[Figure]:
    """Return means of paired metrics with intervals, and LPIPS or what it needs."""
    lpips_title = "LPIPS (SqueezeNet)" if lpips is None else lpips.label
    titles, figures = {**_TITLES, "lpips": lpips_title}, []
    for metric, values in per_image.items():
        base, hole = metric.removesuffix("_hole"), metric.endswith("_hole")
        title = titles[base] + (" (holes)" if hole else "")
        spread = values.std(ddof=1) if len(values) > 1 else math.nan
        half_width = float(1.96 * spread / math.sqrt(len(values)))
        figures.append(Figure(metric, title, float(values.mean()), half_width))
    if lpips is None:
        needs = NEEDS_WEIGHTS.format("squeezenet_lpips", "FILE")
        figures.append(Figure("lpips", lpips_title, needs=needs))
    return figures


def distance_figures(
    features: tuple[Float[np.ndarray, "n d"], Float[np.ndarray, "m d"]] | None,
    *,
    is_paired: bool,
    is_random: bool,
) -> tuple[list[Figure], tuple[str, ...]]:
    """Return FID, and of pairs P-IDS and U-IDS, or what they need, with notes.

    `features` are FID's of the real and of the generated images; with `is_paired` row i
    of both is a pair. The titles say so if the network's weights are random.

    Raises:
        UserError: See `frechet_distance`.
    """
    titles = {"fid": frechet.FID, "p_ids": "P-IDS, %", "u_ids": "U-IDS, %"}
    if not is_paired:
        titles = {"fid": titles["fid"]}
    if features is None:
        needs = NEEDS_WEIGHTS.format("inception_fid", "FILE")
        return [Figure(m, title, needs=needs) for m, title in titles.items()], ()
    if is_random:
        titles = {m: f"{title} (RANDOM weights)" for m, title in titles.items()}
    stats = [_stats(rows) for rows in features]
    distance = frechet.frechet_distance(*stats, name=titles["fid"])
    notes, values = distance.notes, {"fid": distance.value}
    if is_paired and paired.is_available():
        scores = paired.discriminative_scores(*features)
        values |= {"p_ids": scores.p_ids, "u_ids": scores.u_ids}
        notes += scores.notes
    needs = f"needs scikit-learn: {paired.NEEDS}"
    figures = [
        Figure(m, title, values.get(m), needs=None if m in values else needs)
        for m, title in titles.items()
    ]
    return figures, notes


def _stats(rows: Float[np.ndarray, "n d"]) -> frechet.FeatureStats:
    starts = range(0, len(rows), _BATCH)
    batches = (frechet.stats_of(rows[start : start + _BATCH]) for start in starts)
    return functools.reduce(frechet.merge, batches)
