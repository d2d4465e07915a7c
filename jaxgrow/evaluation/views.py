"""Table I of Di Giacomo et al. (2024): quality of generated views by what is given."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxgrow import subsets
from jaxgrow.data.views import ViewSet
from jaxgrow.metrics import image
from jaxgrow.multiview import to_unit
from jaxgrow.nets import classifiers
from jaxgrow.typing import UnitImage
from jaxgrow.view_baselines import CompleteFn
from jaxgrow.view_weights import SavedClassifier


Classify = Callable[[UnitImage], Float[Array, "b k"]]

PAPER_TABLE_1 = {
    "fid": (16.43, 15.14, 14.51),
    "lpips": (0.074, 0.056, 0.048),
    "ssim": (0.832, 0.884, 0.912),
    "psnr": (24.028, 26.776, 28.491),
    "coherence": (85.49, 88.33, 89.14),
}
"""The paper's figures on NMR for 1, 2 and 3 given views."""

_BATCH = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewRow:
    """Means of one method over all missing views of all objects.

    Attributes:
        method: Its name.
        given: Names of the given views, "front+left"; "" for the mean of all sets of
            that size, which count the same.
        num_given: |C|.
        num_images: Generated images behind the means.
        metrics: psnr in dB, ssim, and coherence in %: how often the judge sees the
            object's class in a generated view.
    """

    method: str
    given: str
    num_given: int
    num_images: int
    metrics: dict[str, float]


def table_one(
    methods: Mapping[str, CompleteFn],
    views: ViewSet,
    judge: SavedClassifier | None,
    view_names: Sequence[str],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[ViewRow]:
    """Every method on every conditioning set, and the means by the number of views.

    All missing views of all objects count the same. An object that lacks a given view
    is left out of that set, and a view that an object lacks is not scored.

    Args:
        methods: Name -> method; a method that may not look at missing views must not.
        views: Real views of the test objects.
        judge: Classifier of coherence; None leaves coherence out.
        view_names: One per slot.
        on_progress: Gets the pairs of method and set done, and their number.
    """
    measure = make_measure(judge)
    sets = subsets.conditioning_sets(views.num_views)
    rows = subsets.missing_rows(views.num_views)
    found = []
    for number, (name, complete) in enumerate(methods.items()):
        for i, (given, row) in enumerate(zip(sets, rows, strict=True)):
            missing = np.tile(row, (len(views), 1))
            completed = complete(np.asarray(views.images), missing)
            usable = views.observed[:, list(given)].all(axis=1, keepdims=True)
            scored = missing & views.observed & usable
            metrics = measure(completed, views, scored)
            found.append(
                ViewRow(
                    method=name,
                    given=subsets.name_of(given, view_names),
                    num_given=len(given),
                    num_images=int(scored.sum()),
                    metrics=metrics,
                )
            )
            if on_progress is not None:
                on_progress(number * len(sets) + i + 1, len(methods) * len(sets))
    return found + _means_by_size(found)


def _means_by_size(rows: Sequence[ViewRow]) -> list[ViewRow]:
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
                    metrics=metrics,
                )
            )
    return means


Measure = Callable[
    [UInt8[np.ndarray, "n v h w 3"], ViewSet, Bool[np.ndarray, "n v"]],
    dict[str, float],
]


def make_measure(judge: SavedClassifier | None) -> Measure:
    """(completed, views, scored) -> means over the scored views of the completed ones."""

    @jax.jit
    def compare(fake, real):
        x, y = to_unit(fake), to_unit(real)
        found = {"psnr": image.psnr(x, y), "ssim": image.ssim(x, y)}
        if judge is not None:
            found["predicted"] = classify(judge, x).argmax(axis=1)
        return found

    def measure(completed, views, scored):
        objects, slots = np.nonzero(scored)
        parts: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(objects), _BATCH):
            rows = np.arange(start, start + _BATCH) % len(objects)
            stop = min(_BATCH, len(objects) - start)
            at = objects[rows], slots[rows]
            for name, values in compare(completed[at], views.images[at]).items():
                parts.setdefault(name, []).append(np.asarray(values)[:stop])
        per_image = {name: np.concatenate(values) for name, values in parts.items()}
        if "predicted" in per_image:
            right = per_image.pop("predicted") == views.labels[objects]
            per_image["coherence"] = 100.0 * right
        return {name: float(values.mean()) for name, values in per_image.items()}

    return measure


def classify(judge: SavedClassifier, images: UnitImage) -> Float[Array, "b k"]:
    """Logits, with the running statistics of training."""
    logits, _ = classifiers.apply_classifier(
        judge.config, judge.params, judge.stats, images, train=False
    )
    return logits


def accuracy(
    judge: SavedClassifier,
    images: UInt8[np.ndarray, "n h w 3"],
    labels: Int[np.ndarray, " n"],
) -> float:
    """Percent of images whose class the judge names."""
    predict = jax.jit(lambda x: classify(judge, to_unit(x)).argmax(axis=1))
    right = []
    for start in range(0, len(images), _BATCH):
        rows = np.arange(start, start + _BATCH) % len(images)
        stop = min(_BATCH, len(images) - start)
        predicted = np.asarray(predict(jnp.asarray(images[rows])))
        right.append((predicted == labels[rows])[:stop])
    return 100.0 * float(np.concatenate(right).mean())
