"""Table I of Di Giacomo et al. (2024): quality by conditioning views."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8

from jaxgrow.data.views import ViewSet
from jaxgrow.devices.parallel import RowsFn
from jaxgrow.evaluation.classifiers import SavedClassifier, classify
from jaxgrow.metrics import frechet, image
from jaxgrow.metrics.frechet import FeatureStats
from jaxgrow.metrics.inception_distance import FeaturesOfPixels
from jaxgrow.metrics.lpips import Lpips
from jaxgrow.multiview import conditioning
from jaxgrow.multiview.baselines import CompleteFn
from jaxgrow.pixels import to_unit


PAPER_TABLE_1 = {
    "fid": (16.43, 15.14, 14.51),
    "lpips": (0.074, 0.056, 0.048),
    "ssim": (0.832, 0.884, 0.912),
    "psnr": (24.028, 26.776, 28.491),
    "coherence": (85.49, 88.33, 89.14),
}
"""The paper's figures on NMR for 1, 2 and 3 conditioning views."""

_BATCH = 128


class MetricNets(NamedTuple):
    """Networks of the metrics; None leaves the metric out.

    Attributes:
        classifier: Of single views, for coherence.
        lpips: Perceptual distance of pairs.
        inception: Features of 8-bit pixels, for FID.
    """

    classifier: SavedClassifier | None = None
    lpips: Lpips | None = None
    inception: FeaturesOfPixels | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewRow:
    """Means of one method over all missing views of all objects.

    Attributes:
        method: Name of the method.
        conditioning: Names of the conditioning views, "front+left"; "" for the mean of
            all sets of that size, which count the same.
        num_conditioning: |C|.
        num_images: Generated images behind the means.
        metrics: psnr in dB; ssim; lpips; coherence, the % of generated views in which
            the classifier finds the object's class. In means over sets also fid, of all
            images of the sets together.
    """

    method: str
    conditioning: str
    num_conditioning: int
    num_images: int
    metrics: dict[str, float]


def table_one(
    methods: Mapping[str, CompleteFn],
    views: ViewSet,
    metric_nets: MetricNets,
    view_names: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ViewRow]:
    """Measure every method on every conditioning set; add means by |C|.

    All missing views of all objects count the same. An object that lacks a conditioning
    view is left out of that set, and a view that an object lacks is not scored.

    Args:
        methods: Name -> method. They get the missing views too, and must not read them.
        views: Real views of the test objects.
        metric_nets: Of coherence, LPIPS and FID.
        view_names: One per view.
        on_progress: Called with the pairs of method and set done, and their number.
    """
    measure, images = make_measure(metric_nets), np.asarray(views.images)
    sets = conditioning.conditioning_sets(views.num_views)
    rows, means, done = [], [], 0
    for name, complete in methods.items():
        of_method, features = [], _FeaturesBySize(metric_nets.inception)
        for chosen, row in zip(
            sets, conditioning.missing_rows(views.num_views), strict=True
        ):
            missing = np.tile(row, (len(views), 1))
            generated = complete(images, missing)
            usable = views.observed[:, list(chosen)].all(axis=1, keepdims=True)
            scored = missing & views.observed & usable
            features.add(len(chosen), generated[scored], images[scored])
            of_method.append(
                ViewRow(
                    method=name,
                    conditioning=conditioning.name_of_set(chosen, view_names),
                    num_conditioning=len(chosen),
                    num_images=int(scored.sum()),
                    metrics=measure(generated, views, scored),
                )
            )
            done += 1
            if on_progress is not None:
                on_progress(done, len(methods) * len(sets))
        rows += of_method
        means += _means_by_size(of_method, features)
    return rows + means


class _FeaturesBySize:
    """Feature statistics of the generated and real images of all sets of one size."""

    def __init__(self, features: FeaturesOfPixels | None):
        self._features = features
        self._stats: dict[int, tuple[FeatureStats, FeatureStats]] = {}

    def add(self, size: int, fake: np.ndarray, real: np.ndarray) -> None:
        if self._features is None:
            return
        a, b = (frechet.stats_of_images(self._features, x) for x in (fake, real))
        if (before := self._stats.get(size)) is not None:
            a, b = frechet.merge(before[0], a), frechet.merge(before[1], b)
        self._stats[size] = a, b

    def fid(self, size: int) -> dict[str, float]:
        if self._features is None:
            return {}
        fake, real = self._stats[size]
        return {"fid": frechet.frechet_distance(fake, real, name=frechet.FID).value}


def _means_by_size(
    rows: Sequence[ViewRow], features: _FeaturesBySize
) -> Iterator[ViewRow]:
    """Yield the means of one method over all sets of a size."""
    for size in sorted({row.num_conditioning for row in rows}):
        some = [row for row in rows if row.num_conditioning == size]
        metrics = {
            name: float(np.mean([row.metrics[name] for row in some]))
            for name in some[0].metrics
        }
        yield ViewRow(
            method=some[0].method,
            conditioning="",
            num_conditioning=size,
            num_images=sum(row.num_images for row in some),
            metrics=metrics | features.fid(size),
        )


Measure = Callable[
    [UInt8[np.ndarray, "n v h w 3"], ViewSet, Bool[np.ndarray, "n v"]],
    dict[str, float],
]


def make_measure(metric_nets: MetricNets) -> Measure:
    """Build (generated, views, scored) -> means over the scored views.

    The devices of this machine share the views.
    """

    def compare_rows(_, fake, real):
        x, y = to_unit(fake), to_unit(real)
        found = {"psnr": image.psnr(x, y), "ssim": image.ssim(x, y)}
        if metric_nets.classifier is not None:
            found["predicted"] = classify(metric_nets.classifier, x).argmax(axis=1)
        return found

    compare = RowsFn(compare_rows)
    size = compare.whole_shares(_BATCH)

    def measure(generated, views, scored):
        objects, which = np.nonzero(scored)
        parts: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(objects), size):
            rows = np.arange(start, start + size) % len(objects)
            stop = min(size, len(objects) - start)
            at = objects[rows], which[rows]
            fake, real = generated[at], np.asarray(views.images[at])
            compared = compare((), fake, real)
            if metric_nets.lpips is not None:
                x, y = (pixels / np.float32(127.5) - 1 for pixels in (fake, real))
                compared["lpips"] = metric_nets.lpips(x, y).values
            for name, values in compared.items():
                parts.setdefault(name, []).append(np.asarray(values)[:stop])
        per_image = {name: np.concatenate(values) for name, values in parts.items()}
        if "predicted" in per_image:
            right = per_image.pop("predicted") == views.labels[objects]
            per_image["coherence"] = 100.0 * right
        return {name: float(values.mean()) for name, values in per_image.items()}

    return measure
