"""Table I of Di Giacomo et al. (2024): quality of generated views by what is given."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
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
"""The paper's figures on NMR for 1, 2 and 3 given views."""

_BATCH = 128


class MetricNets(NamedTuple):
    """What sees more in images than pixels; None leaves its column out.

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
        method: Its name.
        given: Names of the given views, "front+left"; "" for the mean of all sets of
            that size, which count the same.
        num_given: |C|.
        num_images: Generated images behind the means.
        metrics: psnr in dB, ssim, coherence in %, how often the classifier sees the
            object's class in a generated view, and lpips; in means over sets also fid,
            of all images of the sets together.
    """

    method: str
    given: str
    num_given: int
    num_images: int
    metrics: dict[str, float]


def table_one(
    methods: Mapping[str, CompleteFn],
    views: ViewSet,
    metric_nets: MetricNets,
    view_names: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ViewRow]:
    """Every method on every conditioning set, and the means by the number of views.

    All missing views of all objects count the same. An object that lacks a given view
    is left out of that set, and a view that an object lacks is not scored.

    Args:
        methods: Name -> method; a method that may not look at missing views must not.
        views: Real views of the test objects.
        metric_nets: Of coherence, LPIPS and FID.
        view_names: One per slot.
        on_progress: Gets the pairs of method and set done, and their number.
    """
    measure, frechet_of = (
        make_measure(metric_nets),
        _FrechetBySize(metric_nets.inception),
    )
    sets = conditioning.conditioning_sets(views.num_views)
    rows = conditioning.missing_rows(views.num_views)
    found = []
    for number, (name, complete) in enumerate(methods.items()):
        for i, (given, row) in enumerate(zip(sets, rows, strict=True)):
            missing = np.tile(row, (len(views), 1))
            generated = complete(np.asarray(views.images), missing)
            usable = views.observed[:, list(given)].all(axis=1, keepdims=True)
            scored = missing & views.observed & usable
            metrics = measure(generated, views, scored)
            frechet_of.add(name, len(given), generated, views, scored)
            found.append(
                ViewRow(
                    method=name,
                    given=conditioning.name_of_set(given, view_names),
                    num_given=len(given),
                    num_images=int(scored.sum()),
                    metrics=metrics,
                )
            )
            if on_progress is not None:
                on_progress(number * len(sets) + i + 1, len(methods) * len(sets))
    return found + _means_by_size(found, frechet_of)


class _FrechetBySize:
    """FID by method and number of given views, from statistics of every set."""

    def __init__(self, features: FeaturesOfPixels | None):
        self.features = features
        self.stats: dict[tuple[str, int], tuple[FeatureStats, FeatureStats]] = {}

    def add(self, method: str, num_given: int, generated, views, scored) -> None:
        if self.features is None:
            return
        fake, real = (
            frechet.stats_of_images(self.features, images[scored])
            for images in (generated, np.asarray(views.images))
        )
        if (before := self.stats.get((method, num_given))) is not None:
            fake, real = frechet.merge(before[0], fake), frechet.merge(before[1], real)
        self.stats[method, num_given] = fake, real

    def metrics(self, method: str, num_given: int) -> dict[str, float]:
        if self.features is None:
            return {}
        fake, real = self.stats[method, num_given]
        return {"fid": frechet.frechet_distance(fake, real, name=frechet.FID).value}


def _means_by_size(
    rows: Sequence[ViewRow], frechet_of: _FrechetBySize
) -> list[ViewRow]:
    means = []
    for method in dict.fromkeys(row.method for row in rows):
        of_method = [row for row in rows if row.method == method]
        for size in sorted({row.num_given for row in of_method}):
            some = [row for row in of_method if row.num_given == size]
            metrics = {
                name: float(np.mean([row.metrics[name] for row in some]))
                for name in some[0].metrics
            }
            means.append(
                ViewRow(
                    method=method,
                    given="",
                    num_given=size,
                    num_images=sum(row.num_images for row in some),
                    metrics=metrics | frechet_of.metrics(method, size),
                )
            )
    return means


Measure = Callable[
    [UInt8[np.ndarray, "n v h w 3"], ViewSet, Bool[np.ndarray, "n v"]],
    dict[str, float],
]


def make_measure(metric_nets: MetricNets) -> Measure:
    """(generated, views, scored) -> means over the scored views.

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
        objects, slots = np.nonzero(scored)
        parts: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(objects), size):
            rows = np.arange(start, start + size) % len(objects)
            stop = min(size, len(objects) - start)
            at = objects[rows], slots[rows]
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
