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


@dataclasses.dataclass(frozen=True)
class ViewRow:
    """Means of one method over all missing views of all objects.

    Attributes:
        method: Name of the method.
        conditioning: Names of the conditioning views, "front+left"; "" for the mean of
            the sets of that size, which count the same.
        num_conditioning: |C|.
        num_images: Generated images behind the means.
        metrics: psnr in dB; ssim; lpips; coherence, the % of generated views in which
            the classifier finds the object's class. In means over sets also fid, of all
            images of the sets together. Empty without images.
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

    The sets are those of `conditioning.sampled_sets`: all of them up to 6 views. All
    missing views of all objects count the same. An object that lacks a conditioning
    view is left out of that set, and a view that an object lacks is not scored.

    Methods get the missing views too, and must not read them. `on_progress` gets the
    pairs of method and set done, and their number.
    """
    measure, images = make_measure(metric_nets), np.asarray(views.images)
    sets = conditioning.sampled_sets(views.num_views)
    rows, means, done = [], [], 0
    for name, complete in methods.items():
        of_method: list[ViewRow] = []
        features: dict[int, Sequence[FeatureStats]] = {}
        for chosen in sets:
            row = ~np.isin(np.arange(views.num_views), chosen)
            missing = np.tile(row, (len(views), 1))
            generated = complete(images, missing)
            usable = views.observed[:, list(chosen)].all(axis=1, keepdims=True)
            scored = missing & views.observed & usable
            if (inception := metric_nets.inception) is not None and scored.any():
                sides = [
                    frechet.stats_of_images(inception, side[scored])
                    for side in (generated, images)
                ]
                before = features.get(len(chosen))
                if before is not None:
                    sides = list(map(frechet.merge, before, sides))
                features[len(chosen)] = sides
            label = conditioning.name_of_set(chosen, view_names)
            metrics = measure(generated, views, scored)
            count = int(scored.sum())
            of_method.append(ViewRow(name, label, len(chosen), count, metrics))
            done += 1
            if on_progress is not None:
                on_progress(done, len(methods) * len(sets))
        rows += of_method
        means += _means_by_size(of_method, features)
    return rows + means


def _means_by_size(
    rows: Sequence[ViewRow], features: Mapping[int, Sequence[FeatureStats]]
) -> Iterator[ViewRow]:
    """Yield the means of one method over the sets of a size that have scored views.

    `features` has the statistics of the generated and of the real images, by size.
    """
    for size in sorted({row.num_conditioning for row in rows}):
        some = [row for row in rows if row.num_conditioning == size]
        measured = [row.metrics for row in some if row.num_images]
        metrics = {
            name: float(np.mean([of_set[name] for of_set in measured]))
            for name in (measured[0] if measured else ())
        }
        if size in features:
            distance = frechet.frechet_distance(*features[size], name=frechet.FID)
            metrics["fid"] = distance.value
        count = sum(row.num_images for row in some)
        yield ViewRow(some[0].method, "", size, count, metrics)


Measure = Callable[
    [UInt8[np.ndarray, "n v h w 3"], ViewSet, Bool[np.ndarray, "n v"]], dict[str, float]
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
