"""Generated views for classification: all views of an object from one image.

Averaging a classifier's outputs over them is the test-time augmentation of Di Giacomo
et al. (2024).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from jaxgrow.data import arrays
from jaxgrow.data.views import pixels
from jaxgrow.errors import UserError
from jaxgrow.evaluation.classifiers import SavedClassifier, logits_of
from jaxgrow.multiview.evaluation.classification import MODES, Mode, aggregate
from jaxgrow.multiview.generator import DEFAULT_SAMPLER, ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig


Images = Any  # an array of one batch, or a list of pictures
ViewChoice = int | np.integer | str | Sequence[int | str] | np.ndarray


class ViewAugmenter:
    """Generates the other views of objects from one image each; NumPy out.

        augmenter = ViewAugmenter.load("runs/dimvida_demo")
        views = augmenter(images, conditioning="front")

    Attributes:
        view_names: Names of the views, in the order of the result.
        image_size: Side of the views in pixels.
    """

    def __init__(self, view_generator: ViewGenerator):
        self._view_generator = view_generator
        self.view_names = view_generator.view_names
        self.image_size = view_generator.image_size

    @classmethod
    def load(cls, run_dir: Path | str, batch_size: int = 64) -> "ViewAugmenter":
        """Load the weights in a run directory of nmr_dimvida.

        Raises:
            UserError: They are missing, damaged or of another version.
        """
        return cls(ViewGenerator.load(run_dir, batch_size))

    def __call__(
        self,
        images: Images,
        conditioning: ViewChoice,
        *,
        num_samples: int | None = None,
        sampler: SamplerConfig = DEFAULT_SAMPLER,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> UInt8[np.ndarray, "n v h w 3"] | UInt8[np.ndarray, "n k v h w 3"]:
        """Return all views of every object, the image among them.

        Args:
            images: uint8, one square image per object: (n, h, w, 3), or a list of
                (h, w, 3), of grey (h, w) or of Pillow pictures, of any sizes. Those
                of another size than `image_size` are scaled to it, larger ones by exact
                area means, smaller ones by cubic interpolation; those of that size come
                back bit for bit.
            conditioning: View that the images show, by name or number; one for all, or
                one per image.
            num_samples: Draws of the other views, k; None draws them once and leaves
                the axis out.
            sampler: Sampler and number of network evaluations.
            seed: Of all draws. An image's come from it and the image's number alone.
            on_progress: Called with the objects done and their number.

        Raises:
            UserError: Wrong types or shapes, images that are not square, an unknown
                view, or fewer than 1 sample.
        """
        fitted = self._fit(images)
        views = self._generate(
            fitted,
            self._indices(conditioning, len(fitted)),
            np.arange(len(fitted)),
            num_samples=1 if num_samples is None else num_samples,
            sampler=sampler,
            seed=seed,
            on_progress=on_progress,
        )
        return views[:, 0] if num_samples is None else views

    def predict(
        self,
        classifier: SavedClassifier,
        images: Images,
        conditioning: ViewChoice,
        *,
        mode: Mode = "softmax",
        gate: float | None = None,
        num_samples: int = 1,
        sampler: SamplerConfig = DEFAULT_SAMPLER,
        seed: int = 0,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Float[np.ndarray, "n k"]:
        """Return class probabilities, averaged over the outputs for an object's views.

        The classifier is one of single views (`evaluation.classifiers`), the mode one
        of `evaluation.classification.aggregate`. With a gate, views are generated only
        for objects whose largest probability on the image itself is below it; the
        others keep that answer, and the draws do not change. All `num_samples` draws
        are averaged; each view counts the same, the image too. The other arguments are
        those of a call.

        Returns:
            One row per image, one column per `classifier.class_names`.

        Raises:
            UserError: As in a call, or an unknown mode.
        """
        if mode not in MODES:
            raise UserError(f"mode must be one of {', '.join(MODES)}, not {mode!r}.")
        fitted = self._fit(images)
        views_shown = self._indices(conditioning, len(fitted))
        if gate is None:
            found = np.zeros((len(fitted), len(classifier.class_names)), np.float32)
            unsure = np.ones(len(fitted), bool)
        else:
            found = aggregate(logits_of(classifier, fitted)[:, None])
            unsure = found.max(axis=1) < gate
        ids = np.flatnonzero(unsure)
        views = self._generate(
            fitted[ids],
            views_shown[ids],
            ids,
            num_samples=num_samples,
            sampler=sampler,
            seed=seed,
            on_progress=on_progress,
        )
        logits = logits_of(classifier, views.reshape(-1, *views.shape[3:]))
        per_object = views.shape[1] * views.shape[2]
        grouped = logits.reshape(len(ids), per_object, found.shape[1])
        found[ids] = aggregate(grouped, mode)
        return found

    def _generate(
        self,
        images: UInt8[np.ndarray, "n h w 3"],
        conditioning: Int[np.ndarray, " n"],
        ids: Int[np.ndarray, " n"],
        *,
        num_samples: int,
        **options: Any,
    ) -> UInt8[np.ndarray, "n k v h w 3"]:
        missing = np.arange(len(self.view_names)) != conditioning[:, None]
        views = np.broadcast_to(images[:, None], (*missing.shape, *images.shape[1:]))
        return self._view_generator.generate_views(
            views, missing, ids=ids, num_samples=num_samples, **options
        )

    def _fit(self, images: Images) -> UInt8[np.ndarray, "n s s 3"]:
        """Check the images and bring them to the model's size."""
        if not arrays.is_list(images):
            images = arrays.as_array(images, "images")
            if images.ndim != 4:
                raise UserError(
                    f"images has the shape {images.shape}: give a batch (n, h, w, 3), "
                    "or a list of pictures."
                )
        size, fitted = self.image_size, []
        for i, image in enumerate(images):
            view = arrays.as_picture(image, f"image {i}")
            name = f"of image {i}"
            fitted.append(pixels.resize_view(view, size, resize=True, name=name))
        return np.array(fitted, np.uint8).reshape(-1, size, size, 3)

    def _indices(self, conditioning: ViewChoice, n: int) -> Int[np.ndarray, " n"]:
        """Return the index of every image's view."""
        is_one = isinstance(conditioning, int | np.integer | str)
        chosen = arrays.as_items(
            [conditioning] * n if is_one else conditioning, "views"
        )
        if len(chosen) != n:
            raise UserError(
                f"{len(chosen)} conditioning views for {n} images: give one for all, "
                "or one for each."
            )
        return np.array([self._index(view) for view in chosen], np.int64)

    def _index(self, view: object) -> int:
        if isinstance(view, str) and view in self.view_names:
            return self.view_names.index(view)
        if isinstance(view, int | np.integer) and not isinstance(view, bool):
            number = int(view)
            if 0 <= number < len(self.view_names):
                return number
        names = ", ".join(f"{i} ({name})" for i, name in enumerate(self.view_names))
        raise UserError(f"the model has no view {view!r}: its views are {names}.")
